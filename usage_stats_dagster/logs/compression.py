"""Opening a log whatever it is packed in: sniffed from content, never from the name.

What belongs here: plain, gzip, bzip2, zstd and xz as one stream of bytes, and what is wrong with a damaged one. What
does not: lines (`blocks.py`).
"""

from __future__ import annotations

import bz2
import lzma
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol, Self, cast

import zstandard
from isal import isal_zlib

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"


class DamagedLog(Exception):  # noqa: N818 (a state of the log, raised when its good bytes are out)
    """The compressed stream ends too early, breaks off or has something else behind it; `reason` says which."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


def _zstd_start(head: bytes) -> bool:
    skippable = len(head) >= 4 and head[1:4] == b"\x2a\x4d\x18" and 0x50 <= head[0] <= 0x5F
    return head.startswith(_ZSTD) or skippable


class _Packing:
    """One way of packing. `feed` bytes go in at a time: what one step unpacks stays small even for a hostile file."""

    def __init__(self, name: str, starts: Callable[[bytes], bool], new: Callable[[], _Decompressor], feed: int) -> None:
        self.name, self.starts, self.new, self.feed = name, starts, new, feed


_PACKINGS = (
    _Packing("gzip", lambda b: b.startswith(_GZIP), lambda: isal_zlib.decompressobj(31), 64 << 10),
    _Packing("bzip2", lambda b: b.startswith(b"BZh"), bz2.BZ2Decompressor, 4 << 10),
    _Packing("zstd", _zstd_start, lambda: zstandard.ZstdDecompressor().decompressobj(), 4 << 10),
    _Packing("xz", lambda b: b.startswith(b"\xfd7zXZ\x00"), lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ), 4 << 10),
)
_HEAD = 6
_BROKEN: tuple[type[Exception], ...] = (
    OSError,
    EOFError,
    ValueError,
    lzma.LZMAError,
    zstandard.ZstdError,
    cast("type[Exception]", isal_zlib.error),
)


class OpenLog:
    """A log's decompressed bytes. `compression` is plain, gzip, bzip2, zstd or xz.

    Members that follow one another (rotation by `cat`, parallel compressors) are read on as one stream.
    """

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO = path.open("rb", buffering=0)
        self._pending: deque[memoryview] = deque()
        self._have = 0
        self._damage: str | None = None
        head = self._file.read(_HEAD) or b""
        self._file.seek(0)
        self._packing = next((p for p in _PACKINGS if p.starts(head)), None)
        self._member = self._packing.new() if self._packing else None
        self._input = b""
        self._ended = False

    @property
    def compression(self) -> str:
        """How the log is packed."""
        return self._packing.name if self._packing else "plain"

    def read(self, n: int) -> bytes:
        """The next n bytes, as `readinto` gives them."""
        room = bytearray(n)
        return bytes(memoryview(room)[: self.readinto(memoryview(room))])

    def readinto(self, into: memoryview) -> int:
        """Puts the next bytes there, as many as there is room for; fewer only at the end, none after it.

        Raises DamagedLog once every byte before the damage was handed out.
        """
        if self._packing is None:
            return self._file.readinto(into) or 0  # type: ignore[attr-defined]
        while self._have < len(into) and not self._ended:
            self._more()
        if not self._have and self._damage:
            raise DamagedLog(self._damage)
        done = 0
        while self._pending and done < len(into):
            piece = self._pending.popleft()
            taken = piece[: len(into) - done]
            into[done : done + len(taken)] = taken
            done += len(taken)
            if len(taken) < len(piece):
                self._pending.appendleft(piece[len(taken) :])
        self._have -= done
        return done

    def _more(self) -> None:
        assert self._packing is not None
        assert self._member is not None
        data = self._input or self._file.read(self._packing.feed)
        self._input = b""
        if not data:
            self._end("truncated" if not self._member.eof else None)
            return
        if self._member.eof:
            self._next_member(data)
            return
        try:
            unpacked = self._member.decompress(data)
        except _BROKEN as e:
            self._end(f"corrupt {self._packing.name}: {e}")
            return
        self._pending.append(memoryview(unpacked))
        self._have += len(unpacked)
        if self._member.eof:
            self._input = self._member.unused_data

    def _next_member(self, data: bytes) -> None:
        """What follows a whole member: another one, zero padding, or something that does not belong there."""
        assert self._packing is not None
        data = data.lstrip(b"\0")
        if not data:
            return
        if len(data) < _HEAD:
            data += self._file.read(self._packing.feed) or b""
        if not self._packing.starts(data):
            self._end(f"junk after the {self._packing.name} stream")
            return
        self._member = self._packing.new()
        self._input = data

    def _end(self, damage: str | None) -> None:
        self._damage, self._ended = damage, True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def open_log(path: Path | str) -> OpenLog:
    """The log, to be used as a context manager; OSError when it can't be opened (absent, a directory, no right)."""
    return OpenLog(Path(path))
