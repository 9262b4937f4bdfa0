"""The control of a site's day: counts and sums that change when what the day holds does.

What belongs here: the control as the database answers it, and the same from rows that were read. What does not: its SQL
(`queries.control`), what follows from two that differ (`pipeline/extraction_days.py`).

Rows whose control is the one that the database answered at one moment are the rows of that moment, however many queries
read them.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
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
            ids, seconds = rows["idlink_va"].to_numpy(), _seconds(rows["server_time"])
            self._events.append((rows.height, *(int(n) for n in (ids.min(), ids.max(), ids.sum(), seconds.sum()))))

    def add_visits(self, rows: pl.DataFrame, said: npt.NDArray[np.int64]) -> None:
        """Further visits, and what `said` gives of them."""
        end = self._period.end
        start, until, later = (int(t.timestamp()) + _YEAR_0 for t in (self._period.start, end, end + queries.LATER))
        last = _seconds(rows["visit_last_action_time"])
        # A first action at the zero date, which is null here, is before everything to SQL.
        first = _seconds(rows["visit_first_action_time"])
        watched = (last >= start) & (last < later) & (first < until)
        made = (watched & (last < until)).sum(), watched.sum(), said[watched].sum()
        self._visits = [a + int(b) for a, b in zip(self._visits, made, strict=True)]

    @property
    def visits_ended(self) -> int:
        """Visits that end in the period."""
        return self._visits[0]

    def control(self) -> Control:
        """Of all rows that were added."""
        counts, least, most, ids, seconds = zip(*self._events, strict=True) if self._events else ([], [0], [0], [], [])
        return Control.of([sum(counts), min(least), max(most), sum(ids), sum(seconds)], self._visits)


def said(visits: pl.DataFrame) -> npt.NDArray[np.int64]:
    """What each of the visits (VISITS) adds to the sum of `queries.control`, if that looks at it."""
    countries = visits["location_country"].unique().drop_nulls()
    codes = pl.Series([zlib.crc32(text.encode()) % queries.COUNTRY_MODULUS for text in countries], dtype=pl.Int64)
    country = c("location_country").replace_strict(countries, codes, default=0, return_dtype=pl.Int64)
    actions, spent = (c(n).cast(pl.Int64).fill_null(0) for n in ("visit_total_actions", "visit_total_time"))
    seconds = (c("visit_last_action_time").dt.epoch("s").fill_null(0) + _YEAR_0) % queries.SECONDS_MODULUS
    says = seconds + queries.ACTIONS_FACTOR * actions + queries.SPENT_FACTOR * spent + country
    return visits.select(c("idvisit") % queries.ID_MODULUS * says).to_series().to_numpy()


def _seconds(times: pl.Series) -> npt.NDArray[np.int64]:
    """Microseconds to seconds from the year 0; a null is long before any period."""
    return times.to_physical().fill_null(strategy="zero").to_numpy() // 1_000_000 + _YEAR_0
