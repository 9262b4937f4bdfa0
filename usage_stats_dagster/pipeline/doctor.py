"""`usage-stats doctor`: do settings, ledger, lake and index fit together, and is there anything that nobody needs?

What belongs here: looking, saying what to do, and doing what `--fix` may do. What does not: what is an orphan
(`orphans.py`), the ledger made anew (`rebuild.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from datetime import date
from pathlib import Path

import polars as pl

from usage_stats_dagster.index.interface import EVERYTHING, FIGURES, DocumentIndexError
from usage_stats_dagster.index.open import open_index
from usage_stats_dagster.lake.storage import Location
from usage_stats_dagster.ledger import counts, repair
from usage_stats_dagster.ledger.tables import DayStatus
from usage_stats_dagster.pipeline.imports import find
from usage_stats_dagster.pipeline.orphans import orphans
from usage_stats_dagster.pipeline.rebuild import Finding, rebuild
from usage_stats_dagster.pipeline.workspace import Workspace
from usage_stats_dagster.schemas import DOCUMENTS, EVENTS, HITS, METRICS, METRICS_TABLE, VISITS
from usage_stats_dagster.settings import config_path

SCHEMA = pl.Schema({"what": pl.String, "state": pl.String, "finding": pl.String})
"""One row a finding; state is ok, note, wrong (needs a hand) or fixed."""

BadHits = tuple[int, str, str, Location]
"""Site, identity and path of a log whose hits are not what the ledger says, and the file."""


def examine(ws: Workspace) -> pl.DataFrame:
    """Looks at everything and changes nothing."""
    rows: list[Finding] = []
    config = config_path()
    rows.append(("settings", "ok", str(config) if config else "no usage_stats.toml: defaults"))
    found = find(ws)
    rows.append(("logs", "ok" if found.logs else "note", f"{len(found.logs)} files of {len(found.sites)} sites"))
    rows += [("logs", "wrong", f"{p}: {m}") for p, m in found.problems]
    rows.append(("ledger", "ok", ws.ledger.url_without_password))
    rows.append(("lake", "ok", str(ws.lake.root)))
    indexed, said = _indexed(ws)
    rows.append(said)
    rows += [
        (o.where, "note", f"{o.what}{'' if o.remove is None else ' (`--fix` removes it)'}")
        for o in orphans(ws, indexed)
    ]
    bad, compared = _bad_hits(ws)
    rows += [
        ("lake", "wrong", f"{file}: gone, or not what was imported of {path}: `usage-stats doctor --fix`, then `usage-stats run`")
        for _, _, path, file in bad
    ]  # fmt: skip
    rows.append(("hits", "ok", f"{compared} files compared with the ledger by content"))
    rows += _days(ws, indexed)
    return _table(rows)


def fix(ws: Workspace) -> pl.DataFrame:
    """Removes the orphans that may be removed, and forgets logs whose hits are gone, so that the next run imports them again.

    One row a thing done; things that need a hand are left to `examine`.
    """
    rows: list[Finding] = []
    with ws.writing():  # what a writer has just begun is no orphan
        for o in orphans(ws, ws.index.by_site(EVERYTHING, "day")):
            if o.remove is not None:
                o.remove()
                rows.append((o.where, "fixed", f"{o.what}: removed"))
        for idsite, identity, path, file in _bad_hits(ws)[0]:
            if Path(path).exists():
                repair.forget_log(ws.ledger, idsite, identity)
                rows.append(("ledger", "fixed", f"{path}: forgotten, since {file} is not what was imported; the next run reads it"))  # fmt: skip
    return _table(rows)


def rebuild_ledger(ws: Workspace) -> pl.DataFrame:
    """The ledger made anew from the lake. Raises LedgerError."""
    return _table(rebuild(ws))


def _table(rows: Iterable[Finding]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=SCHEMA, orient="row")


def _bad_hits(ws: Workspace) -> tuple[list[BadHits], int]:
    """Logs with hits that are missing or changed, and how many files were compared."""
    bad: list[BadHits] = []
    compared = 0
    for idsite in counts.sites(ws.ledger):
        paths = {r["identity"]: r["path"] for r in ws.ledger.logs(idsite)}
        for day, hits in sorted(counts.hits(ws.ledger, idsite, None, None).items()):
            for identity, wanted in hits.inputs.items():
                file = ws.lake.hits_file(HITS, idsite, day, identity)
                compared += 1
                if ws.lake.content_hash(file) != wanted:
                    bad.append((idsite, identity, paths[identity], file))
    return bad, compared


def _indexed(ws: Workspace) -> tuple[pl.DataFrame | None, Finding]:
    """Figures of each site and period of the index, None where it does not answer; and what to say of it."""
    options = ws.settings.index
    if options.kind == "embedded" and not Path(options.path).exists():
        return pl.DataFrame(schema={"idsite": pl.Int32, "period": pl.Date, **FIGURES}), (
            "index",
            "note",
            f"{options.path}: made by the next run",
        )
    try:
        with closing(open_index(ws.settings)) as index:  # as a reader: who looks does not wait for minutes
            found = index.by_site(EVERYTHING, "day")
    except DocumentIndexError as e:
        return None, ("index", "wrong", str(e))
    return found, ("index", "ok", str(options.url if options.kind == "opensearch" else options.path))


def _days(ws: Workspace, by_day: pl.DataFrame | None) -> list[Finding]:
    """Done days whose tables are missing or changed, or whose documents the index does not have."""
    rows: list[Finding] = []
    done = [r for r in ws.ledger.statuses() if r["status"] == DayStatus.DONE]
    named = () if by_day is None else by_day.iter_rows(named=True)
    indexed = {(r["idsite"], r["period"]): r for r in named}
    periods: set[tuple[int, date]] = set()
    for r in done:
        site, day = ws.settings.site(r["idsite"]), r["day"]
        again = f"`usage-stats run --day {day} --sites {site.id}`"
        first = day if site.grain == "day" else day.replace(day=1)
        tables = [(t, day) for t in (VISITS, EVENTS, METRICS_TABLE)]
        if (site.id, first) not in periods:
            tables.append((DOCUMENTS, first))
        for table, at in tables:
            manifest = ws.lake.manifest(table, site.id, at)
            if manifest is None or ws.lake.content_hash(ws.lake.part(table, site.id, at)) != manifest.content_hash:
                rows.append(("lake", "wrong", f"site {site.id}, {at}: {table.name} is missing or changed; {again}"))
            elif table is DOCUMENTS and by_day is not None:
                have = indexed.get((site.id, first), {"documents": 0, **dict.fromkeys(METRICS, 0)})
                expected = {"documents": manifest.rows, **{m: manifest.counts[m] for m in METRICS}}
                wrong = ", ".join(f"{have[k]:,} {k} for {n:,}" for k, n in expected.items() if have[k] != n)
                if wrong:
                    rows.append(("index", "wrong", f"site {site.id}, {first}: has {wrong}; {again}"))
        periods.add((site.id, first))
    rows.append(("days", "ok", f"{len(done)} done days compared with lake{'' if by_day is None else ' and index'}"))
    return rows
