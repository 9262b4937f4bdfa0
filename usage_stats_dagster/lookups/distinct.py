"""Judging a column once per distinct value.

What belongs here: the way from a column to its distinct values and back. What does not: any judgement, remembering it
(`remembered.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt
import polars as pl

from usage_stats_dagster.native import scan

Judge = Callable[[pl.Series], pl.Series]
"""Distinct non-null strings in, as many verdicts in the same order out."""


class Distinct:
    """A String column's distinct values, and the way from their verdicts back to its rows.

    `values` are the distinct values, null last if there is one; `rows` (UInt32) says for each row which of them it has.
    """

    def __init__(self, column: pl.Series) -> None:
        rows, self.values = numbered(column.cast(pl.String))
        if rows.null_count():
            rows = rows.fill_null(len(self.values))
            self.values = self.values.extend_constant(None, 1)
        self.rows = rows

    def spread(self, verdicts: pl.Series) -> pl.Series:
        """The verdict of every row."""
        assert len(verdicts) == len(self.values), "one verdict a distinct value"
        return verdicts.gather(self.rows)


def numbered(column: pl.Series) -> tuple[pl.Series, pl.Series]:
    """A number (UInt32) for the string of every row, equal for equal ones, null for null; and the strings by number."""
    compiled = scan.library()
    if compiled:
        numbers, firsts = scan.codes(compiled, column)
        return numbers, column.gather(firsts)
    # The strings are hashed once: a categorical's codes lead back to the rows, which takes two thirds of a join's time.
    coded = column.cast(pl.Categorical(pl.Categories.random()))
    return coded.to_physical().cast(pl.UInt32), _by_code(coded.unique().drop_nulls(), 0)


def numbered64(values: npt.NDArray[np.uint64]) -> tuple[pl.Series, pl.Series]:
    """A number (UInt32) for the value of every row, equal for equal ones; and by number a row that has it."""
    compiled = scan.library()
    if compiled:
        return scan.codes64(compiled, values)
    _, first, numbers = np.unique(values, return_index=True, return_inverse=True)
    return pl.Series(numbers.astype(np.uint32)), pl.Series(first.astype(np.uint32))


def _by_code(distinct: pl.Series, first: int) -> pl.Series:
    """The strings of a categorical's distinct values in the order of their codes, which go on from `first` without a gap."""
    table = pl.DataFrame({"value": distinct.cast(pl.String), "code": distinct.to_physical()}).sort("code")
    assert table.is_empty() or table["code"][-1] == first + table.height - 1, "a categorical numbers its values"
    return table["value"]


def values_of(coded: pl.Series) -> pl.Series:
    """The strings of a categorical whose Categories are its own, in the order of their codes, which begin at 0."""
    count = pl.DataFrame({"code": coded.to_physical().cast(pl.Int64)}).select(pl.col("code").max().fill_null(-1) + 1)
    codes = np.arange(count.item(), dtype=np.uint32)
    values: pl.Series = pl.Series(coded.name, codes).cat.to(coded.dtype)
    return values.cast(pl.String)


def per_distinct(values: pl.Series, judge: Judge) -> pl.Series:
    """The verdict of every row of a String column; null stays null. `judge` sees each distinct value once."""
    found = Distinct(values)
    known = len(found.values) - found.values.null_count()
    verdicts = judge(found.values.head(known))
    assert len(verdicts) == known, "one verdict a distinct value"
    if known < len(found.values):
        verdicts = verdicts.extend_constant(None, 1)
    return found.spread(verdicts).alias(values.name)


def each(read: Callable[[str], str | None]) -> Judge:
    """A judge that reads one string at a time, for what no expression can do."""
    return listed(lambda values: map(read, values))


def listed(read: Callable[[list[str]], Iterable[str | None]]) -> Judge:
    """A judge that reads a list of strings."""
    return lambda values: pl.Series(values.name, list(read(values.to_list())), dtype=pl.String)
