"""Writing one parquet file so that a reader sees the old one or the new one, never a part.

What belongs here: rows → one file beside the final one, fsync, rename. What does not: where files lie (`store.py`).
The same rows give the same bytes however they were handed over: row groups are cut at a fixed size.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from usage_stats_dagster.schemas import Table

ROW_GROUP = 262_144
TEMPORARY_SUFFIX = ".tmp"
"""Must not end in .parquet: Polars' directory scans would read a file that is still being written."""


def file_hash(path: Path) -> str:
    """xxh3_128 of the file's bytes, 32 hexadecimal digits."""
    digest = xxhash.xxh3_128()
    with path.open("rb") as f:
        while chunk := f.read(1 << 22):
            digest.update(chunk)
    return digest.hexdigest()


def fsync_folder(folder: Path) -> None:
    """Makes renames in the folder last through a power cut."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_atomically(path: Path, data: bytes) -> None:
    """Replaces a small file as a whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")
    try:
        with temporary.open("wb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_folder(path.parent)


class TableWriter:
    """Appends frames of one table to a file that comes into being on `commit`.

    `close()` finishes the temporary file and tells its hash; `commit()` puts it in place of the old one;
    `discard()` (also on an exception inside `with`) leaves the old one.
    """

    def __init__(self, table: Table, path: Path) -> None:
        self.table = table
        self.path = path
        self.rows = 0
        self.bytes = 0
        self.content_hash = ""
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")
        self._file: IO[bytes] | None = None
        self._writer: pq.ParquetWriter | None = None
        self._pending: list[pl.DataFrame] = []
        self.pending_rows = 0

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.discard()

    def append(self, frame: pl.DataFrame) -> None:
        """Adds rows; raises SchemaMismatchError when they are not the table's."""
        frame = self.table.conform(frame)
        self.rows += frame.height
        self._pending.append(frame)
        self.pending_rows += frame.height
        if self.pending_rows >= ROW_GROUP:
            self._flush(last=False)

    def flush(self) -> None:
        """Writes all rows that wait in memory, as a row group of their own if need be."""
        self._flush(last=True)

    def close(self) -> None:
        """Finishes the temporary file: all bytes on disk, hash known."""
        if self.content_hash:
            return
        self._flush(last=True)
        if self._writer is None:
            self._write(self.table.empty())
        assert self._writer is not None
        assert self._file is not None
        self._writer.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self.bytes = self._temporary.stat().st_size
        self.content_hash = file_hash(self._temporary)

    def commit(self) -> None:
        """Puts the new file in place of the old one."""
        self.close()
        self._temporary.replace(self.path)
        fsync_folder(self.path.parent)

    def discard(self) -> None:
        """Removes what was written; the old file stays."""
        if self._writer is not None and self._file is not None and not self._file.closed:
            with suppress(OSError):  # a full disk: its footer can't be written, and need not be
                self._writer.close()
            self._file.close()
        self._temporary.unlink(missing_ok=True)

    def _flush(self, *, last: bool) -> None:
        if not self._pending:
            return
        frame = pl.concat(self._pending) if len(self._pending) > 1 else self._pending[0]
        done = 0
        while frame.height - done >= ROW_GROUP or (last and frame.height > done):
            part = frame.slice(done, ROW_GROUP)
            self._write(part)
            done += part.height
        rest = frame.slice(done)
        self._pending = [rest] if rest.height else []
        self.pending_rows = rest.height

    def _write(self, frame: pl.DataFrame) -> None:
        arrow: pa.Table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
        if self._writer is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._temporary.open("wb")
            self._writer = pq.ParquetWriter(
                self._file, arrow.schema, compression="zstd", compression_level=1, write_statistics=True
            )
        self._writer.write_table(arrow, row_group_size=ROW_GROUP)
