"""The compiled loops of `scan.c`, as functions of numpy arrays and Polars columns.

What belongs here: finding the library, and handing arrays over. What does not: what stands in for it (`logs/lines.py`,
`logs/formats/cut.py`, `lookups/distinct.py`), which every caller has, as `library` is None where nothing was compiled.
"""

from __future__ import annotations

import ctypes
import secrets
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

VERSION = 3
"""SCAN_VERSION of scan.c: a library that was compiled from another source is left alone."""

Places = npt.NDArray[np.int64]
Codes = npt.NDArray[np.uint32]
Bytes = npt.NDArray[np.uint8]
Views = npt.NDArray[np.uint32]
"""A row of four words for each string: Arrow's views."""

_SEED = ctypes.c_uint64(secrets.randbits(64))
_RETURN_COUNT = ("scan_count_lines", "scan_lines", "scan_apache", "scan_codes", "scan_codes64")


@cache
def library() -> ctypes.CDLL | None:
    """The compiled functions; None where they were not compiled, or from another version's source."""
    for suffix in EXTENSION_SUFFIXES:
        path = Path(__file__).with_name(f"_scan{suffix}")
        if path.is_file():
            try:
                found = ctypes.CDLL(str(path))
                if found.scan_version() == VERSION:
                    for name in _RETURN_COUNT:
                        getattr(found, name).restype = ctypes.c_int64
                    return found
            except (OSError, AttributeError):
                continue
    return None


def count_lines(scan: ctypes.CDLL, codes: Bytes) -> tuple[int, bool]:
    """Line ends in the bytes, and whether all are ASCII."""
    high = np.zeros(1, np.int32)
    return int(scan.scan_count_lines(_at(codes), ctypes.c_int64(len(codes)), _at(high))), not high[0]


def lines(scan: ctypes.CDLL, codes: Bytes, end: int, most: int) -> tuple[Places, Places]:
    """Where the lines of the bytes up to `end`, at most so many, begin and end, LF or CRLF taken off."""
    starts, ends = np.empty(most, np.int64), np.empty(most, np.int64)
    count = scan.scan_lines(_at(codes), ctypes.c_int64(end), _at(starts), _at(ends), ctypes.c_int64(most))
    assert count >= 0, f"more than {most} lines: a defect of the caller"
    return starts[:count], ends[:count]


def views(scan: ctypes.CDLL, codes: Bytes, starts: Places, ends: Places) -> Views:
    """The text between these places."""
    starts, ends = np.ascontiguousarray(starts), np.ascontiguousarray(ends)
    made = np.empty((len(starts), 4), np.uint32)
    scan.scan_views(_at(codes), _at(starts), _at(ends), ctypes.c_int64(len(starts)), _at(made))
    return made


def apache(
    scan: ctypes.CDLL, codes: Bytes, starts: Places, ends: Places, *, named: int, dashes: int, quotes: int
) -> tuple[Places, list[Views], npt.NDArray[np.uint8], npt.NDArray[np.int16], Codes, Places]:
    """Of these lines those that are as usual: row, texts (words, path, quoted fields), index of the method, status, and
    which of the times, given last by the place where each begins, is theirs.
    """
    n = len(starts)
    texts = [np.empty((n, 4), np.uint32) for _ in range(named + 1 + (quotes - 2) // 2)]
    columns = (ctypes.c_void_p * len(texts))(*(t.ctypes.data for t in texts))
    rows, times, changes = np.empty(n, np.int64), np.empty(n, np.int64), np.zeros(1, np.int64)
    method, status, seconds = np.empty(n, np.uint8), np.empty(n, np.int16), np.empty(n, np.uint32)
    count = scan.scan_apache(
        _at(codes), _at(starts), _at(ends), ctypes.c_int64(n), named, dashes, quotes,
        _at(rows), columns, _at(method), _at(status), _at(seconds), _at(times), _at(changes),
    )  # fmt: skip
    return (
        rows[:count],
        [t[:count] for t in texts],
        method[:count],
        status[:count],
        seconds[:count],
        times[: changes[0]],
    )


def codes(scan: ctypes.CDLL, column: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Numbers (UInt32, null for null) for a String column's distinct values as they come, and the row (UInt32) of each's first."""
    array: Any = column.rechunk().to_arrow(compat_level=pl.CompatLevel.newest())
    array = array.chunk(0) if isinstance(array, pa.ChunkedArray) else array
    assert pa.types.is_string_view(array.type), "Polars' strings are views"
    valid, held, *data = array.buffers()
    buffers = (ctypes.c_void_p * max(len(data), 1))(*(b.address for b in data))
    nulls = column.null_count()
    numbers, firsts = _numbered(
        scan.scan_codes, len(column), held.address + 16 * array.offset,
        buffers, ctypes.c_void_p(valid.address if nulls else None), ctypes.c_int64(array.offset),
    )  # fmt: skip
    number = pl.Series(column.name, numbers)
    return (number.set(pl.Series(numbers == np.uint32(0xFFFFFFFF)), None) if nulls else number), pl.Series(firsts)


def codes64(scan: ctypes.CDLL, values: npt.NDArray[np.uint64]) -> tuple[pl.Series, pl.Series]:
    """The same for numbers of 64 bits."""
    values = np.ascontiguousarray(values)
    numbers, firsts = _numbered(scan.scan_codes64, len(values), values.ctypes.data)
    return pl.Series(numbers), pl.Series(firsts)


def _numbered(function: Any, count: int, at: int, *more: Any) -> tuple[Codes, Codes]:  # noqa: ANN401
    numbers, firsts = np.empty(count, np.uint32), np.empty(count, np.uint32)
    table = np.zeros(1 << max(2 * count - 1, 1).bit_length(), np.uint32)
    distinct = function(
        ctypes.c_void_p(at), ctypes.c_int64(count), *more,
        _at(numbers), _at(firsts), _at(table), ctypes.c_uint64(len(table) - 1), _SEED,
    )  # fmt: skip
    return numbers, firsts[:distinct]


def _at(array: npt.NDArray[Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
