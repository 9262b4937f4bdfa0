"""The rows that documents are made of where a Matomo is the source: its visits span days, the embedded tracker's don't.

What belongs here: a month's figures from its days', and the few visits whose figures are no sums of their days'. What does
not: what a figure means (`metrics/`), documents, the stages (`figures.py`).

What is binary per visit does not add up over a visit that spans days; everything else does, over days as over visitors. So a
large month is the sum of its days, but for the visitors who have such a visit: their part is taken out of the days and computed
from the month's events. A small one is computed from all its events, and so is one whose days are of other rules, or no longer
of their events.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, timedelta

import polars as pl

from usage_stats_dagster import engine
from usage_stats_dagster.metrics.aggregate import (
    COUNTRY_COLUMNS,
    EVENT_COLUMNS,
    FIGURES,
    NO_COUNTRY,
    VISIT_COLUMNS,
    Figures,
    of_one_visit,
    replaced,
)
from usage_stats_dagster.metrics.table import Bucket, countries_of, figures_of, metrics, table_of
from usage_stats_dagster.metrics.version import rules_version
from usage_stats_dagster.pipeline.figures import first_seconds_after, tail_of
from usage_stats_dagster.pipeline.stage import batches, fingerprint
from usage_stats_dagster.pipeline.versions import figures_parts
from usage_stats_dagster.pipeline.workspace import Workspace
from usage_stats_dagster.schemas import EVENTS, METRICS_TABLE, SITE_DAY, UTC_TIME, VISITS
from usage_stats_dagster.settings import Site

MONTH_EVENTS = 150_000
"""Events of a month that are counted at a time."""

SMALL_MONTH = MONTH_EVENTS
"""Events up to which counting all takes less than taking the sum of the days apart."""


def documents_mark(ws: Workspace, site: Site, days: Sequence[date]) -> str:
    """Over what decides `document_rows` beside the days' metrics: a month's are made of its events and visits."""
    if site.grain == "day":
        return ""
    found = (ws.lake.manifest(t, site.id, d) for d in days for t in (EVENTS, VISITS))
    return fingerprint(*(m.content_hash for m in found if m is not None))


def document_rows(ws: Workspace, site: Site, first: date, days: Sequence[date], rules: str) -> pl.DataFrame:
    """METRICS_TABLE that the documents of the days (one day, or a month's) are made of."""
    if site.grain == "day":
        return ws.lake.scan(METRICS_TABLE, [(site.id, d) for d in days]).collect()
    return month_rows(ws, site, first, days, rules)


def month_rows(ws: Workspace, site: Site, first: date, days: Sequence[date], rules: str) -> pl.DataFrame:
    """METRICS_TABLE of a month, its rows of the day `first`; both ways give the same."""
    days = sorted(days)
    made = None
    if _events(ws, site, days) > SMALL_MONTH and _are_of_today(ws, site, days):
        made = _from_days(ws, site, days)
    if made is None:
        return from_events(ws, site, first, days, rules)
    return table_of(made, site, first, rules)


def from_events(ws: Workspace, site: Site, first: date, days: Sequence[date], rules: str) -> pl.DataFrame:
    """As `month_rows`, of all the month's events."""
    return metrics(_buckets(ws, site, days), ws.settings, site, (first, max(days)), rules).table


def _are_of_today(ws: Workspace, site: Site, days: Sequence[date]) -> bool:
    """Whether the days' metrics are of the events, visits and first seconds after them that there are, and of today's rules."""
    version = rules_version(figures_parts(ws, site))
    for day in days:
        of, events, visits = (ws.lake.manifest(t, site.id, day) for t in (METRICS_TABLE, EVENTS, VISITS))
        if of is None or events is None or visits is None or of.rules_version != version:
            return False
        made_of = {"events": events.content_hash, "visits": visits.content_hash, "tail": tail_of(ws, site.id, day)}
        if of.inputs != made_of:
            return False
    return True


def _from_days(ws: Workspace, site: Site, days: Sequence[date]) -> Figures | None:
    """The month's figures from its days'; None where visitors with visits that span days have more events than memory is for."""
    parts, last = [(site.id, d) for d in days], max(days)
    every, visits = ws.lake.scan(EVENTS, parts), ws.lake.scan(VISITS, parts)
    spanning = visits.group_by("idvisit").len().filter(pl.col("len") > 1).select("idvisit").collect()["idvisit"]
    of_spanning = every.filter(pl.col("idvisit").is_in(spanning.implode()))
    visitors = of_spanning.select("idvisitor").unique().collect()["idvisitor"]
    theirs = pl.col("idvisitor").is_in(visitors.implode())
    events = every.select(EVENT_COLUMNS).filter(theirs).collect()
    if events.height > MONTH_EVENTS:
        return None
    tail = first_seconds_after(ws, site.id, last).select(EVENT_COLUMNS).filter(theirs).collect()
    stored = ws.lake.scan(METRICS_TABLE, parts).select("identifier", pl.col("country").fill_null(NO_COUNTRY), *FIGURES)
    month = figures_of(
        Bucket(events.lazy(), _last_read(visits, events["idvisit"]), tail.lazy()), ws.settings, (days[0], last)
    )
    by_day = figures_of(_by_day(ws, site, days, events, tail), ws.settings, (days[0], last), keys=[SITE_DAY])
    countries = [month.countries, *_countries(ws, site, days, ~theirs)]
    held = engine.collect(of_one_visit(countries))
    sums = replaced(engine.wrap(stored), by_day.sums, month.sums)
    return Figures(sums, engine.wrap(held.lazy()), month.reasons)


def _by_day(ws: Workspace, site: Site, days: Sequence[date], events: pl.DataFrame, tail: pl.DataFrame) -> Bucket:
    """The events of some visitors as their days' metrics saw them: with the visits as each day has them, and each day's tail."""
    starts = pl.Series([ws.settings.day_start(d) for d in days], dtype=UTC_TIME)
    number = (starts.search_sorted(events["server_time"], "right") - 1).cast(pl.Int32).alias(SITE_DAY)
    numbered = events.with_columns(number)
    ids = events["idvisit"].unique().implode()
    visits = [
        ws.lake.scan(VISITS, [(site.id, d)])
        .select(VISIT_COLUMNS)
        .filter(pl.col("idvisit").is_in(ids))
        .with_columns(pl.lit(k, pl.Int32).alias(SITE_DAY))
        for k, d in enumerate(days)
    ]
    seconds = timedelta(seconds=ws.settings.rules.double_click_seconds)
    place = {d: k for k, d in enumerate(days)}
    before = pl.Series(SITE_DAY, [place.get(ws.settings.day_before(d)) for d in days], dtype=pl.Int32)
    head = numbered.filter(pl.col("server_time") <= starts.gather(numbered[SITE_DAY]) + seconds)
    tails = [head.with_columns(before.gather(head[SITE_DAY])).drop_nulls(SITE_DAY).lazy()]
    for d, k in place.items():
        if ws.settings.day_after(d) not in place:
            after = tail.lazy() if d == days[-1] else first_seconds_after(ws, site.id, d).select(EVENT_COLUMNS)
            of_them = after.filter(pl.col("idvisitor").is_in(events["idvisitor"].unique().implode()))
            tails.append(of_them.with_columns(pl.lit(k, pl.Int32).alias(SITE_DAY)))
    return Bucket(numbered.lazy(), pl.concat(visits), pl.concat(tails))


def _countries(ws: Workspace, site: Site, days: Sequence[date], others: pl.Expr) -> Iterator[engine.Frame]:
    """What the visits within one day say of their items' countries, some days at a time."""
    parts = [(site.id, d) for d in days]
    if ws.lake.scan(EVENTS, parts).select(pl.col("country_item").count()).collect().item() == 0:
        return
    for some in batches(days, lambda day: _events(ws, site, [day]), MONTH_EVENTS, MONTH_EVENTS):
        yield _countries_of(ws, site, some, others)


def _countries_of(ws: Workspace, site: Site, days: Sequence[date], others: pl.Expr) -> engine.Frame:
    parts = [(site.id, d) for d in days]
    events = ws.lake.scan(EVENTS, parts).filter(others).select(COUNTRY_COLUMNS)
    # A visit that spans days is nobody's here; its rows would only double those that it is joined with.
    visits = ws.lake.scan(VISITS, parts).select(VISIT_COLUMNS).unique("idvisit")
    return countries_of(events, visits, ws.settings)


def _buckets(ws: Workspace, site: Site, days: Sequence[date]) -> Iterator[Bucket]:
    parts, last = [(site.id, d) for d in days], max(days)
    visits = _last_read(ws.lake.scan(VISITS, parts)).collect().lazy()
    events, tail = ws.lake.scan(EVENTS, parts), first_seconds_after(ws, site.id, last)
    n = max(1, -(-_events(ws, site, days) // MONTH_EVENTS))
    for k in range(n):
        if n == 1:
            yield Bucket(events, visits, tail)
            continue
        mine = pl.col("idvisitor").hash() % n == k  # any even split does
        yield Bucket(events.filter(mine), visits, tail.filter(mine))


def _events(ws: Workspace, site: Site, days: Sequence[date]) -> int:
    return sum(m.rows for d in days if (m := ws.lake.manifest(EVENTS, site.id, d)) is not None)


def _last_read(visits: pl.LazyFrame, ids: pl.Series | None = None) -> pl.LazyFrame:
    """Each visit once, as it was last read: it stands on each day on which it has an event."""
    if ids is not None:
        visits = visits.filter(pl.col("idvisit").is_in(ids.unique().implode()))
    return (
        visits.select(*VISIT_COLUMNS, "visit_last_action_time")
        .sort("visit_last_action_time", nulls_last=False, maintain_order=True)
        .unique("idvisit", keep="last", maintain_order=True)
    )
