"""Writing one parquet file so that a reader sees the old one or the new one, never a part.

What belongs here: rows → one staged file, and when it takes the old one's place. What does not: where files lie
(`store.py`), how a place puts one there (`local.py`, `s3.py`), how a file's bytes come about (`sink.py`).
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import polars as pl

from usage_stats_dagster.lake.sink import ROW_GROUP, ParquetSink, as_os_error, write_small
from usage_stats_dagster.lake.storage import TEMPORARY_SUFFIX, Location, Storage
from usage_stats_dagster.schemas import Table


class TableWriter:
    """Appends frames of one table to a file that comes into being on `commit`.

    A table of more than a row group is written by a thread of its own while further rows are made; a smaller one at the
    end, in one go. The bytes are the same. `end()` says that no rows follow, without waiting; `close()` finishes the
    temporary file and tells its hash; `commit()` puts it in place of the old one; `discard()` (also on an exception
    inside `with`) leaves the old one.
    """

    def __init__(self, table: Table, file: Location, storage: Storage) -> None:
        self.table = table
        self.file = file
        self._storage = storage
        self.rows = 0
        self.bytes = 0
        self.content_hash = ""
        self._temporary: Path | None = None
        self._sink: ParquetSink | None = None
        self._spills: list[Path] = []
        self._spilled_rows = 0
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
        if self._spilled_rows + self.pending_rows >= ROW_GROUP:
            self._hand_over()

    def flush(self) -> None:
        """Frees the memory of rows that wait for a row group to be full: they wait on disk."""
        if self._pending:
            spill = self._staged().with_suffix(f".{len(self._spills)}{TEMPORARY_SUFFIX}")
            self._spills.append(spill)
            try:
                pl.concat(self._pending).write_ipc(spill, compression="lz4")
            except pl.exceptions.ComputeError as e:
                raise as_os_error(e, spill) from e
            self._spilled_rows += self.pending_rows
            self._pending, self.pending_rows = [], 0

    def end(self) -> None:
        """No rows follow: what is written in the background can come to its end while something else is done."""
        if self._sink is not None:
            self._hand_over()
            self._sink.end()

    def close(self) -> None:
        """Finishes the temporary file: all bytes on disk, hash known."""
        if self.content_hash:
            return
        if self._sink is None:
            frame = pl.concat(waiting) if (waiting := self._waiting()) else self.table.empty()
            self.bytes, self.content_hash = write_small(self._staged(), frame, durable=self._storage.durable)
        else:
            self.end()
            self.bytes, self.content_hash = self._sink.wait()

    def commit(self) -> None:
        """Puts the new file in place of the old one."""
        self.close()
        self._storage.put_file(self.file, self._staged(), self.content_hash)

    def discard(self) -> None:
        """Removes what was written; the old file stays."""
        if self._sink is not None:
            self._sink.abort()
        for p in (self._temporary, *self._spills):
            if p is not None:
                p.unlink(missing_ok=True)

    def _hand_over(self) -> None:
        waiting = self._waiting()
        if not waiting:
            return
        if self._sink is None:
            self._sink = ParquetSink(self._staged(), waiting[0].schema, durable=self._storage.durable)
        self._sink.put(pl.concat(waiting))

    def _staged(self) -> Path:
        if self._temporary is None:
            self._temporary = self._storage.staged(self.file)
        return self._temporary

    def _waiting(self) -> list[pl.DataFrame]:
        """The rows that wait on disk and in memory, in order; they wait no longer."""
        waiting = [pl.read_ipc(s) for s in self._spills] + self._pending
        for s in self._spills:
            s.unlink()
        self._spills, self._spilled_rows, self._pending, self.pending_rows = [], 0, [], 0
        return waiting
