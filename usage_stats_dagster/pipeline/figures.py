"""The stages `filtered_metrics` and `documents`: a site-day's events to figures, figures to documents.

What belongs here: which events and which of the next day's first seconds, buckets of visitors, writing both tables.
What does not: the rules (`metrics/`), the documents' fields (`documents/`).
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import pairwise
from typing import Any

import polars as pl

from usage_stats_dagster.documents.build import PERIOD, Period, documents, documents_together
from usage_stats_dagster.lake.store import LakeError, Manifest
from usage_stats_dagster.ledger.tables import DayStatus
from usage_stats_dagster.metrics.aggregate import EVENT_COLUMNS, VISIT_COLUMNS
from usage_stats_dagster.metrics.steps import LAREFERENCIA
from usage_stats_dagster.metrics.table import Bucket, Metrics, metrics, metrics_together, names_one_country
from usage_stats_dagster.metrics.version import rules_version
from usage_stats_dagster.pipeline import status
from usage_stats_dagster.pipeline.stage import SiteDay, StageReport, batches, fingerprint
from usage_stats_dagster.pipeline.status import Reached
from usage_stats_dagster.pipeline.threads import in_threads
from usage_stats_dagster.pipeline.together import numbered, rows_together
from usage_stats_dagster.pipeline.tracking import shares
from usage_stats_dagster.pipeline.versions import figures_parts
from usage_stats_dagster.pipeline.workspace import Workspace
from usage_stats_dagster.schemas import DOCUMENTS, EVENTS, METRICS, METRICS_TABLE, SITE_DAY, UTC_TIME, VISITS
from usage_stats_dagster.settings import Site

BUCKET_EVENTS = 500_000
"""Events counted at a time in one thread."""

COUNTED_TOGETHER, COUNTED_SMALL = 200_000, 100_000
"""Events of the site-days that are counted in one plan, and of a site-day that is one of several: coded, they are small."""


def make_metrics(ws: Workspace, todo: Sequence[SiteDay]) -> Iterator[list[StageReport]]:
    """Writes the metrics of the site-days, but of those that are already of these events, this tail and these rules."""
    rules = {s: figures_parts(ws, ws.settings.site(s)) for s in {s for s, _ in todo}}
    versions = {s: rules_version(parts) for s, parts in rules.items()}
    events = {key: _events(ws, *key) for key in todo}
    rows = {key: m.rows for key, m in events.items()}
    for batch in batches(todo, rows, COUNTED_TOGETHER, COUNTED_SMALL):
        reports: dict[SiteDay, StageReport] = {}
        stale: list[_Stale] = []
        for key in batch:
            site, tail_hash = ws.settings.site(key[0]), tail_of(ws, *key)
            inputs = {"events": events[key].content_hash, "tail": tail_hash}
            if ws.settings.matomo.mode != "embedded":  # where a visit may change and its day's events don't
                inputs["visits"] = _visits(ws, *key).content_hash
            mark = fingerprint(versions[site.id], *inputs.values(), site.level)
            old = ws.lake.manifest(METRICS_TABLE, *key)
            if old is not None and old.fingerprint == mark:
                reports[key] = StageReport.of(old, changed=False)
            else:
                stale.append(_Stale(site, key[1], events[key], inputs, rules[site.id], versions[site.id], mark))
        if len(stale) == 1:
            (one,) = stale
            made = [_count(ws, one)]
        else:
            made = _count_together(ws, stale) if stale else []

        def write(piece: tuple[_Stale, Metrics]) -> Manifest:
            return piece[0].commit(ws, piece[1])

        for done in in_threads(write, zip(stale, made, strict=True)):
            reports[done.idsite, done.day] = StageReport.of(done, changed=True)
        yield [reports[key] for key in batch]


@dataclass(frozen=True)
class _Stale:
    """A site's day whose metrics are to be made (anew), and of what."""

    site: Site
    day: date
    events: Manifest
    inputs: dict[str, str]
    rules: dict[str, str]
    version: str
    mark: str

    def commit(self, ws: Workspace, made: Metrics) -> Manifest:
        """Puts the metrics in place; raises LakeError where the steps don't account for every event."""
        idsite, day, n = self.site.id, self.day, self.events.rows
        steps: dict[str, dict[str, int]] = {}
        for vocabulary, step, count in made.step_counts.iter_rows():
            steps.setdefault(vocabulary, {})[step] = count
        for vocabulary, by_step in steps.items():
            if sum(by_step.values()) != n:
                msg = (
                    f"site {idsite}, {day}: the steps of {vocabulary} account for {sum(by_step.values())} of {n} events"
                )
                raise LakeError(msg)
        sums = {m: int(made.table[m].sum()) for m in (*METRICS, "searches")}
        counts: dict[str, Any] = {"events": n, "steps": steps, **sums}
        with ws.lake.writer(METRICS_TABLE, idsite, day) as w:
            w.append(made.table)
            manifest = Manifest(
                METRICS_TABLE.name,
                idsite,
                day,
                self.mark,
                inputs=self.inputs,
                counts=counts,
                rules_version=self.version,
            )
            return ws.lake.commit(w, replace(manifest, rules=self.rules))


def _count(ws: Workspace, one: _Stale) -> Metrics:
    one_country = names_one_country(ws.lake.scan(EVENTS, [(one.site.id, one.day)]))
    return metrics(
        _buckets(ws, one),
        ws.settings,
        one.site,
        (one.day, one.day),
        one.version,
        run=in_threads,
        one_country=one_country,
    )


def _count_together(ws: Workspace, stale: Sequence[_Stale]) -> list[Metrics]:
    """Several small site-days in one plan; each has the metrics that it has alone."""
    of_events, of_visits = [s.events for s in stale], [_visits(ws, s.site.id, s.day) for s in stale]
    events = numbered(rows_together(ws, EVENTS, of_events, EVENT_COLUMNS), SITE_DAY, [m.rows for m in of_events])
    visits = numbered(rows_together(ws, VISITS, of_visits, VISIT_COLUMNS), SITE_DAY, [m.rows for m in of_visits])
    seconds = timedelta(seconds=ws.settings.rules.double_click_seconds)
    numbers = {(s.site.id, s.day): k for k, s in enumerate(stale)}
    before = {key: numbers.get((key[0], ws.settings.day_before(key[1]))) for key in numbers}
    # The first seconds of a day whose day before is of the batch too: they are read already.
    ends = pl.Series([ws.settings.day_start(s.day) + seconds for s in stale], dtype=UTC_TIME)
    of_day_before = pl.Series(SITE_DAY, list(before.values()), dtype=pl.Int32)
    head = events.filter(pl.col("server_time") <= ends.gather(events[SITE_DAY]))
    tails = [head.with_columns(of_day_before.gather(head[SITE_DAY])).drop_nulls(SITE_DAY)]
    for k, s in enumerate(stale):
        after = (s.site.id, ws.settings.day_after(s.day))
        if s.inputs["tail"] and after not in numbers:
            tail = first_seconds_after(ws, s.site.id, s.day).select(EVENT_COLUMNS).collect()
            tails.append(tail.with_columns(pl.lit(k, pl.Int32).alias(SITE_DAY)).select(head.columns))
    about = pl.DataFrame(
        [(k, s.site.id, s.day, s.site.level, s.version) for k, s in enumerate(stale)],
        {SITE_DAY: pl.Int32, **{c: METRICS_TABLE.columns[c] for c in ("idsite", "day", "level", "rules_version")}},
        orient="row",
    )
    bucket = Bucket(events.lazy(), visits.lazy(), pl.concat(tails).lazy())
    return metrics_together(bucket, ws.settings, about)


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
        from usage_stats_dagster.pipeline import months  # noqa: PLC0415  (it builds on this module)

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
    for batch in batches(list(sources), {key: s.rows for key, s in sources.items()}):
        marks = {key: sources[key].mark(ws) for key in batch}
        done: dict[SiteDay, Manifest] = {}
        for key in batch:
            old = ws.lake.manifest(DOCUMENTS, *key)
            if old is not None and old.fingerprint == marks[key]:
                done[key] = old
        stale = [key for key in batch if key not in done]
        # Before any of them is written: a manifest must not say that a period is made while the other grain's lie beside it.
        for key in stale:
            _remove_other_grain(ws, sources[key].site, key[1], sources)
        if ws.settings.matomo.mode == "embedded":
            frames = _documents_together(ws, [sources[key] for key in stale])
            made: Iterable[_Made] = [(sources[k], marks[k], f, {}) for k, f in zip(stale, frames, strict=True)]
        else:
            made = ((sources[k], marks[k], *_documents_of_matomo(ws, sources[k])) for k in stale)

        def write(piece: _Made) -> Manifest:
            source, mark, frame, of = piece
            return source.commit(ws, frame, mark, of)

        done |= dict(zip(stale, in_threads(write, made), strict=True))
        _advance(ws, [(sources[key], done[key]) for key in batch])
        changed = set(stale)
        yield [StageReport.of(done[key], changed=key in changed) for key in batch for _ in sources[key].asked]


_Made = tuple[_Source, str, pl.DataFrame, dict[str, Any]]


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
    from usage_stats_dagster.pipeline import months  # noqa: PLC0415  (it builds on this module)

    site = source.site
    table = months.document_rows(ws, site, source.first, list(source.metrics), source.rules)
    frame = documents(table, site, site.grain, source.first, mapping=site.identifier_map)
    return frame, {"of": {m: int(table[m].sum()) for m in METRICS}}


def tail_of(ws: Workspace, idsite: int, day: date) -> str:
    """The hash of the next day's first events, as they are in the lake now; empty when the day is not there."""
    nxt = ws.lake.manifest(EVENTS, idsite, ws.settings.day_after(day))
    return str(nxt.counts["head_hash"]) if nxt is not None else ""


def first_seconds_after(ws: Workspace, idsite: int, day: date) -> pl.LazyFrame:
    """EVENTS of the next day that can tell double clicks of this one."""
    after = ws.settings.day_after(day)
    end = ws.settings.day_start(after) + timedelta(seconds=ws.settings.rules.double_click_seconds)
    return ws.lake.scan(EVENTS, [(idsite, after)]).filter(pl.col("server_time") <= end)


def _events(ws: Workspace, idsite: int, day: date) -> Manifest:
    found = ws.lake.manifest(EVENTS, idsite, day)
    if found is None:
        msg = f"site {idsite}, {day}: no events to count: materialise visits and events first"
        raise LakeError(msg)
    return found


def _visits(ws: Workspace, idsite: int, day: date) -> Manifest:
    found = ws.lake.manifest(VISITS, idsite, day)
    if found is None:
        msg = f"site {idsite}, {day}: no visits to count: materialise visits and events first"
        raise LakeError(msg)
    return found


def _buckets(ws: Workspace, of: _Stale) -> Iterator[Bucket]:
    idsite, day = of.site.id, of.day
    edges = list(pairwise(shares(of.events.rows, BUCKET_EVENTS)))
    for k, (low, high) in enumerate(edges):
        events = ws.lake.scan(EVENTS, [(idsite, day)])
        visits = ws.lake.scan(VISITS, [(idsite, day)])
        tail = first_seconds_after(ws, idsite, day)
        if len(edges) > 1:
            of_bucket = pl.col("idvisitor") >= f"{low:016x}"
            if k < len(edges) - 1:
                of_bucket &= pl.col("idvisitor") < f"{high:016x}"
            events, visits, tail = (f.filter(of_bucket) for f in (events, visits, tail))
        yield Bucket(events, visits, tail)


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
