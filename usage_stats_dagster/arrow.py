"""Arrow's arrays as Polars' columns.

What belongs here: handing an array over. What does not: making one (`logs/lines.py`, `engine.py`).
"""

from __future__ import annotations

import polars as pl
import pyarrow as pa


def column(array: pa.Array) -> pl.Series:
    """The array as a column, by Arrow's C interface: nothing is copied. `pl.from_arrow` imports pyarrow.compute, 30 ms."""
    return pl.Series(_Exported(array))


class _Exported:
    """Only what Polars asks for: of a pyarrow.Array it would ask more."""

    def __init__(self, array: pa.Array) -> None:
        self._array = array

    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[object, object]:
        return self._array.__arrow_c_array__(requested_schema)  # type: ignore[no-any-return]
