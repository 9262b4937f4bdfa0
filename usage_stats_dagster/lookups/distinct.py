"""Judging a column once per distinct value, and remembering what was judged.

What belongs here: the way from a column to its distinct values and back, and the bounded memory between blocks. What
does not: any judgement.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import polars as pl

Judge = Callable[[pl.Series], pl.Series]
"""Distinct non-null strings in, as many verdicts in the same order out."""


def per_distinct(values: pl.Series, judge: Judge) -> pl.Series:
    """The verdict of every row of a String column; null stays null. `judge` sees each distinct value once.

    The strings are hashed once: a categorical's codes lead back to the rows, which takes two thirds of a join's time.
    """
    rows = values.cast(pl.String).cast(pl.Categorical(pl.Categories.random()))
    table = pl.DataFrame({"value": rows.unique().drop_nulls()})
    table = table.select(pl.col("value").cast(pl.String), code=pl.col("value").to_physical()).sort("code")
    assert table.is_empty() or table["code"][-1] == table.height - 1, "a fresh categorical numbers its values from 0"
    verdicts = judge(table["value"])
    assert len(verdicts) == table.height, "one verdict a distinct value"
    return verdicts.gather(rows.to_physical()).alias(values.name)


def each(read: Callable[[str], str | None]) -> Judge:
    """A judge that reads one string at a time, for what no expression can do."""
    return lambda values: pl.Series(values.name, [read(v) for v in values.to_list()], dtype=pl.String)


class Memo:
    """A judge that remembers strings' verdicts across calls, `limit` of them: then it forgets all and begins anew."""

    def __init__(self, judge: Callable[[list[str]], Iterable[str | None]], limit: int = 1_000_000) -> None:
        self._judge = judge
        self._limit = limit
        self._known: dict[str, str | None] = {}

    def __call__(self, values: pl.Series) -> pl.Series:
        """Verdicts of distinct strings, as a String column."""
        wanted = values.to_list()
        known = self._known
        new = [v for v in wanted if v not in known]
        if len(known) + len(new) > self._limit:
            known = self._known = {}
            new = wanted
        known.update(zip(new, self._judge(new), strict=True))
        return pl.Series(values.name, [known[v] for v in wanted], dtype=pl.String)

    def __len__(self) -> int:
        return len(self._known)
