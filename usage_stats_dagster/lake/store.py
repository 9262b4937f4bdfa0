"""Where the tables lie and how a site's day of a table is read and replaced.

What belongs here: paths, manifests, scans, removal of stale files. What does not: what the tables hold (`schemas.py`)
or who computes them (`pipeline/`).

    {root}/{table}/idsite=1/year=2025/month=3/day=1/part-0.parquet      one file a site and day
    {root}/{table}/idsite=1/year=2025/month=3/day=1/_manifest.json      what it was made of
    {root}/hits/idsite=1/year=2025/month=3/day=1/{log identity}.parquet
    {root}/imports/idsite=1/{log identity}.json                         what the ledger can be rebuilt from
    {root}/rejects/idsite=1/{log identity}.parquet
"""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from usage_stats_dagster.lake.sink import ROW_GROUP
from usage_stats_dagster.lake.writer import TEMPORARY_SUFFIX, TableWriter, fsync_folder, write_atomically
from usage_stats_dagster.schemas import Table

PART = "part-0.parquet"
MANIFEST = "_manifest.json"
_SPLIT = f".split{TEMPORARY_SUFFIX}"
_FILTERED = 3
_DAY_FOLDER = re.compile(r"year=(\d+)/month=(\d+)/day=(\d+)$")


class LakeError(Exception):
    """The lake can't be used as it is; the message names the path and the way out."""


@dataclass(frozen=True)
class Manifest:
    """What a site's day of a table is and was made of.

    `fingerprint` is a hash over everything that decides the rows: equal fingerprint, nothing to do.
    `content_hash` is over the file's bytes: equal inputs give an equal one.
    """

    table: str
    idsite: int
    day: date
    fingerprint: str
    rows: int = 0
    size: int = 0
    content_hash: str = ""
    inputs: dict[str, str] = field(default_factory=dict)
    counts: dict[str, Any] = field(default_factory=dict)
    rules_version: str = ""
    rules: dict[str, str] = field(default_factory=dict)
    """The parts of the rules version by name, where they decide (metrics)."""

    def to_json(self) -> bytes:
        """The manifest as stored: sorted keys, no time of writing in it."""
        return orjson.dumps(self, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2)

    @classmethod
    def from_json(cls, data: bytes) -> Manifest:
        """The manifest as read; raises LakeError when it isn't one."""
        try:
            raw = orjson.loads(data)
            raw["day"] = date.fromisoformat(raw["day"])
            return cls(**raw)
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as e:
            msg = f"not a manifest: {e}"
            raise LakeError(msg) from e


class Lake:
    """The tables under one root folder."""

    def __init__(self, root: str) -> None:
        if "://" in root and not root.startswith("file://"):
            msg = f"storage.root = {root!r}: this version stores on local folders only; use a path such as 'data/lake'"
            raise LakeError(msg)
        self.root = Path(root.removeprefix("file://"))

    def folder(self, table: Table, idsite: int, day: date) -> Path:
        """The hive folder of a site's day."""
        return (
            self.root / table.name / f"idsite={idsite}" / f"year={day.year}" / f"month={day.month}" / f"day={day.day}"
        )

    def part(self, table: Table, idsite: int, day: date) -> Path:
        """The one file of a site's day (not for hits)."""
        return self.folder(table, idsite, day) / PART

    def hits_file(self, table: Table, idsite: int, day: date, identity: str) -> Path:
        """The hits that one log has on one day."""
        return self.folder(table, idsite, day) / f"{identity}.parquet"

    def manifest(self, table: Table, idsite: int, day: date) -> Manifest | None:
        """The manifest, or None when there is no table or its file is not the one that the manifest describes."""
        folder = self.folder(table, idsite, day)
        try:
            found = Manifest.from_json((folder / MANIFEST).read_bytes())
            return found if (folder / PART).stat().st_size == found.size else None
        except (FileNotFoundError, LakeError):
            return None

    def writer(self, table: Table, idsite: int, day: date) -> TableWriter:
        """A writer of the site's day."""
        return TableWriter(table, self.part(table, idsite, day))

    def commit(self, writer: TableWriter, manifest: Manifest) -> Manifest:
        """Replaces the site's day by what was written, then its manifest; removes leftovers of killed writers.

        A crash between the two leaves a manifest that doesn't fit its file: the day is then made again.
        """
        writer.close()
        done = replace(manifest, rows=writer.rows, size=writer.bytes, content_hash=writer.content_hash)
        writer.commit()
        write_atomically(writer.path.parent / MANIFEST, done.to_json())
        self.sweep(writer.path.parent, keep={PART, MANIFEST})
        return done

    def sweep(self, folder: Path, keep: set[str]) -> list[Path]:
        """Removes every file of the folder that is not to be kept; returns what was removed."""
        removed = [p for p in folder.iterdir() if p.name not in keep and p.is_file()] if folder.is_dir() else []
        for p in removed:
            p.unlink(missing_ok=True)
        return removed

    def remove(self, table: Table, idsite: int, day: date) -> bool:
        """Removes a site's day of a table; True when there was one."""
        folder = self.folder(table, idsite, day)
        if not folder.is_dir():
            return False
        self.sweep(folder, keep=set())
        for p in (folder, folder.parent, folder.parent.parent):
            try:
                p.rmdir()
            except OSError:
                break
        return True

    def scan(self, table: Table, parts: Iterable[tuple[int, date]]) -> pl.LazyFrame:
        """The rows of the given site-days that exist, lazily, in the order given, with the table's schema."""
        files = [p for s, d in parts if (p := self.part(table, s, d)).exists()]
        return self.scan_files(table, files)

    def scan_files(self, table: Table, files: list[Path]) -> pl.LazyFrame:
        """The rows of the files, lazily; an empty table for no file."""
        if not files:
            return table.empty().lazy()
        return pl.scan_parquet(
            files, hive_partitioning=False, missing_columns="insert", extra_columns="ignore", glob=False
        )

    @contextmanager
    def split(self, files: list[Path], table: Table, column: str, edges: Sequence[int]) -> Iterator[list[pl.LazyFrame]]:
        """The rows of the files by ranges of an integer column: edges[k] <= value < edges[k + 1].

        Few ranges are filtered out of all rows, each anew; many would read all rows as many times, so that they are
        first parted into files of their own. Under the writer's lock.
        """
        rows = self.scan_files(table, files)
        value = pl.col(column)
        if len(edges) - 1 <= _FILTERED:
            bounds = pairwise(edges) if len(edges) > 2 else []
            yield [rows.filter(value >= low, value < high) for low, high in bounds] or [rows]
            return
        folder = self.root / _SPLIT
        shutil.rmtree(folder, ignore_errors=True)  # what a killed process left
        folder.mkdir(parents=True)
        try:
            made: list[list[pl.LazyFrame]] = [[table.empty().lazy()] for _ in edges[1:]]
            for n, block in enumerate(self._blocks(files, table)):
                ordered = block.sort(column)
                cuts = [ordered[column].search_sorted(e, "left") for e in edges]
                for k, (start, end) in enumerate(pairwise(cuts)):
                    ordered[start:end].write_ipc(folder / f"{n}-{k}", compression="lz4")
                    made[k].append(pl.scan_ipc(folder / f"{n}-{k}"))
            yield [pl.concat(pieces) for pieces in made]
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _blocks(self, files: list[Path], table: Table) -> Iterator[pl.DataFrame]:
        """The rows of the files, three row groups at a time."""
        for file in files:
            rows = self.scan_files(table, [file])
            height = rows.select(pl.len()).collect().item()
            for start in range(0, height, 3 * ROW_GROUP):
                yield rows.slice(start, 3 * ROW_GROUP).collect()

    def days(self, table: Table, idsite: int) -> Iterator[date]:
        """The days of a site that the table has, in order. Walks the site's folders: for `doctor`, not for a day's run."""
        base = self.root / table.name / f"idsite={idsite}"
        found = (_DAY_FOLDER.search(str(p)) for p in base.glob("year=*/month=*/day=*"))
        yield from sorted(date(*map(int, m.groups())) for m in found if m)

    def temporaries(self) -> list[Path]:
        """Files that killed writers left behind."""
        return [p for p in self.root.rglob(f".*{TEMPORARY_SUFFIX}") if p.is_file()] if self.root.is_dir() else []

    def ready(self) -> None:
        """Makes the root; raises LakeError when it can't be written."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            fsync_folder(self.root)
            probe = self.root / f".probe-{secrets.token_hex(4)}{TEMPORARY_SUFFIX}"
            probe.write_bytes(b"")
            probe.unlink(missing_ok=True)
        except OSError as e:
            msg = (
                f"{self.root}: can't be written ({e.strerror}): make it writable, or set storage.root to another folder"
            )
            raise LakeError(msg) from e
