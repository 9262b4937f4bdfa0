"""Stale days: whose figures were made under other rules, lists or settings than today's, and what changed.

What belongs here: finding them and naming the change. What does not: which parts there are (`versions.py`), making
the days anew (`rerun.py`), what that would change in figures (`diff.py`).

Nothing is parsed and no table is read: the ledger has the version that each day and each log is of, in two queries over
all days, and one manifest a version has its parts.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import date

import orjson
import polars as pl

from usage_stats_dagster.ledger import history
from usage_stats_dagster.ledger.history import Scope
from usage_stats_dagster.metrics.version import Parts, differences, rules_version
from usage_stats_dagster.pipeline.log_import import side_file
from usage_stats_dagster.pipeline.versions import figures_parts, import_parts
from usage_stats_dagster.pipeline.workspace import Workspace
from usage_stats_dagster.schemas import METRICS_TABLE
from usage_stats_dagster.settings import Site

STALE_SCHEMA = pl.Schema({"idsite": pl.Int32, "day": pl.Date, "reason": pl.String, "gone": pl.String})
STRETCHES_SCHEMA = pl.Schema(
    {
        "idsite": pl.Int32,
        "first": pl.Date,
        "last": pl.Date,
        "days": pl.Int64,
        "reason": pl.String,
        "gone": pl.String,
    }
)


def stale_days(
    ws: Workspace, sites: Sequence[int] | None = None, first: date | None = None, last: date | None = None
) -> pl.DataFrame:
    """The site-days whose figures a re-run would make under other rules (STALE_SCHEMA), by site and day.

    `reason` names each part that changed, old and new value where they can be shown. `gone` names a log that would have
    to be read again and is not there any more: the day's hits then stay as they were imported. Sites that the settings
    have left out are not asked for. Days that wait for their first figures are not stale: `run` makes them anyway.
    """
    scope = Scope(sites, first, last)
    made = history.rules_versions(ws.ledger, scope)
    by_rules = _reasons(ws, made, figures_parts, lambda row: _manifest_parts(ws, row))
    days = history.days_of_rules(ws.ledger, scope, _versions(by_rules)).join(by_rules, on=["idsite", "version"])
    logs = history.import_versions(ws.ledger, scope) if ws.settings.matomo.imports_logs else made.clear()
    by_import = _reasons(ws, logs, import_parts, lambda row: _log_parts(ws, row))
    imports = history.days_of_imports(ws.ledger, scope, _versions(by_import)).join(by_import, on=["idsite", "version"])
    both = pl.concat([days.select("idsite", "day", "reasons"), imports.select("idsite", "day", "reasons")])
    found = both.explode("reasons").group_by("idsite", "day").agg(pl.col("reasons").unique().sort().str.join("; "))
    table = found.rename({"reasons": "reason"}).join(_gone(ws, imports), on=["idsite", "day"], how="left")
    return table.select(*STALE_SCHEMA).sort("idsite", "day")


def stretches(days: pl.DataFrame) -> pl.DataFrame:
    """Stale days (STALE_SCHEMA) as stretches of neighbouring days with one reason, all or none with a log gone."""
    before = pl.col("day").shift().over("idsite")
    alike = (pl.col("reason"), pl.col("gone").is_null())
    same = [c.eq_missing(c.shift().over("idsite")) for c in alike]
    begins = ~((pl.col("day") == before + pl.duration(days=1)) & pl.all_horizontal(same)).fill_null(value=False)
    return (
        days.sort("idsite", "day")
        .with_columns(begins.cum_sum().alias("stretch"))
        .group_by("idsite", "stretch", maintain_order=True)
        .agg(
            pl.col("day").first().alias("first"),
            pl.col("day").last().alias("last"),
            pl.len().cast(pl.Int64).alias("days"),
            pl.col("reason").first(),
            pl.col("gone").first(),
            pl.col("gone").n_unique().alias("logs"),
        )
        .with_columns(
            pl.when(pl.col("logs") > 1)
            .then(pl.format("{} and {} more", "gone", pl.col("logs") - 1))
            .otherwise("gone")
            .alias("gone")
        )
        .select(*STRETCHES_SCHEMA)
    )


def batches_of(days: pl.DataFrame) -> list[tuple[list[int], list[date]]]:
    """Stale days as (sites, days) to run together: sites that are stale on the same days."""
    by_site = days.group_by("idsite", maintain_order=True).agg(pl.col("day").sort())
    alike: dict[tuple[date, ...], list[int]] = {}
    for idsite, of in by_site.iter_rows():
        alike.setdefault(tuple(of), []).append(idsite)
    return [(sites, list(of)) for of, sites in alike.items()]


def reasons_in_words(days: pl.DataFrame) -> str:
    """`12 site-days are stale: 12 by rules.double_click_seconds: 30 → 20`; the commonest first."""
    if not days.height:
        return "every day's figures are of today's rules and settings"
    counts = days["reason"].value_counts(sort=True)
    listed = "; ".join(f"{n} by {r}" for r, n in counts.head(5).iter_rows())
    more = f"; and {counts.height - 5} other reasons" if counts.height > 5 else ""
    return f"{days.height} site-day{'s are' if days.height > 1 else ' is'} stale: {listed}{more}"


def _versions(reasons: pl.DataFrame) -> dict[int, list[str]]:
    return dict(reasons.group_by("idsite").agg("version").iter_rows())


def _reasons(
    ws: Workspace,
    groups: pl.DataFrame,
    parts_of: Callable[[Workspace, Site], dict[str, str]],
    noted: Callable[[dict[str, object]], Parts],
) -> pl.DataFrame:
    """Why each group's version is not today's: idsite, version, reasons; groups of today's version are left out."""
    listed = {s.id for s in ws.settings.sites}
    rows = []
    for idsite in groups["idsite"].unique(maintain_order=True):
        if listed and idsite not in listed:
            continue
        today = parts_of(ws, ws.settings.site(idsite))
        now = rules_version(today)
        for row in groups.filter(pl.col("idsite") == idsite, pl.col("version") != now).iter_rows(named=True):
            old = noted(row)
            why = differences(old, today) if old else [f"made by an earlier version of the rules, {row['version']}"]
            rows.append((idsite, row["version"], why or ["the rules version is written differently"]))
    schema: dict[str, pl.DataType | type[pl.DataType]] = {
        "idsite": pl.Int32, "version": pl.String, "reasons": pl.List(pl.String),
    }  # fmt: skip
    return pl.DataFrame(rows, schema=schema, orient="row")  # a list's type is not narrowed


def _manifest_parts(ws: Workspace, row: dict[str, object]) -> Parts:
    """The parts that a version's figures were made of, from the manifest of its first or last day."""
    for day in (row["first"], row["last"]):
        manifest = ws.lake.manifest(METRICS_TABLE, int(str(row["idsite"])), day)  # type: ignore[arg-type]
        if manifest is not None and manifest.rules_version == row["version"]:
            return manifest.rules
    return {}


def _log_parts(ws: Workspace, row: dict[str, object]) -> Parts:
    """The settings that a version's logs were imported under, from the manifest of one of them."""
    path = side_file(ws.lake, "imports", int(str(row["idsite"])), str(row["identity"]), "json")
    try:
        parts: Parts = orjson.loads(path.read_bytes()).get("settings", {})
    except (FileNotFoundError, orjson.JSONDecodeError):
        return {}
    return parts


class _Folders:
    """Which paths there are, by listing each folder once: a hundred thousand logs of one are not asked for one by one."""

    def __init__(self) -> None:
        self._names: dict[str, set[str]] = {}

    def __contains__(self, path: str) -> bool:
        folder, name = os.path.split(path)
        if folder not in self._names:
            try:
                with os.scandir(folder or ".") as found:
                    self._names[folder] = {entry.name for entry in found}
            except OSError:
                self._names[folder] = set()
        return name in self._names[folder]


def _gone(ws: Workspace, imports: pl.DataFrame) -> pl.DataFrame:
    """idsite, day, gone: a log of the day that must be read again and is at none of its paths any more."""
    missing, there = [], _Folders()
    for (idsite,), logs in imports.unique(["idsite", "identity"]).partition_by("idsite", as_dict=True).items():
        elsewhere: dict[str, list[str]] = {}
        absent = [(i, p) for i, p in logs.select("identity", "path").iter_rows() if p not in there]
        if absent:  # renamed, as rotation does?
            for path, known in ws.ledger.paths(idsite).items():
                elsewhere.setdefault(known["identity"], []).append(path)
        missing += [(idsite, i, p) for i, p in absent if not any(o in there for o in elsewhere.get(i, []))]
    schema = {"idsite": pl.Int32, "identity": pl.String, "gone": pl.String}
    found = imports.join(pl.DataFrame(missing, schema=schema, orient="row"), on=["idsite", "identity"])
    return found.group_by("idsite", "day").agg(pl.col("gone").min())
