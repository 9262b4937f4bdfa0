"""The lines of a block as text and as places in its bytes, so that formats can cut them without copying.

What belongs here: where lines and quotes are, and text columns that point into the block (Arrow's string views). What
does not: blocks of a file (`blocks.py`), what a line says (`formats/`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from usage_stats_dagster.arrow import column
from usage_stats_dagster.native import scan

LONGEST_LINE = 1 << 20
"""Bytes. Web servers cut request lines at 8 KiB; what is longer than this is no log line."""

PADDING = bytes(64)
"""What must stand behind the text, so that as many bytes can be read from any place in it."""

Places = npt.NDArray[np.int64]
_PIECE = 1 << 18
_QUOTE, _LF, _CR = b'"\n\r'
_INLINE = 12
_LAST_ASCII = 0x7F
# Of the three words of 4 bytes that a short string takes, what stays for each of its lengths.
_KEPT = np.array(
    [[(1 << 8 * min(max(n - 4 * w, 0), 4)) - 1 for w in range(3)] for n in range(_INLINE + 1)], dtype=np.uint32
)


def words(codes: scan.Bytes, size: int) -> npt.NDArray[np.unsignedinteger]:
    """The little-endian words of 2, 4 or 8 bytes that begin at every byte."""
    return np.ndarray(len(codes) - size + 1, f"<u{size}", codes.data, strides=(1,))


@dataclass(frozen=True)
class Lines:
    """`codes` are the bytes, UTF-8 with PADDING behind it; line i is those from starts[i] to ends[i], without its line end."""

    codes: scan.Bytes
    starts: Places
    ends: Places

    def __len__(self) -> int:
        return len(self.starts)

    @classmethod
    def of_bytes(
        cls, data: bytes | scan.Bytes, end: int | None = None, counted: tuple[int, bool] | None = None
    ) -> Lines:
        """The lines of data up to `end`, LF or CRLF taken off; bytes that are no UTF-8 are written \\xNN, in their lines only.

        `counted`: how many lines they are at most and whether they are known to be ASCII, as `count_lines` told already.
        """
        codes = np.frombuffer(data, np.uint8) if isinstance(data, bytes) else data
        end = len(codes) if end is None else end
        count, is_ascii = counted or count_lines(codes[:end])
        if not is_ascii:
            try:
                str(codes[:end].data, "utf-8")
            except UnicodeDecodeError:
                codes = np.frombuffer(codes[:end].tobytes().decode("utf-8", "backslashreplace").encode(), np.uint8)
                end = len(codes)
        if len(codes) - end < len(PADDING):
            codes = np.concatenate((codes[:end], np.frombuffer(PADDING, np.uint8)))
        compiled = scan.library()
        return cls(codes, *(scan.lines(compiled, codes, end, count + 1) if compiled else _bounds(codes[:end])))

    @classmethod
    def of(cls, lines: list[str]) -> Lines:
        """These lines, of which none holds a line end."""
        return cls.of_bytes("".join(f"{line}\n" for line in lines).encode())

    @cached_property
    def words8(self) -> npt.NDArray[np.unsignedinteger]:
        """The 8 bytes that begin at every byte."""
        return words(self.codes, 8)

    @cached_property
    def quotes(self) -> tuple[Places, Places, Places]:
        """The places of all `"`; for each line which of them is its first, and how many it has."""
        places = _found(self.codes[: self.ends[-1] if len(self) else 0], _QUOTE)
        first = np.searchsorted(places, self.starts)
        return places, first, np.searchsorted(places, self.ends) - first

    @cached_property
    def whole(self) -> pl.Series:
        """One string a line."""
        return self.strings("text", self.starts, self.ends)

    @cached_property
    def text(self) -> pl.Series:
        """One string a line; null for one longer than LONGEST_LINE."""
        return self.whole.set(pl.Series(self.too_long), None) if self.too_long.any() else self.whole

    @cached_property
    def too_long(self) -> npt.NDArray[np.bool_]:
        """Lines longer than LONGEST_LINE."""
        return (self.ends - self.starts) > LONGEST_LINE

    def strings(self, name: str, starts: Places, ends: Places) -> pl.Series:
        """The text between these places, as views: it is not copied. They must not cut a character in two."""
        compiled = scan.library()
        views = scan.views(compiled, self.codes, starts, ends) if compiled else self._views(starts, ends)
        return self.viewed(name, views)

    def viewed(self, name: str, views: scan.Views) -> pl.Series:
        """The column of these views into the bytes."""
        buffers = [None, pa.py_buffer(views), pa.py_buffer(self.codes)]
        return column(pa.Array.from_buffers(pa.string_view(), len(views), buffers)).alias(name)

    def _views(self, starts: Places, ends: Places) -> scan.Views:
        lengths = (ends - starts).astype(np.uint32)
        four = words(self.codes, 4)
        views = np.zeros((len(starts), 4), np.uint32)
        views[:, 0] = lengths
        views[:, 1] = four[starts]
        views[:, 3] = starts
        short = np.flatnonzero(lengths <= _INLINE)
        if len(short):
            at, kept = starts[short], _KEPT[lengths[short]]
            for w in range(3):
                views[short, w + 1] = four[at + 4 * w] & kept[:, w]
        return views

    def holding(self, byte: bytes) -> npt.NDArray[np.bool_]:
        """Which lines hold the byte, one that hardly any line is thought to hold."""
        held = np.zeros(len(self) + 1, np.bool_)
        held[np.searchsorted(self.starts, _found(self.codes, byte[0]), side="right") - 1] = True
        return held[: len(self)]

    def hold(self, text: bytes) -> bool:
        """Whether the text stands anywhere."""
        return text in self.codes.tobytes()


def count_lines(codes: scan.Bytes) -> tuple[int, bool]:
    """Line ends in the bytes, and whether all are ASCII."""
    compiled = scan.library()
    if compiled:
        return scan.count_lines(compiled, codes)
    pieces = [codes[i : i + _PIECE] for i in range(0, len(codes), _PIECE)]
    return sum(int(np.count_nonzero(p == _LF)) for p in pieces), not any((p > _LAST_ASCII).any() for p in pieces)


def _bounds(codes: scan.Bytes) -> tuple[Places, Places]:
    """Where the lines begin and end; a last one without its line end keeps a CR."""
    ends = _found(codes, _LF)
    unended = len(codes) > 0 and codes[-1] != _LF
    if unended:
        ends = np.append(ends, len(codes))
    starts = np.concatenate((np.zeros(min(len(ends), 1), np.int64), ends[:-1] + 1))
    ended_by_cr = (codes[ends - 1] == _CR) & (ends > starts) if len(ends) else np.zeros(0, np.bool_)
    if unended:
        ended_by_cr[-1] = False
    return starts, ends - ended_by_cr


def _found(codes: scan.Bytes, byte: int) -> Places:
    """Places of the byte, looked for a piece at a time, which stays in the processor's cache."""
    found = [np.zeros(0, np.int64)]
    found += [np.flatnonzero(codes[i : i + _PIECE] == byte) + i for i in range(0, len(codes), _PIECE)]
    return np.concatenate(found)
