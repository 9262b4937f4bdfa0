"""Judging each distinct value once over several columns: a bounded memory between buckets of the same site-day.

What belongs here: the memory. What does not: any judgement.
"""

from __future__ import annotations

import threading

import numpy as np
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
        self._held: pl.Series | None  # codes live as long as a column that has them
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
            known = len(self._verdicts)
            if not known:  # most logs are one block: their values are asked about once
                self._first, self._verdicts = distinct, self._judge(distinct)
                return rows, self._verdicts
            codes = self._codes(distinct)
            fresh = codes.to_numpy() >= known
            if fresh.any():
                assert bool((np.diff(codes.to_numpy()[fresh]) == 1).all()), (
                    "a categorical numbers its values as they come"
                )
                judged = self._judge(distinct.filter(pl.Series(fresh)))
                self._verdicts = pl.concat([self._verdicts, judged], rechunk=True)
            return codes.gather(rows), self._verdicts

    def _codes(self, distinct: pl.Series) -> pl.Series:
        """The codes of a categorical go on from call to call and lead to the verdicts."""
        if self._held is None:
            self._held = self._first.cast(pl.Categorical(pl.Categories.random()))
        return distinct.cast(self._held.dtype).to_physical()

    def _forget(self) -> None:
        self._first = pl.Series([], dtype=pl.String)
        self._held = None
        self._verdicts = pl.Series([], dtype=pl.Null)
