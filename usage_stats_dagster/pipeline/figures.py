"""The stages `filtered_metrics` and `documents`: a site-day's events to figures, figures to documents.

What belongs here: which events and which of the next day's first seconds, buckets of visitors, writing both tables.
What does not: the rules (`metrics/`), the documents' fields (`documents/`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import date, timedelta
from itertools import pairwise
from typing import Any

import polars as pl

from usage_stats_dagster.documents.build import documents
from usage_stats_dagster.lake.store import LakeError, Manifest
from usage_stats_dagster.ledger.tables import DayStatus
from usage_stats_dagster.metrics.steps import LAREFERENCIA
from usage_stats_dagster.metrics.table import Bucket, metrics, names_one_country
from usage_stats_dagster.metrics.version import rules_version
from usage_stats_dagster.pipeline.stage import StageReport, fingerprint
from usage_stats_dagster.pipeline.status import advance
from usage_stats_dagster.pipeline.threads import in_threads
from usage_stats_dagster.pipeline.tracking import shares
from usage_stats_dagster.pipeline.versions import figures_parts
from usage_stats_dagster.pipeline.workspace import Workspace
from usage_stats_dagster.schemas import DOCUMENTS, EVENTS, METRICS, METRICS_TABLE, VISITS
from usage_stats_dagster.settings import Site

BUCKET_EVENTS = 500_000
"""Events counted at a time in one thread."""


def make_metrics(ws: Workspace, idsite: int, day: date) -> Iterable[StageReport]:
    """Writes the metrics of a site's day, unless they are already of these events, this tail and these rules."""
    site = ws.settings.site(idsite)
    parts = figures_parts(ws, site)
    rules = rules_version(parts)
    events = _events(ws, idsite, day)
    tail_hash = tail_of(ws, idsite, day)
    mark = fingerprint(rules, events.content_hash, tail_hash, site.level)
    old = ws.lake.manifest(METRICS_TABLE, idsite, day)
    if old is not None and old.fingerprint == mark:
        return [StageReport.of(old, changed=False)]
    one_country = names_one_country(ws.lake.scan(EVENTS, [(idsite, day)]))
    buckets = _buckets(ws, idsite, day, events.rows)
    made = metrics(buckets, ws.settings, site, (day, day), rules, run=in_threads, one_country=one_country)
    steps: dict[str, dict[str, int]] = {}
    for vocabulary, step, n in made.step_counts.iter_rows():
        steps.setdefault(vocabulary, {})[step] = n
    for vocabulary, by_step in steps.items():
        if sum(by_step.values()) != events.rows:
            msg = f"site {idsite}, {day}: the steps of {vocabulary} account for {sum(by_step.values())} of {events.rows} events"
            raise LakeError(msg)
    sums = {m: int(made.table[m].sum()) for m in (*METRICS, "searches")}
    counts: dict[str, Any] = {"events": events.rows, "steps": steps, **sums}
    with ws.lake.writer(METRICS_TABLE, idsite, day) as w:
        w.append(made.table)
        inputs = {"events": events.content_hash, "tail": tail_hash}
        manifest = Manifest(METRICS_TABLE.name, idsite, day, mark, inputs=inputs, counts=counts, rules_version=rules)
        done = ws.lake.commit(w, replace(manifest, rules=parts))
    return [StageReport.of(done, changed=True)]


def make_documents(ws: Workspace, idsite: int, day: date) -> Iterable[StageReport]:
    """Writes the documents of a site's day, or of its month when that is the site's grain."""
    site = ws.settings.site(idsite)
    first, days = _period(ws, site, day)
    sources = {d: m for d in days if (m := ws.lake.manifest(METRICS_TABLE, idsite, d)) is not None}
    if day not in sources:
        msg = f"site {idsite}, {day}: no metrics to make documents of: materialise filtered_metrics first"
        raise LakeError(msg)
    rules = "+".join(sorted({m.rules_version for m in sources.values()}))
    mark = fingerprint(site.grain, site.country, site.level, *(f"{d}:{m.content_hash}" for d, m in sources.items()))
    if ws.settings.matomo.mode != "embedded":
        from usage_stats_dagster.pipeline import extraction  # noqa: PLC0415  (a database's clients)

        mark = fingerprint(mark, extraction.documents_mark(ws, site, list(sources)))
    old = ws.lake.manifest(DOCUMENTS, idsite, first)
    if old is None or old.fingerprint != mark:
        of: dict[str, Any] = {}
        if ws.settings.matomo.mode != "embedded":
            table = extraction.document_rows(ws, site, first, list(sources), rules)
            frame = documents(table, site, site.grain, first, mapping=site.identifier_map)
            of = {"of": {m: int(table[m].sum()) for m in METRICS}}  # a month's are no sums of its days'
        else:
            table = ws.lake.scan(METRICS_TABLE, [(idsite, d) for d in sources]).collect()
            frame = documents(table, site, site.grain, first)
        counts = {
            "documents": frame.height,
            "grain": site.grain,
            **{m: int(frame[m].sum()) for m in METRICS},
            **of,
        }
        with ws.lake.writer(DOCUMENTS, idsite, first) as w:
            w.append(frame)
            inputs = {str(d): m.content_hash for d, m in sources.items()}
            manifest = Manifest(DOCUMENTS.name, idsite, first, mark, inputs=inputs, counts=counts, rules_version=rules)
            done = ws.lake.commit(w, manifest, first=lambda: _remove_other_grain(ws, site, first))
    else:
        done = old
    _advance(ws, idsite, day, sources[day], done)
    return [StageReport.of(done, changed=done is not old)]


def tail_of(ws: Workspace, idsite: int, day: date) -> str:
    """The hash of the next day's first events, as they are in the lake now; empty when the day is not there."""
    nxt = ws.lake.manifest(EVENTS, idsite, day + timedelta(1))
    return str(nxt.counts["head_hash"]) if nxt is not None else ""


def _events(ws: Workspace, idsite: int, day: date) -> Manifest:
    found = ws.lake.manifest(EVENTS, idsite, day)
    if found is None:
        msg = f"site {idsite}, {day}: no events to count: materialise visits and events first"
        raise LakeError(msg)
    return found


def _buckets(ws: Workspace, idsite: int, day: date, rows: int) -> Iterator[Bucket]:
    seconds = timedelta(seconds=ws.settings.rules.double_click_seconds)
    after = ws.settings.day_start(day + timedelta(1))
    edges = list(pairwise(shares(rows, BUCKET_EVENTS)))
    for k, (low, high) in enumerate(edges):
        events = ws.lake.scan(EVENTS, [(idsite, day)])
        visits = ws.lake.scan(VISITS, [(idsite, day)])
        tail = ws.lake.scan(EVENTS, [(idsite, day + timedelta(1))]).filter(pl.col("server_time") <= after + seconds)
        if len(edges) > 1:
            of_bucket = pl.col("idvisitor") >= f"{low:016x}"
            if k < len(edges) - 1:
                of_bucket &= pl.col("idvisitor") < f"{high:016x}"
            events, visits, tail = (f.filter(of_bucket) for f in (events, visits, tail))
        yield Bucket(events, visits, tail)


def _period(ws: Workspace, site: Site, day: date) -> tuple[date, list[date]]:
    """First day and all days that the day's document is made of."""
    if site.grain == "day":
        return day, [day]
    first = day.replace(day=1)
    return first, ws.lake.days_of_month(METRICS_TABLE, site.id, first)


def _remove_other_grain(ws: Workspace, site: Site, first: date) -> None:
    """A site's month has one grain: the day's documents and the month's side by side would double every sum."""
    month = first.replace(day=1)
    # A month's document lies on its first day; a document of any other day is a day's.
    others = [month] if site.grain == "day" else ws.lake.days_of_month(DOCUMENTS, site.id, month)
    for d in others:
        if d == first:
            continue
        if not ws.lake.part(DOCUMENTS, site.id, d).exists():
            continue
        m = ws.lake.manifest(DOCUMENTS, site.id, d)
        if m is None or m.counts.get("grain") != site.grain:  # without one: half removed, or half made
            ws.lake.remove(DOCUMENTS, site.id, d)


def _advance(ws: Workspace, idsite: int, day: date, figures: Manifest, docs: Manifest) -> None:
    row = ws.ledger.status(idsite, day)
    counts = {m: figures.counts[m] for m in (*METRICS, "searches")} | {"documents": docs.rows, **_content(figures)}
    made = row is not None and row["status"] >= DayStatus.CALCULATED and row["rules_version"] == figures.rules_version
    if row is not None and made and (row["counts"] or {}) | counts == row["counts"]:
        return
    status = max(DayStatus.CALCULATED, DayStatus(row["status"]) if row is not None else DayStatus.QUEUE)
    advance(ws, idsite, day, status, counts=counts, rules_version=figures.rules_version)


def _content(figures: Manifest) -> dict[str, int]:
    """How much of what people asked for has an item, and how much has none; nothing where no step asks for items."""
    steps = figures.counts["steps"][LAREFERENCIA]
    return {"mapped": steps["kept"], "unmapped": steps["unidentified"]} if "unidentified" in steps else {}
