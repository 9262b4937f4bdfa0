"""A site's day of the lake as frames of the mirror's rows, a bounded number of visits at a time.

What belongs here: the day's limits, what visits have on other days, dividing the day. What does not: the rows
(`rows.py`), the table (`load.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import polars as pl

from usage_stats_dagster.lake.store import Lake
from usage_stats_dagster.mirror.rows import NEIGHBOUR_SCHEMA, PAGE, rows
from usage_stats_dagster.mirror.table import MirrorError
from usage_stats_dagster.schemas import EVENTS, VISITS, Table

BUCKET_EVENTS = 100_000
"""Events made into rows at a time: about 0.2 GB at the peak."""

SAMPLE = 64
"""Of so many events one says where the day is divided."""


def day_rows(
    lake: Lake, idsite: int, day: date, window: tuple[datetime, datetime], zone: ZoneInfo, sitename: str
) -> Iterator[pl.DataFrame]:
    """The rows of a site's day, robots' too, whole visits at a time (see `rows.rows`).

    `window` is the day in UTC, its end not included; `zone` the platform's, by which the lake has days.
    Raises MirrorError when an event of the lake's day is outside it.
    """
    events, visits = (_scan(lake, t, idsite, day) for t in (EVENTS, VISITS))
    time = pl.col("server_time")
    outside = events.filter((time < window[0]) | (time >= window[1])).select(pl.len()).collect().item()
    if outside:
        msg = f"site {idsite}, {day}: {outside} events of the lake are not of this day in {zone}: make the day again"
        raise MirrorError(msg)
    others = _neighbours(lake, idsite, day, visits, window, zone)
    for low, high in _buckets(events):
        part = pl.col("idvisit").is_between(low, high, closed="left")
        yield rows(
            events.filter(part).collect(engine="streaming"),
            visits.filter(part).collect(engine="streaming"),
            others.filter(part),
            sitename,
        )


def _scan(lake: Lake, table: Table, idsite: int, day: date) -> pl.LazyFrame:
    """The day with every column that it has: a scan by the schema leaves custom variables and dimensions out."""
    source = lake.source(lake.part(table, idsite, day))
    return pl.scan_parquet(source, hive_partitioning=False, glob=False) if source is not None else table.empty().lazy()


def _buckets(events: pl.LazyFrame) -> Iterator[tuple[int, int]]:
    """Ranges of idvisit, the end not included, with about BUCKET_EVENTS events each."""
    ids = events.select("idvisit").gather_every(SAMPLE).collect(engine="streaming")["idvisit"].sort()
    inner = ids.gather_every(BUCKET_EVENTS // SAMPLE)[1:].unique().sort().to_list()
    ends = events.select(low=pl.col("idvisit").min(), high=pl.col("idvisit").max() + 1).collect().row(0)
    if ends[0] is not None:
        yield from pairwise(sorted({*ends, *inner}))


def _neighbours(
    lake: Lake,
    idsite: int,
    day: date,
    visits: pl.LazyFrame,
    window: tuple[datetime, datetime],
    zone: ZoneInfo,
) -> pl.DataFrame:
    """NEIGHBOUR_SCHEMA of the visits that began before the day or go on after it."""
    first, last = pl.col("visit_first_action_time"), pl.col("visit_last_action_time")
    crossing = (
        visits.filter((first < window[0]) | (last >= window[1]))
        .select("idvisit", first=first.dt.convert_time_zone(str(zone)).dt.date(), last=last.dt.convert_time_zone(str(zone)).dt.date())
        .collect()
    )  # fmt: skip
    begin, end = crossing["first"].min(), crossing["last"].max()
    days: list[date] = []
    if isinstance(begin, date) and isinstance(end, date):
        days = [begin + timedelta(k) for k in range((end - begin).days + 1)]
    ids = crossing["idvisit"].unique().implode()
    first_page = pl.col("server_time").filter(pl.col("action_type") == PAGE).min()
    found = [
        _scan(lake, EVENTS, idsite, other)
        .filter(pl.col("idvisit").is_in(ids))
        .group_by("idvisit")
        .agg(
            before=pl.len().cast(pl.Int64) if other < day else pl.lit(0, dtype=pl.Int64),
            next_page=first_page if other > day else pl.lit(None, dtype=NEIGHBOUR_SCHEMA["next_page"]),
        )
        .collect(engine="streaming")
        for other in days
        if other != day and lake.part(EVENTS, idsite, other).exists()
    ]
    both = pl.concat([pl.DataFrame(schema=NEIGHBOUR_SCHEMA), *found])
    return both.group_by("idvisit").agg(pl.col("before").sum(), pl.col("next_page").min())
