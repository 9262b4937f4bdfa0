"""Buckets of time: the units that readers ask for, over the granularities that an index answers in.

What belongs here: which granularity a unit needs, and the bucket of a day. What does not: dates as written (`dates.py`).
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import get_args

import polars as pl

from usage_stats_dagster.index.interface import FIGURES, Granularity

_TRUNCATED = {"day": "1d", "week": "1w", "month": "1mo", "quarter": "1q", "year": "1y"}
UNITS = tuple(_TRUNCATED)
"""What readers may ask for; weeks begin on Monday, as OpenSearch's do."""

_ASKED: dict[str, Granularity] = {"week": "day", "quarter": "month"}


class UnitError(ValueError):
    """There is no such unit; the message names the choices."""


def check_unit(name: str, unit: str) -> str:
    """The unit, if there is one of that name; else UnitError. `name` is the parameter's."""
    if unit not in UNITS:
        msg = f"{name} {unit!r} is no unit of time: there are {', '.join(UNITS)}"
        raise UnitError(msg)
    return unit


def granularity(unit: str) -> Granularity:
    """What to ask an index for, so that its periods fit into buckets of the unit."""
    if unit in _ASKED:
        return _ASKED[unit]
    return next(g for g in get_args(Granularity) if g == unit)


def bucketed(rows: pl.DataFrame, unit: str, key: str) -> pl.DataFrame:
    """Rows of `key`, `period` and FIGURES, summed by bucket of the unit and key, ordered by these."""
    buckets = rows.with_columns(bucket("period", unit))
    return buckets.group_by("period", key).agg(pl.col(list(FIGURES)).sum()).sort("period", key)


def bucket(column: str, unit: str) -> pl.Expr:
    """The first day of the bucket that each day lies in."""
    return pl.col(column).dt.truncate(_TRUNCATED[unit])


def buckets_between(first: date, last: date, unit: str) -> list[date]:
    """The first days of the buckets from that of `first` to that of `last`."""
    days = pl.DataFrame({"day": [first, last]}).select(bucket("day", unit))["day"]
    return pl.date_range(days[0], days[1], _TRUNCATED[unit], eager=True).to_list()


def milliseconds(day: date) -> int:
    """The day's midnight in UTC, in milliseconds since 1970: a bucket's key."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000
