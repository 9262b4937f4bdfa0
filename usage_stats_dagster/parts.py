"""Rows of several site-days, periods or logs in one frame: numbered, and cut into their parts again.

What belongs here: which rows are whose. What does not: which go together (`pipeline/stage.py`, `pipeline/imports.py`),
what is computed of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

import polars as pl


def number_of_each(heights: Sequence[int], name: str) -> pl.Series:
    """Int32: 0 for the first `heights[0]` rows, 1 for the next …"""
    numbers: pl.Series = pl.int_range(len(heights), dtype=pl.Int32, eager=True)
    return numbers.repeat_by(pl.Series(heights, dtype=pl.UInt32)).explode(empty_as_null=False).alias(name)


def numbered(rows: pl.DataFrame, key: str, heights: Sequence[int]) -> pl.DataFrame:
    """The rows with `key`, `number_of_each`, in front."""
    return rows.insert_column(0, number_of_each(heights, key))


def by_height(rows: pl.DataFrame, heights: Sequence[int]) -> list[pl.DataFrame]:
    """The first `heights[0]` rows, the next …"""
    return [rows[a:b] for a, b in pairwise(accumulate(heights, initial=0))]


def by_number(rows: pl.DataFrame, numbers: pl.Series, n: int) -> list[pl.DataFrame]:
    """The rows of each number below `n`; `numbers` has one for each row, and is sorted."""
    each: pl.Series = pl.int_range(n + 1, dtype=pl.Int32, eager=True)
    cuts = numbers.search_sorted(each, "left").to_list()
    return [rows[a:b] for a, b in pairwise(cuts)]


def parts(rows: pl.DataFrame, key: str, n: int) -> list[pl.DataFrame]:
    """The rows of each number below `n`, without it; they are sorted by it."""
    return by_number(rows.drop(key), rows[key], n)
