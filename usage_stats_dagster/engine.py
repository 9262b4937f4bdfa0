"""What differs from engine to engine: everything that narwhals lacks, or can't know.

What belongs here: the few functions that transforms (`tracker/`, `metrics/`, `documents/`) need and that narwhals' lazy
API does not have on every engine. What does not: rules. Transforms are written once against narwhals and run on Polars
by default; tests run them on DuckDB too, and Spark is how a user outgrows one machine. A function for a further engine
is one more branch here.

Order: a `by` column names the partition and `ORDER` the order within. Polars gets rows sorted once (`ordered`), after
which a look at the row before is free; other engines have no order of rows, and use windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias, cast

import narwhals as nw
import numpy as np
import polars as pl
import polars.selectors as cs
import pyarrow as pa

from usage_stats_dagster.arrow import column

Frame: TypeAlias = "nw.LazyFrame[Any]"


class UnknownEngineError(Exception):
    """The frame belongs to an engine that has no branch here; the message names it."""


def wrap(native: Any) -> Frame:  # noqa: ANN401  (whatever narwhals accepts)
    """A native lazy frame (Polars LazyFrame, DuckDB relation …) as narwhals' lazy frame."""
    return cast("Frame", nw.from_native(native).lazy())


def collect(frame: Frame, *, streaming: bool = False) -> pl.DataFrame:
    """The frame's rows as Polars, times labelled UTC.

    On Polars the streaming engine runs it; for rows that are in memory already, the other takes half the time where
    rows are sorted, and a third where they are few.
    """
    if _is_polars(frame):
        return cast("pl.DataFrame", frame.to_native().collect(engine="streaming" if streaming else "in-memory"))
    table = cast("pl.DataFrame", frame.collect("polars").to_native())
    # Others label times with their session's zone, or another name of UTC: the moments are the same.
    return table.with_columns(cs.datetime(time_zone="*").dt.convert_time_zone("UTC"))


def ordered(frame: Frame, by: str, order: Sequence[str]) -> Frame:
    """The frame as `previous`, `running_sum` and `carried` want it: sorted by (by, order) where rows have an order."""
    return frame.sort(by, *order) if _is_polars(frame) else frame


def previous(frame: Frame, by: str, order: Sequence[str], **columns: str) -> Frame:
    """Adds, under each new name, the column's value on the row before of the same `by`; null on its first row."""
    if _is_polars(frame):
        same = pl.col(by) == pl.col(by).shift(1)
        return _polars(frame, {n: pl.when(same).then(pl.col(c).shift(1)) for n, c in columns.items()})
    return frame.with_columns(**{n: nw.col(c).shift(1).over(by, order_by=order) for n, c in columns.items()})


def running_sum(frame: Frame, by: str, order: Sequence[str], **columns: str) -> Frame:
    """Adds, under each new name, the Int64 sum of the column up to and with the row, within `by`.

    The column holds no nulls and nothing negative.
    """
    if _is_polars(frame):
        # What had been summed before a group's first row is carried through the group.
        first = (pl.col(by) != pl.col(by).shift(1)).fill_null(value=True)
        whole = {n: pl.col(c).cum_sum() for n, c in columns.items()}
        since = {n: pl.col(n) - pl.when(first).then(pl.col(n) - pl.col(c)).forward_fill() for n, c in columns.items()}
        return _polars(_polars(frame, whole), since)
    sums = {n: nw.col(c).cum_sum().over(by, order_by=order).cast(nw.Int64) for n, c in columns.items()}
    return frame.with_columns(**sums)


def carried(frame: Frame, by: str, order: Sequence[str], **columns: str) -> Frame:
    """Adds, under each new name, the column's last value that is not null, up to and with the row, within `by`.

    The column is not null on the first row of a `by`.
    """
    if _is_polars(frame):
        return _polars(frame, {n: pl.col(c).forward_fill() for n, c in columns.items()})
    filled = {n: nw.col(c).fill_null(strategy="forward").over(by, order_by=order) for n, c in columns.items()}
    return frame.with_columns(**filled)


def hexadecimal(frame: Frame, **columns: str) -> Frame:
    """Adds, under each new name, the non-negative Int64 column as 16 hexadecimal digits, lower case."""
    native = frame.to_native()
    if _is_polars(frame):
        return _polars(
            frame, {n: pl.col(c).map_batches(_hex, pl.String, is_elementwise=True) for n, c in columns.items()}
        )
    if frame.implementation.is_duckdb():
        made = ", ".join(f'printf(\'%016x\', "{c}") AS "{n}"' for n, c in columns.items())
        return wrap(native.project(f"*, {made}"))
    msg = f"hexadecimal() is not written for {frame.implementation}; engines: polars, duckdb"
    raise UnknownEngineError(msg)


def _is_polars(frame: Frame) -> bool:
    return frame.implementation.is_polars()


def _polars(frame: Frame, columns: dict[str, pl.Expr]) -> Frame:
    return wrap(frame.to_native().with_columns(**columns))


def _hex(numbers: pl.Series) -> pl.Series:
    """All digits in one go over the column's bytes: Polars has no expression for it."""
    n = len(numbers)
    digits = numbers.to_numpy().astype(">i8").tobytes().hex().encode()
    offsets = np.arange(0, 16 * n + 1, 16, dtype=np.int64)
    text = pa.LargeStringArray.from_buffers(n, pa.py_buffer(offsets), pa.py_buffer(digits))
    return column(text)
