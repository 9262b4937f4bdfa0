"""Judging each distinct value once over several columns: a bounded memory between buckets of the same site-day.

What belongs here: the memory. What does not: any judgement.
"""

from __future__ import annotations

import threading

import polars as pl

from usage_stats_dagster.lookups.distinct import Judge, numbered


class Remembered:
    """A judge of rows that asks `judge` about each distinct string once over all calls; null stays null.

    `limit` strings are remembered: then it forgets all and begins anew. Threads may call it side by side.
    """

    def __init__(self, judge: Judge, limit: int = 200_000) -> None:
        self._judge = judge
        self._limit = limit
        self._lock = threading.Lock()
        self._verdicts: pl.Series
        self._forget()

    def __call__(self, values: pl.Series) -> pl.Series:
        """The verdict of every row, in the same order, of whatever type the judge gives."""
        codes, verdicts = self.coded(values)
        return verdicts.gather(codes).alias(values.name)

    def coded(self, values: pl.Series) -> tuple[pl.Series, pl.Series]:
        """A number (UInt32) for the value of every row, equal for equal values, null for null; and the verdicts by number."""
        rows, distinct = numbered(values.cast(pl.String))
        with self._lock:
            if len(self._verdicts) > self._limit:
                self._forget()
            # The codes of a categorical go on from call to call and lead to the verdicts.
            coded = distinct.cast(self._type)
            known = len(self._verdicts)
            codes = coded.to_physical()
            fresh = coded.filter(codes >= known).unique()
            if len(fresh) or not known:
                table = pl.DataFrame({"value": fresh.cast(pl.String), "code": fresh.to_physical()}).sort("code")
                judged = self._judge(table["value"])
                self._verdicts = pl.concat([self._verdicts, judged], rechunk=True) if known else judged
            return codes.gather(rows), self._verdicts

    def _forget(self) -> None:
        self._type = pl.Categorical(pl.Categories.random())
        self._held = pl.Series([], dtype=self._type)  # codes live as long as a column that has them
        self._verdicts = pl.Series([], dtype=pl.Null)
