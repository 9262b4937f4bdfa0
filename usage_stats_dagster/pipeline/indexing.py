"""The stage `indexed_documents`: a site-day's documents (or month's) into the index, as a whole.

What belongs here: which period is replaced by which documents, and that the index then has what the lake has. What
does not: how an index replaces (`index/`).
"""

from __future__ import annotations

import calendar
from collections.abc import Iterable
from datetime import date

from usage_stats_dagster.index.interface import Grain, Selection
from usage_stats_dagster.lake.store import LakeError
from usage_stats_dagster.ledger.tables import DayStatus
from usage_stats_dagster.pipeline.figures import tail_of
from usage_stats_dagster.pipeline.stage import StageError, StageReport
from usage_stats_dagster.pipeline.status import advance
from usage_stats_dagster.pipeline.workspace import Workspace
from usage_stats_dagster.schemas import DOCUMENTS, METRICS, METRICS_TABLE


class ReconciliationError(StageError):
    """The index does not hold what the lake holds; the message says where they differ."""


def index_documents(ws: Workspace, idsite: int, day: date) -> Iterable[StageReport]:
    """Replaces the period's documents in the index, compares the sums, and marks the day done."""
    site = ws.settings.site(idsite)
    grain: Grain = site.grain
    first = day if grain == "day" else day.replace(day=1)
    last = day if grain == "day" else day.replace(day=calendar.monthrange(day.year, day.month)[1])
    manifest = ws.lake.manifest(DOCUMENTS, idsite, first)
    if manifest is None:
        msg = f"site {idsite}, {day}: no documents to index: materialise documents first"
        raise LakeError(msg)
    frame = ws.lake.scan(DOCUMENTS, [(idsite, first)]).collect()
    report = ws.index.replace(idsite, first, last, frame, grain=grain)
    found = ws.index.totals(Selection(sites=(idsite,), start=first, end=last)).row(0, named=True)
    expected = {"documents": manifest.rows, **{m: manifest.counts[m] for m in METRICS}}
    wrong = {k: (found[k], v) for k, v in expected.items() if found[k] != v}
    if wrong:
        differences = ", ".join(f"{k}: {have} for {should}" for k, (have, should) in wrong.items())
        msg = f"site {idsite}, {first}: the index has {differences}; run the day again; if it stays, `usage-stats reindex --sites {idsite}`"
        raise ReconciliationError(msg)
    row = ws.ledger.status(idsite, day)
    figures = ws.lake.manifest(METRICS_TABLE, idsite, day)
    tail = figures.inputs["tail"] if figures is not None else tail_of(ws, idsite, day)
    inputs_hash = row["inputs_hash"] if row is not None else ""
    if (
        row is None
        or row["status"] != DayStatus.DONE
        or row["done_inputs_hash"] != inputs_hash
        or row["done_tail_hash"] != tail
    ):
        advance(
            ws,
            idsite,
            day,
            DayStatus.DONE,
            done_inputs_hash=inputs_hash,
            done_tail_hash=tail,
            counts={"indexed": found["documents"]},
        )
    counts = {
        "inserted": report.inserted,
        "updated": report.updated,
        "unchanged": report.unchanged,
        "removed": report.removed,
        "documents": found["documents"],
    }
    return [
        StageReport(
            "indexed_documents", idsite, day, report.documents, 0, manifest.content_hash, report.changed, counts
        )
    ]
