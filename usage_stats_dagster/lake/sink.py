"""One parquet file written in a thread of its own, while its rows are still being made.

What belongs here: frames in, bytes on disk with their size and hash out. What does not: which file and when it takes
the old one's place (`writer.py`).

Row groups are cut at a fixed number of rows, whatever frames they came in: the same rows give the same bytes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any, BinaryIO

import polars as pl
import xxhash
from polars.io.plugins import register_io_source

ROW_GROUP = 131_072
PARQUET: dict[str, Any] = {"compression": "zstd", "compression_level": 1, "row_group_size": ROW_GROUP}
"""How every file of the lake is written."""

_OS_ERROR = re.compile(r"\(os error (\d+)\)")


def file_hash(source: Path | BinaryIO) -> str:
    """xxh3_128 of the bytes of a path or an open file, 32 hexadecimal digits."""
    if isinstance(source, Path):
        with source.open("rb") as f:
            return file_hash(f)
    digest = xxhash.xxh3_128()
    at = 0
    while chunk := os.pread(source.fileno(), 1 << 22, at):  # moves nobody's position: an open file may be shared
        digest.update(chunk)
        at += len(chunk)
    return digest.hexdigest()


def write_small(path: Path, frame: pl.DataFrame, *, durable: bool) -> tuple[int, str]:
    """Writes a frame that is whole already, with fsync if durable; returns size and hash. The bytes are those of a ParquetSink."""
    memory = BytesIO()
    frame.write_parquet(memory, **PARQUET)
    data = memory.getbuffer()
    with path.open("wb") as f:
        f.write(data)
        if durable:
            f.flush()
            os.fsync(f.fileno())
    return len(data), xxhash.xxh3_128_hexdigest(data)


class ParquetSink:
    """A file being written. `put` rows, then `end` once, then `wait`; or `abort`. Errors are OSError where the disk's."""

    def __init__(self, path: Path, schema: pl.Schema, *, durable: bool) -> None:
        self._path = path
        self._durable = durable
        self._schema = schema
        # One frame being written and one that waits: who makes frames faster than the disk takes them is held up.
        self._queue: Queue[pl.DataFrame | None] = Queue(maxsize=1)
        self._error: BaseException | None = None
        self._aborted = self._ended = False
        self._done = (0, "")
        path.touch()
        self._thread = Thread(target=self._run, name=f"write {path.name}", daemon=True)
        self._thread.start()

    def put(self, frame: pl.DataFrame) -> None:
        """Hands rows over; raises what went wrong with those before."""
        self._raise()
        self._queue.put(frame)

    def end(self) -> None:
        """Says that no row follows; does not wait."""
        if not self._ended:
            self._ended = True
            self._queue.put(None)

    def wait(self) -> tuple[int, str]:
        """Waits until all bytes are on disk; returns size and hash."""
        self.end()
        self._thread.join()
        self._raise()
        return self._done

    def abort(self) -> None:
        """Stops; what is in the file is of no use."""
        self._aborted = True
        self.end()
        self._thread.join()

    def _run(self) -> None:
        try:
            register_io_source(self._frames, schema=self._schema).sink_parquet(self._path, **PARQUET)
            if not self._aborted:
                if self._durable:
                    with self._path.open("rb+") as f:
                        os.fsync(f.fileno())
                self._done = (self._path.stat().st_size, file_hash(self._path))
        except BaseException as e:
            self._error = e
            while not self._ended or self._queue.qsize():  # so that nobody waits for room in the queue
                self._queue.get()

    def _frames(self, *_: object) -> Iterator[pl.DataFrame]:
        while (frame := self._queue.get()) is not None:
            yield frame

    def _raise(self) -> None:
        if self._error is not None:
            raise as_os_error(self._error, self._path) from self._error


def as_os_error(error: BaseException, path: Path) -> BaseException:
    """Polars tells a full disk as a ComputeError: the OSError that it was, if it was one."""
    found = _OS_ERROR.search(str(error))
    return OSError(int(found[1]), os.strerror(int(found[1])), str(path)) if found else error
