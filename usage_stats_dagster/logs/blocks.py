"""A log as blocks of whole lines, in bounded memory, with exact line numbers and a hash over exactly what was read.

What belongs here: blocks that end where a line ends, lines too long to hold, a half line at the end.
What does not: where lines lie in a block (`lines.py`), what a line says (`parse.py`), or how the file is packed (`compression.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
import xxhash

from usage_stats_dagster.logs.compression import DamagedLog, OpenLog, open_log
from usage_stats_dagster.logs.lines import LONGEST_LINE, PADDING, Lines, count_lines
from usage_stats_dagster.native import scan

BLOCK_BYTES = 24 << 20
_PIECE = 1 << 20
_HEAD = 400
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class LongLine:
    """A line beyond LONGEST_LINE, of which only the first bytes are kept."""

    line: int
    length: int
    head: str


@dataclass(frozen=True)
class Block:
    """Whole lines, or one line too long to hold.

    `data` goes on behind `end`, where they stop: cutting it there would copy the block once more. `lines` is how many they
    are; `is_ascii` is False where nobody looked.
    """

    first_line: int
    data: scan.Bytes
    end: int
    lines: int
    is_ascii: bool = False
    long_line: LongLine | None = None

    @property
    def whole(self) -> memoryview:
        """The bytes of the whole lines."""
        return self.data[: self.end].data

    @property
    def has_mark(self) -> bool:
        """Whether a byte order mark stands in front."""
        return self.first_line == 1 and self.data[: min(len(_BOM), self.end)].tobytes() == _BOM

    @cached_property
    def cut(self) -> Lines:
        """The lines, a byte order mark in front of them taken off."""
        if self.has_mark:
            return Lines.of_bytes(self.data[len(_BOM) :], self.end - len(_BOM), (self.lines, False))
        return Lines.of_bytes(self.data, self.end, (self.lines, self.is_ascii))

    def text(self) -> pl.Series:
        """The lines as text."""
        return self.cut.whole


class BlockReader:
    """Iterates a log's blocks; afterwards knows what it read.

    `lines`, `bytes` and `content_hash` (xxh3_128, hexadecimal) cover exactly the lines taken. `damaged` names what broke the
    stream; `unterminated` says that a last line had no line end. Such a line is left unread with `whole_lines_only` (the
    log is still being written) and where the stream is damaged (it is the half of a line).
    `prefix_hash` is the hash of the first `prefix_at` bytes; None when the log is shorter than that.
    """

    def __init__(
        self, path: Path | str, *, whole_lines_only: bool, block_bytes: int = BLOCK_BYTES, prefix_at: int | None = None
    ) -> None:
        self.path = Path(path)
        self.lines = 0
        self.bytes = 0
        self.compression = "plain"
        self.damaged: str | None = None
        self.unterminated = False
        self.goes_on = False
        """Whether there may be more than was read so far."""
        self.prefix_hash: str | None = None
        self._whole_lines_only = whole_lines_only
        self._block_bytes = block_bytes
        self._prefix_at = prefix_at
        self._hash = xxhash.xxh3_128()
        if prefix_at == 0:
            self.prefix_hash = self._hash.hexdigest()

    @property
    def content_hash(self) -> str:
        """xxh3_128 over the bytes of the lines taken so far."""
        return self._hash.hexdigest()

    def __iter__(self) -> Iterator[Block]:
        with open_log(self.path) as log:
            self.compression = log.compression
            rest = b""
            while True:
                # One buffer a block, read into behind the rest of the one before: a block is not copied.
                data = np.empty(len(rest) + self._block_bytes + len(PADDING), np.uint8)
                data[: len(rest)] = np.frombuffer(rest, np.uint8)
                read = self._gather(log, data[len(rest) : -len(PADDING)].data)
                self.goes_on = read == self._block_bytes
                end = len(rest) + read
                if read < self._block_bytes:
                    data = data[: end + len(PADDING)].copy()
                data[end:] = 0
                cut = _last_line_end(data[:end])
                rest = data[cut:end].tobytes()
                if cut:
                    yield self._block(data, cut)
                if not read:
                    break  # not before: what a line too long to hold left over may be lines
                if len(rest) > LONGEST_LINE:
                    long_line, rest = self._long(log, rest)
                    if long_line:
                        yield Block(long_line.line, np.empty(0, np.uint8), 0, 0, long_line=long_line)
            if rest:
                yield from self._last(rest)

    def _gather(self, log: OpenLog, into: memoryview) -> int:
        """As many bytes as there is room for; fewer at the end, on damage the good ones, then none."""
        if self.damaged is not None:
            return 0
        try:
            return log.readinto(into)
        except DamagedLog as e:
            self.damaged = e.reason
            return 0

    def _block(self, data: scan.Bytes, end: int) -> Block:
        whole = data[:end].data
        block = Block(self.lines + 1, data, end, *count_lines(data[:end]))
        self._take(whole)
        self.lines += block.lines
        return block

    def _last(self, rest: bytes) -> Iterator[Block]:
        self.unterminated = True
        if not self._whole_lines_only and self.damaged is None:
            self._take(rest)
            self.lines += 1
            yield Block(self.lines, np.frombuffer(rest, np.uint8), len(rest), 1)

    def _long(self, log: OpenLog, head: bytes) -> tuple[LongLine | None, bytes]:
        """Reads over a line too long to hold; what was read behind it is given back. Its bytes count only if it is taken."""
        before = self._hash.copy(), self.bytes, self.prefix_hash
        length, piece, end = len(head), head, -1
        room = bytearray(_PIECE)
        self._take(head)
        while end < 0 and (read := self._gather(log, memoryview(room))):
            piece = bytes(room[:read])
            end = piece.find(b"\n")
            taken = piece[: end + 1] if end >= 0 else piece
            length += len(taken) - (end >= 0)
            self._take(taken)
        if end < 0:
            self.unterminated = True
            if self._whole_lines_only or self.damaged is not None:
                self._hash, self.bytes, self.prefix_hash = before
                return None, b""
        self.lines += 1
        start = head[:_HEAD].decode("utf-8", "backslashreplace")
        return LongLine(self.lines, length, start), piece[end + 1 :] if end >= 0 else b""

    def _take(self, data: bytes | memoryview) -> None:
        at = self._prefix_at
        if at is not None and self.bytes < at <= self.bytes + len(data):
            head = self._hash.copy()
            head.update(data[: at - self.bytes])
            self.prefix_hash = head.hexdigest()
        self._hash.update(data)
        self.bytes += len(data)


def _last_line_end(data: scan.Bytes) -> int:
    """The place behind the last line end; 0 without one."""
    for end in range(len(data), 0, -_PIECE):
        start = max(0, end - _PIECE)
        found = data[start:end].tobytes().rfind(b"\n")
        if found >= 0:
            return start + found + 1
    return 0


def read_blocks(
    path: Path | str, *, whole_lines_only: bool, block_bytes: int = BLOCK_BYTES, prefix_at: int | None = None
) -> BlockReader:
    """The log's blocks, to be iterated once; see BlockReader for what it knows afterwards."""
    return BlockReader(path, whole_lines_only=whole_lines_only, block_bytes=block_bytes, prefix_at=prefix_at)
