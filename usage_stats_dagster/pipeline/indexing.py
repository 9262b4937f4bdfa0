"""The stage `indexed_documents`: a site-day's documents (or month's) into the index, as a whole.

What belongs here: which period is replaced by which documents, and that the index then has what the lake has. What
does not: how an index replaces (`index/`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date

from usage_stats_dagster.index.interface import (
    Grain,
    IndexReport,
    Replacement,
    Selection,
    month_end,
    month_start,
)
from usage_stats_dagster.lake.store import LakeError, Manifest
from usage_stats_dagster.ledger.tables import DayStatus
from usage_stats_dagster.parts import by_height
from usage_stats_dagster.pipeline import status
from usage_stats_dagster.pipeline.figures import tail_of
from usage_stats_dagster.pipeline.stage import SiteDay, StageError, StageReport, batches
from usage_stats_dagster.pipeline.status import Reached
from usage_stats_dagster.pipeline.together import rows_together
from usage_stats_dagster.pipeline.workspace import Workspace
from usage_stats_dagster.schemas import DOCUMENTS, METRICS, METRICS_TABLE


class ReconciliationError(StageError):
    """The index does not hold what the lake holds; the message says where they differ."""


def index_documents(ws: Workspace, todo: Sequence[SiteDay]) -> Iterator[list[StageReport]]:
    """Replaces the periods' documents in the index, compares the sums, and marks the days done."""
    asked: dict[SiteDay, list[date]] = {}
    for idsite, day in todo:
        month = ws.settings.site(idsite).grain == "month"
        asked.setdefault((idsite, month_start(day) if month else day), []).append(day)
    manifests = {key: _manifest(ws, *key, asked[key][0]) for key in asked}
    for batch in batches(asked, lambda key: manifests[key].rows):
        frame = rows_together(ws, DOCUMENTS, [manifests[key] for key in batch])
        replacements = []
        parts = by_height(frame, [manifests[key].rows for key in batch])
        for (idsite, first), documents in zip(batch, parts, strict=True):
            grain: Grain = ws.settings.site(idsite).grain
            last = first if grain == "day" else month_end(first)
            replacements.append(Replacement(idsite, first, last, documents, grain))
        done = ws.index.replace_together(replacements)
        _reconcile(ws, replacements, [manifests[key] for key in batch])
        _advance(ws, [(manifests[key], asked[key]) for key in batch])
        yield [
            _report(manifests[key], day, report) for key, report in zip(batch, done, strict=True) for day in asked[key]
        ]


def _manifest(ws: Workspace, idsite: int, first: date, day: date) -> Manifest:
    manifest = ws.lake.manifest(DOCUMENTS, idsite, first)
    if manifest is None:
        msg = f"site {idsite}, {day}: no documents to index: materialise documents first"
        raise LakeError(msg)
    return manifest


def _reconcile(ws: Workspace, replaced: Sequence[Replacement], manifests: Sequence[Manifest]) -> None:
    """Raises ReconciliationError where the index's documents and sums of a period are not the lake's."""
    found: dict[SiteDay, dict[str, int]] = {}
    for grain in dict.fromkeys(r.grain for r in replaced):
        mine = [r for r in replaced if r.grain == grain]
        sites = tuple(sorted({r.idsite for r in mine}))
        where = Selection(sites=sites, start=min(r.start for r in mine), end=max(r.end for r in mine))
        for row in ws.index.by_site(where, by=grain).iter_rows(named=True):
            found[row["idsite"], row["period"]] = row
    for r, manifest in zip(replaced, manifests, strict=True):
        have = found.get((r.idsite, r.start), {})
        expected = {"documents": manifest.rows, **{m: manifest.counts[m] for m in METRICS}}
        if wrong := {k: (have.get(k, 0), v) for k, v in expected.items() if have.get(k, 0) != v}:
            differences = ", ".join(f"{k}: {is_} for {should}" for k, (is_, should) in wrong.items())
            msg = f"site {r.idsite}, {r.start}: the index has {differences}; run the day again; if it stays, `usage-stats reindex --sites {r.idsite}`"
            raise ReconciliationError(msg)


def _advance(ws: Workspace, indexed: Sequence[tuple[Manifest, Sequence[date]]]) -> None:
    rows = status.statuses_of(ws, [(m.idsite, d) for m, days in indexed for d in days])
    reached = []
    for manifest, days in indexed:
        for day in days:
            key = (manifest.idsite, day)
            row, figures = rows.get(key), ws.lake.manifest(METRICS_TABLE, *key)
            values = {
                "done_inputs_hash": row["inputs_hash"] if row is not None else "",
                "done_tail_hash": figures.inputs["tail"] if figures is not None else tail_of(ws, *key),
            }
            if row is None or row["status"] != DayStatus.DONE or any(row[k] != v for k, v in values.items()):
                reached.append(Reached(*key, DayStatus.DONE, {**values, "counts": {"indexed": manifest.rows}}))
    status.advance_all(ws, reached, rows)


def _report(manifest: Manifest, day: date, report: IndexReport) -> StageReport:
    counts = {
        "inserted": report.inserted,
        "updated": report.updated,
        "unchanged": report.unchanged,
        "removed": report.removed,
        "documents": manifest.rows,
    }
    return StageReport(
        "indexed_documents", manifest.idsite, day, report.documents, 0, manifest.content_hash, report.changed, counts
    )
