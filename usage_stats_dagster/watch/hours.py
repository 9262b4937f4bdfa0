"""A missing hour: nothing at all between two busy hours, of the site or of one of its servers.

What belongs here: the rule, over hits by hour. What does not: counting them (`look.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl

from usage_stats_dagster.schemas import UTC_TIME
from usage_stats_dagster.watch.findings import Finding

HOURS_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "idsite": pl.Int32, "server": pl.String, "hour": UTC_TIME, "hits": pl.Int64,
}  # fmt: skip
"""Hits of a site (server null) or of one of its servers, an hour a row; an hour without any has no row."""

_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)


def missing_hours(
    hours: pl.DataFrame, asked: Collection[tuple[int, date]], zone: ZoneInfo, busy: int
) -> Iterator[Finding]:
    """Gaps in the hours (HOURS_SCHEMA, of the days asked and their neighbours) with at least `busy` hits on both sides.

    A gap is told on the days that it lies in, and on the day that its end opens, since only then both sides are known.
    Hours are UTC's, so that a clock that is put forward makes no gap. An hour that was empty the day before too, outside
    the gap, is the site's quiet time. A gap of the whole site is not told once more for each server.
    """
    named = hours.sort("server", nulls_last=False).partition_by("idsite", "server", as_dict=True, maintain_order=True)
    of_site: dict[int, set[datetime]] = {}
    for (idsite, server), part in named.items():
        for missing, before, after in _gaps(part, busy):
            if server is None:
                of_site.setdefault(idsite, set()).update(missing)
            elif set(missing) <= of_site.get(idsite, set()):
                continue
            touched = {t.astimezone(zone).date() for t in (*missing, missing[-1] + _HOUR)}
            told = sorted(d for d in touched if (idsite, d) in asked)
            if told:
                first, last = (t.astimezone(zone) for t in (missing[0], missing[-1] + _HOUR))
                who = f"server {server}" if server is not None else "no server"
                verb = "sent nothing" if server is not None else "has a hit"
                span = (
                    f"{first:%Y-%m-%d %H:%M} to {last:%H:%M}"
                    if first.date() == last.date()
                    else f"{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M}"
                )
                message = f"{who} {verb} from {span}, between hours of {before:,} and {after:,} hits: is part of a log missing?"
                yield Finding(idsite, told[0], "missing_hour", message, 0.0, (before + after) / 2)


def _gaps(part: pl.DataFrame, busy: int) -> Iterator[tuple[list[datetime], int, int]]:
    """The missing hours of each gap of one site or server, with the hits of the hours around it."""
    ordered = part.sort("hour").with_columns(until=pl.col("hour").shift(-1), after=pl.col("hits").shift(-1))
    open_ = ordered.filter(pl.col("until") - pl.col("hour") > _HOUR, pl.col("hits") >= busy, pl.col("after") >= busy)
    known = set(ordered["hour"].to_list()) if open_.height else set()
    first = min(known, default=None)
    for start, end, before, after in open_.select("hour", "until", "hits", "after").iter_rows():
        inside = [start + k * _HOUR for k in range(1, int((end - start) / _HOUR))]
        missing = [t for t in inside if t - _DAY in known or t - _DAY > start or first is None or t - _DAY < first]
        if missing:
            yield missing, before, after
