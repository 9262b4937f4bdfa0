"""`usage-stats doctor`: do settings, ledger, lake and index fit together?

What belongs here: looking, and saying what to do. What does not: mending (a run mends what a crash left behind).
"""

from __future__ import annotations

import polars as pl

from usage_stats_dagster.index.interface import Selection
from usage_stats_dagster.lake.storage import Location
from usage_stats_dagster.ledger.tables import DayStatus
from usage_stats_dagster.pipeline.imports import find
from usage_stats_dagster.pipeline.workspace import Workspace
from usage_stats_dagster.schemas import DOCUMENTS, EVENTS, HITS, METRICS_TABLE, VISITS
from usage_stats_dagster.settings import config_path

_SCHEMA = pl.Schema({"what": pl.String, "state": pl.String, "finding": pl.String})


def examine(ws: Workspace) -> pl.DataFrame:
    """One row a finding (what, state, finding); state is ok, note or wrong."""
    rows: list[tuple[str, str, str]] = []
    config = config_path()
    rows.append(("settings", "ok", str(config) if config else "no usage_stats.toml: defaults"))
    found = find(ws)
    rows.append(("logs", "ok" if found.logs else "note", f"{len(found.logs)} files of {len(found.sites)} sites"))
    rows += [("logs", "wrong", f"{p}: {m}") for p, m in found.problems]
    rows.append(("ledger", "ok", ws.settings.ledger.url))
    rows.append(("lake", "ok", str(ws.lake.root)))
    rows += [("lake", "note", f"{p}: left by a killed run; the next run removes it") for p in ws.lake.temporaries()]
    _hits(ws, rows)
    _days(ws, rows)
    return pl.DataFrame(rows, schema=_SCHEMA, orient="row")


def _hits(ws: Workspace, rows: list[tuple[str, str, str]]) -> None:
    named: set[Location] = set()
    for log in ws.ledger.logs():
        for r in ws.ledger.log_days(log["idsite"]):
            if r["identity"] != log["identity"] or not r["hits"]:
                continue
            path = ws.lake.hits_file(HITS, log["idsite"], r["day"], r["identity"])
            named.add(path)
            stored = ws.lake.content_hash(path)
            if stored is None:
                rows.append(("lake", "wrong", f"{path}: gone; touch {log['path']} and run again"))
            elif stored != r["hits_hash"]:
                rows.append(("lake", "wrong", f"{path}: not what was imported; touch {log['path']} and run again"))
    orphans = [p for p in ws.lake.walk(HITS) if p.name.endswith(".parquet") and p not in named]
    rows += [
        ("lake", "note", f"{p}: no log of the ledger has it; nothing counts it, it may be deleted") for p in orphans
    ]
    rows.append(("hits", "ok", f"{len(named)} files compared with the ledger by content"))


def _days(ws: Workspace, rows: list[tuple[str, str, str]]) -> None:
    done = 0
    for r in ws.ledger.statuses():
        if r["status"] != DayStatus.DONE:
            continue
        done += 1
        site = ws.settings.site(r["idsite"])
        first = r["day"] if site.grain == "day" else r["day"].replace(day=1)
        for table in (VISITS, EVENTS, METRICS_TABLE, DOCUMENTS):
            day = first if table is DOCUMENTS else r["day"]
            manifest = ws.lake.manifest(table, r["idsite"], day)
            if manifest is None or ws.lake.content_hash(ws.lake.part(table, r["idsite"], day)) != manifest.content_hash:
                rows.append(
                    (
                        "lake",
                        "wrong",
                        f"site {r['idsite']}, {day}: {table.name} is missing or changed; `usage-stats run --day {r['day']}`",
                    )
                )
        documents = ws.lake.manifest(DOCUMENTS, r["idsite"], first)
        if documents is not None and site.grain == "day":
            indexed = ws.index.totals(Selection(sites=(r["idsite"],), start=first, end=first))["documents"].item()
            if indexed != documents.rows:
                rows.append(
                    (
                        "index",
                        "wrong",
                        f"site {r['idsite']}, {first}: {indexed} documents, the lake has {documents.rows}; `usage-stats run --day {r['day']}`",
                    )
                )
    rows.append(("days", "ok", f"{done} done days compared with lake and index"))
