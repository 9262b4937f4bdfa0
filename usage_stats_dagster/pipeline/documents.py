"""The stage `documents`: figures to documents, of a site's day or of its month.

What belongs here: which days a period has, one grain at a time, writing the table. What does not: the documents' fields
(`documents/`), the figures (`figures.py`), how a month of a Matomo's comes about (`months.py`).
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl

from usage_stats_dagster.documents.build import PERIOD, Period, documents, documents_together
from usage_stats_dagster.lake.store import LakeError, Manifest
from usage_stats_dagster.ledger.tables import DayStatus
from usage_stats_dagster.metrics.steps import LAREFERENCIA
from usage_stats_dagster.parts import numbered
from usage_stats_dagster.pipeline import months, status
from usage_stats_dagster.pipeline.stage import SiteDay, StageReport, batches, fingerprint, side_by_side
from usage_stats_dagster.pipeline.status import Reached
from usage_stats_dagster.pipeline.together import rows_together
from usage_stats_dagster.pipeline.workspace import Workspace
from usage_stats_dagster.schemas import DOCUMENTS, METRICS, METRICS_TABLE
from usage_stats_dagster.settings import Site
from usage_stats_dagster.threads import in_threads


@dataclass(frozen=True)
class _Source:
    """A period whose documents are to be there: the days asked for, and the metrics of all its days that have any."""

    site: Site
    first: date
    asked: list[date]
    metrics: dict[date, Manifest]

    @property
    def rows(self) -> int:
        return sum(m.rows for m in self.metrics.values())

    @property
    def rules(self) -> str:
        return "+".join(sorted({m.rules_version for m in self.metrics.values()}))

    def mark(self, ws: Workspace) -> str:
        """Of what the documents are made."""
        site = self.site
        of = (f"{d}:{m.content_hash}" for d, m in self.metrics.items())
        mark = fingerprint(site.grain, site.country, site.level, *of)
        if ws.settings.matomo.mode == "embedded":
            return mark
        return fingerprint(mark, months.documents_mark(ws, site, list(self.metrics)))

    def commit(self, ws: Workspace, frame: pl.DataFrame, mark: str, of: dict[str, Any]) -> Manifest:
        """Puts the documents in place."""
        figures = {m: int(frame[m].sum()) for m in METRICS}
        counts = {"documents": frame.height, "grain": self.site.grain, **figures, **of}
        inputs = {str(d): m.content_hash for d, m in self.metrics.items()}
        with ws.lake.writer(DOCUMENTS, self.site.id, self.first) as w:
            w.append(frame)
            manifest = Manifest(
                DOCUMENTS.name, self.site.id, self.first, mark, inputs=inputs, counts=counts, rules_version=self.rules
            )
            return ws.lake.commit(w, manifest)


def make_documents(ws: Workspace, todo: Sequence[SiteDay]) -> Iterator[list[StageReport]]:
    """Writes the documents of the site-days, or of their months where that is the site's grain."""
    sources = _sources(ws, todo)

    def looked_at() -> Iterator[_Batch]:
        for batch in batches(sources, lambda key: sources[key].rows):
            marks = {key: sources[key].mark(ws) for key in batch}
            done: dict[SiteDay, Manifest] = {}
            for key in batch:
                old = ws.lake.manifest(DOCUMENTS, *key)
                if old is not None and old.fingerprint == marks[key]:
                    done[key] = old
            # Before any of them is written: a manifest must not say that a period is made while the other grain's lie beside it.
            looked = _Batch(marks, done)
            for key in looked.stale:
                _remove_other_grain(ws, sources[key].site, key[1], sources)
            yield looked

    def made(batch: _Batch) -> tuple[_Batch, Iterable[_Made]]:
        stale = [sources[key] for key in batch.stale]
        if ws.settings.matomo.mode != "embedded":
            return batch, ((s, *_documents_of_matomo(ws, s)) for s in stale)
        return batch, [(s, f, {}) for s, f in zip(stale, _documents_together(ws, stale), strict=True)]

    # Documents are made ahead in threads, but written and removed here alone: one batch's look at a month sees no other's half.
    for batch, pieces in side_by_side(made, looked_at(), lambda batch: sum(sources[key].rows for key in batch.stale)):

        def write(piece: _Made, marks: dict[SiteDay, str] = batch.marks) -> Manifest:
            source, frame, of = piece
            return source.commit(ws, frame, marks[source.site.id, source.first], of)

        changed = set(batch.stale)
        done = batch.done | dict(zip(batch.stale, in_threads(write, pieces), strict=True))
        _advance(ws, [(sources[key], done[key]) for key in batch.marks])
        yield [StageReport.of(done[key], changed=key in changed) for key in batch.marks for _ in sources[key].asked]


@dataclass(frozen=True)
class _Batch:
    """Periods that are made together: of what each is made, in order, and what is there of them already."""

    marks: dict[SiteDay, str]
    done: dict[SiteDay, Manifest]

    @property
    def stale(self) -> list[SiteDay]:
        return [key for key in self.marks if key not in self.done]


_Made = tuple[_Source, pl.DataFrame, dict[str, Any]]


def _sources(ws: Workspace, todo: Sequence[SiteDay]) -> dict[SiteDay, _Source]:
    """By site and first day of the period, in the order in which the days ask for them."""
    asked: dict[SiteDay, list[date]] = {}
    for idsite, day in todo:
        month = ws.settings.site(idsite).grain == "month"
        asked.setdefault((idsite, day.replace(day=1) if month else day), []).append(day)
    found = {}
    for (idsite, first), days in asked.items():
        site = ws.settings.site(idsite)
        of_period = ws.lake.days_of_month(METRICS_TABLE, idsite, first) if site.grain == "month" else [first]
        of_days = {d: m for d in of_period if (m := ws.lake.manifest(METRICS_TABLE, idsite, d)) is not None}
        if missing := [d for d in days if d not in of_days]:
            msg = f"site {idsite}, {missing[0]}: no metrics to make documents of: materialise filtered_metrics first"
            raise LakeError(msg)
        found[idsite, first] = _Source(site, first, days, of_days)
    return found


def _documents_together(ws: Workspace, sources: Sequence[_Source]) -> list[pl.DataFrame]:
    """The documents of each period: sums of its days' metrics."""
    if not sources:
        return []
    rows = rows_together(ws, METRICS_TABLE, [m for s in sources for m in s.metrics.values()])
    return documents_together(
        numbered(rows, PERIOD, [s.rows for s in sources]), [Period(s.site, s.first) for s in sources]
    )


def _documents_of_matomo(ws: Workspace, source: _Source) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Of one period; identifiers are as the source spells them, and a month's figures are no sums of its days'."""
    site = source.site
    table = months.document_rows(ws, site, source.first, list(source.metrics), source.rules)
    frame = documents(table, site, site.grain, source.first, mapping=site.identifier_map)
    return frame, {"of": {m: int(table[m].sum()) for m in METRICS}}


def _remove_other_grain(ws: Workspace, site: Site, first: date, made_now: Container[SiteDay]) -> None:
    """A site's month has one grain: the day's documents and the month's side by side would double every sum."""
    month = first.replace(day=1)
    # A month's document lies on its first day; a document of any other day is a day's.
    others = [month] if site.grain == "day" else ws.lake.days_of_month(DOCUMENTS, site.id, month)
    for d in others:
        if d == first:
            continue
        if not ws.lake.part(DOCUMENTS, site.id, d).exists():
            continue
        # A file that its manifest does not fit was half made: readers see it, and it is replaced in one step.
        m = ws.lake.noted(DOCUMENTS, site.id, d)
        if m is not None and m.counts.get("grain") == site.grain:
            continue
        if m is None and site.grain == "day" and (site.id, d) in made_now:
            continue
        ws.lake.remove(DOCUMENTS, site.id, d)  # of the other grain, or half removed


def _advance(ws: Workspace, made: Sequence[tuple[_Source, Manifest]]) -> None:
    rows = status.statuses_of(ws, [(s.site.id, d) for s, _ in made for d in s.asked])
    reached = []
    for source, docs in made:
        for day in source.asked:
            row, figures = rows.get((source.site.id, day)), source.metrics[day]
            counts = day_counts(figures, docs)
            if row is not None and row["status"] >= DayStatus.CALCULATED:
                have = row["counts"] or {}
                if row["rules_version"] == figures.rules_version and have | counts == have:
                    continue
            to = max(DayStatus.CALCULATED, DayStatus(row["status"]) if row is not None else DayStatus.QUEUE)
            values = {"counts": counts, "rules_version": figures.rules_version}
            reached.append(Reached(source.site.id, day, to, values))
    status.advance_all(ws, reached, rows)


def day_counts(figures: Manifest, docs: Manifest) -> dict[str, int]:
    """What the ledger keeps of a day's metrics and of its (or its month's) documents."""
    sums = {m: figures.counts[m] for m in (*METRICS, "searches")}
    return {**sums, "documents": docs.rows, **_content(figures)}


def _content(figures: Manifest) -> dict[str, int]:
    """How much of what people asked for has an item, and how much has none; nothing where no step asks for items."""
    steps = figures.counts["steps"][LAREFERENCIA]
    return {"mapped": steps["kept"], "unmapped": steps["unidentified"]} if "unidentified" in steps else {}
