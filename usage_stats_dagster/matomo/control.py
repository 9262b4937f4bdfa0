"""The control of a site's day: counts and sums that change when what the day holds does.

What belongs here: the control as the database answers it, and the same from rows that were read. What does not: its SQL
(`queries.control`), what follows from two that differ (`pipeline/extraction_days.py`).

Rows whose control is the one that the database answered at one moment are the rows of that moment, however many queries
read them.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import polars as pl

from usage_stats_dagster.matomo import queries
from usage_stats_dagster.matomo.columns import Columns
from usage_stats_dagster.matomo.database import Reader
from usage_stats_dagster.matomo.queries import Period

_YEAR_0 = 62_167_219_200
"""Seconds from the year 0, from which SQL's TO_SECONDS counts, to 1970."""

c = pl.col


@dataclass(frozen=True)
class Control:
    """What a site's period holds, by counts and sums: equal answers, nothing has changed."""

    events: int
    visits_ended: int
    text: str

    @classmethod
    def read(cls, reader: Reader, columns: Columns, period: Period) -> Control:
        """Asks the database for it."""
        of_events, of_visits = (reader.rows(q)[0] for q in queries.control(columns, period))
        return cls.of([*map(int, of_events)], [*map(int, of_visits)])

    @classmethod
    def of(cls, of_events: list[int], of_visits: list[int]) -> Control:
        """From the answers of the two queries."""
        return cls(of_events[0], of_visits[0], "|".join(map(str, (*of_events, *of_visits))))


class Tally:
    """The control of a period from the rows of it that were read: EVENTS, and VISITS that end in it or have an event in it.

    It is the database's where each visit that the control looks at has an event in the period, as nearly all have.
    """

    def __init__(self, period: Period) -> None:
        self._period = period
        self._events: list[tuple[int, ...]] = []
        self._visits = [0, 0, 0]

    def add_events(self, rows: pl.DataFrame) -> None:
        """Further events."""
        if rows.height:
            ids, seconds = c("idlink_va"), _seconds("server_time")
            made = rows.select(
                pl.len(), ids.min().alias("least"), ids.max().alias("most"), ids.sum().alias("sum"), seconds.sum()
            )
            self._events.append(made.row(0))

    def add_visits(self, rows: pl.DataFrame) -> None:
        """Further visits."""
        if not rows.height:
            return
        end = self._period.end
        seconds, last, first = (
            _seconds("visit_last_action_time"),
            c("visit_last_action_time"),
            c("visit_first_action_time"),
        )
        countries = rows["location_country"].unique().drop_nulls()
        codes = pl.Series([zlib.crc32(text.encode()) % queries.COUNTRY_MODULUS for text in countries], dtype=pl.Int64)
        country = c("location_country").replace_strict(countries, codes, default=0, return_dtype=pl.Int64)
        actions, spent = (c(n).cast(pl.Int64).fill_null(0) for n in ("visit_total_actions", "visit_total_time"))
        said = (
            seconds % queries.SECONDS_MODULUS
            + queries.ACTIONS_FACTOR * actions
            + queries.SPENT_FACTOR * spent
            + country
        )
        watched = rows.filter(
            (last >= self._period.start) & (last < end + queries.LATER) & (first < end).fill_null(value=True)
        )
        made = watched.select(
            (last < end).sum().alias("ended"), pl.len(), (c("idvisit") % queries.ID_MODULUS * said).sum().alias("sum")
        )
        self._visits = [a + b for a, b in zip(self._visits, made.row(0), strict=True)]

    def control(self) -> Control:
        """Of all rows that were added."""
        counts, least, most, ids, seconds = zip(*self._events, strict=True) if self._events else ([], [0], [0], [], [])
        return Control.of([sum(counts), min(least), max(most), sum(ids), sum(seconds)], self._visits)


def _seconds(time: str) -> pl.Expr:
    return c(time).dt.epoch("s") + _YEAR_0
