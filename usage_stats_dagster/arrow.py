"""Arrow's arrays and tables as Polars' columns and frames, by Arrow's C interface: nothing is copied.

What belongs here: handing one over. What does not: making one (`logs/lines.py`, `engine.py`, `matomo/database.py`).

`pl.from_arrow` would import pyarrow.compute: 30 ms.
"""

from __future__ import annotations

import polars as pl
import pyarrow as pa


def column(array: pa.Array) -> pl.Series:
    """The array as a column."""
    return pl.Series(_Array(array))


def frame(table: pa.Table) -> pl.DataFrame:
    """The table as a frame, also where it has no rows."""
    return pl.DataFrame(_Table(table))


class _Array:
    """Only what Polars asks for: of a pyarrow.Array it would ask more."""

    def __init__(self, array: pa.Array) -> None:
        self._array = array

    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[object, object]:
        return self._array.__arrow_c_array__(requested_schema)  # type: ignore[no-any-return]


class _Table:
    """As _Array, of a pyarrow.Table."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._table.__arrow_c_stream__(requested_schema)
