"""The stage `filtered_metrics`: a site-day's events to figures.

What belongs here: which events and which of the next day's first seconds, buckets of visitors, writing the table.
What does not: the rules (`metrics/`), what is made of the figures (`documents.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import pairwise
from typing import Any

import polars as pl

from usage_stats_dagster.lake.store import LakeError, Manifest
from usage_stats_dagster.metrics.aggregate import EVENT_COLUMNS, VISIT_COLUMNS
from usage_stats_dagster.metrics.table import Bucket, Metrics, metrics, metrics_together, names_one_country
from usage_stats_dagster.metrics.version import rules_version
from usage_stats_dagster.parts import numbered
from usage_stats_dagster.pipeline.stage import SiteDay, StageReport, batches, fingerprint, side_by_side
from usage_stats_dagster.pipeline.together import rows_together
from usage_stats_dagster.pipeline.tracking import shares
from usage_stats_dagster.pipeline.versions import figures_parts
from usage_stats_dagster.pipeline.workspace import Workspace
from usage_stats_dagster.schemas import EVENTS, METRICS, METRICS_TABLE, SITE_DAY, UTC_TIME, VISITS
from usage_stats_dagster.settings import Site
from usage_stats_dagster.threads import in_threads

BUCKET_EVENTS = 500_000
"""Events counted at a time in one thread; half as many of a larger day, whose visits and events left less memory."""

COUNTED_TOGETHER = 100_000
"""Events of the site-days that are counted in one plan, and of a site-day that is one of several: coded, they are small."""


def make_metrics(ws: Workspace, todo: Sequence[SiteDay]) -> Iterator[list[StageReport]]:
    """Writes the metrics of the site-days, but of those that are already of these events, this tail and these rules."""
    rules = {s: figures_parts(ws, ws.settings.site(s)) for s in {s for s, _ in todo}}
    versions = {s: rules_version(parts) for s, parts in rules.items()}
    events = {key: _events(ws, *key) for key in todo}

    def make(batch: list[SiteDay]) -> list[StageReport]:
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
        return [reports[key] for key in batch]

    def size(key: SiteDay) -> int:
        return events[key].rows

    yield from side_by_side(make, batches(todo, size, COUNTED_TOGETHER, COUNTED_TOGETHER), lambda b: sum(map(size, b)))


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
    rows = of.events.rows
    most = BUCKET_EVENTS if rows <= 2 * BUCKET_EVENTS else -(-BUCKET_EVENTS // 2)
    edges = list(pairwise(shares(rows, most)))
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
