"""The first examples of each drop: lines that are no hits, robots by rule, events dropped by a step.

What belongs here: finding a few and saying them. What does not: counting (`account.py`).

Lines come from the logs' manifests, where the import left them; events from the lake. Nothing shown has an address: of a
line see `logs/drops.py`, of an event what it asked for. Addresses that stand in a URL are blotted out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import PurePath
from typing import Any

import orjson
import polars as pl

from usage_stats_dagster import engine
from usage_stats_dagster.logs.addresses import blot
from usage_stats_dagster.logs.drops import EXAMPLES, SHOWN
from usage_stats_dagster.metrics.aggregate import mark
from usage_stats_dagster.metrics.steps import KEPT, NAMES, VOCABULARIES, reason_column
from usage_stats_dagster.pipeline.figures import BUCKET_EVENTS, first_seconds_after
from usage_stats_dagster.pipeline.log_import import side_file
from usage_stats_dagster.pipeline.tracking import shares
from usage_stats_dagster.pipeline.workspace import Workspace
from usage_stats_dagster.schemas import EVENTS, VISITS

DAYS = 31
"""Days of a site whose events are looked at for examples."""

RULES = 10
"""Rules of robots that get examples: those with most events."""

SCHEMA = pl.Schema(
    {
        "idsite": pl.Int32,
        "day": pl.Date,
        "stage": pl.String,
        "what": pl.String,
        "log": pl.String,
        "line": pl.Int64,
        "text": pl.String,
    }
)
"""One row an example; stage and what as in the accounting. `log`, `line`: null from Matomo."""

_SHOWN_OF_EVENTS = ("log_identity", "line", "action_url", "action_name", "http_method", "http_status")


def examples(
    ws: Workspace, table: pl.DataFrame, first: date | None, last: date | None, *, by_day: bool = False
) -> pl.DataFrame:
    """SCHEMA: the first EXAMPLES of each drop in the accounting's table, by site or by site and day."""
    rows: list[tuple[Any, ...]] = []
    for idsite in table["idsite"].unique().sort().to_list():
        mine = table.filter(pl.col("idsite") == idsite)
        wanted = set(mine.filter(pl.col("count") > 0).select("stage", "what").iter_rows())
        days = [r["day"] for r in ws.ledger.statuses([idsite], first, last)]
        found: dict[tuple[Any, ...], int] = defaultdict(int)
        for row in [*_lines(ws, idsite, first, last), *_events(ws, idsite, days[:DAYS], wanted, by_day=by_day)]:
            key = (*row[2:4], row[1] if by_day else None)
            found[key] += 1
            if found[key] <= EXAMPLES:
                rows.append(row)
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def _lines(ws: Workspace, idsite: int, first: date | None, last: date | None) -> Iterator[tuple[Any, ...]]:
    """Of the logs in order of their first line; a line without a date belongs to every day of its log."""
    for log in ws.ledger.logs(idsite):
        if first is not None and log["last_time"] is not None and log["last_time"].date() < first:
            continue
        try:
            manifest = orjson.loads(side_file(ws.lake, "imports", idsite, log["identity"], "json").read_bytes())
        except (FileNotFoundError, orjson.JSONDecodeError):
            continue
        days = [d["day"] for d in sorted(manifest["days"], key=lambda d: (-d["lines"], d["day"]))]
        for drop in manifest.get("drops", ()):
            day = drop["day"] or next(iter(days), None)
            of = date.fromisoformat(day) if day else None
            if of is None and (first or last):
                continue
            if of is not None and not (first or of) <= of <= (last or of):
                continue
            yield idsite, of, "lines", drop["outcome"], PurePath(log["path"]).name, drop["line"], drop["text"]


def _events(
    ws: Workspace, idsite: int, days: Sequence[date], wanted: set[tuple[str, str]], *, by_day: bool
) -> Iterator[tuple[Any, ...]]:
    names = {r["identity"]: PurePath(r["path"]).name for r in ws.ledger.logs(idsite)}
    steps = {(s, w) for s, w in wanted if s.startswith("steps") and w != KEPT}
    robots = [w for s, w in wanted if s == "robots"]
    missing = dict.fromkeys([*steps, *(("robots", r) for r in robots)], EXAMPLES)
    for day in days:
        manifest = ws.lake.manifest(EVENTS, idsite, day)
        if manifest is None or not (by_day or any(n > 0 for n in missing.values())):
            continue
        for stage, what, row in (*_robots(ws, idsite, day), *_dropped(ws, idsite, day, manifest.rows)):
            if (stage, what) in missing:
                missing[stage, what] -= 1
                yield idsite, day, stage, what, names.get(row["log_identity"]), row["line"], _said(row)


def _robots(ws: Workspace, idsite: int, day: date) -> Iterator[tuple[str, str, dict[str, Any]]]:
    events = ws.lake.scan(EVENTS, [(idsite, day)]).filter(pl.col("robot").is_not_null())
    order = pl.struct("log_identity", "line", "idlink_va")
    first = (
        events.group_by("robot")
        .agg(pl.len().alias("events"), pl.struct(_SHOWN_OF_EVENTS).sort_by(order).head(EXAMPLES).alias("row"))
        .sort(["events", "robot"], descending=[True, False])
        .head(RULES)
        .explode("row")
        .collect(engine="streaming")
    )
    yield from (("robots", r["robot"], r["row"]) for r in first.iter_rows(named=True))


def _dropped(ws: Workspace, idsite: int, day: date, rows: int) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Of the first range of visitors, on a day of more events than are counted at a time."""
    of_day = [ws.lake.scan(t, [(idsite, day)]) for t in (EVENTS, VISITS)]
    mine = (
        pl.col("idvisitor") < f"{shares(rows, BUCKET_EVENTS)[1]:016x}" if rows > BUCKET_EVENTS else pl.lit(value=True)
    )
    frames = (engine.wrap(f.filter(mine)) for f in (*of_day, first_seconds_after(ws, idsite, day)))
    marked = engine.collect(mark(*frames, rules=ws.settings.rules, more=(*_SHOWN_OF_EVENTS, "idlink_va")))
    for vocabulary in VOCABULARIES:
        code = reason_column(vocabulary)
        part = marked.filter(pl.col(code) > 0).sort("log_identity", "line", "idlink_va")
        for row in part.group_by(code, maintain_order=True).head(EXAMPLES).iter_rows(named=True):
            yield f"steps: {vocabulary}", NAMES[row[code]], row


def _said(row: dict[str, Any]) -> str:
    words = (row["http_status"], row["http_method"], row["action_url"] or row["action_name"])
    return blot(" ".join(str(w) for w in words if w is not None), SHOWN)
