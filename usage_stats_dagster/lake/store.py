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
import shutil
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import orjson
import polars as pl

from usage_stats_dagster.lake.sink import ROW_GROUP, file_hash
from usage_stats_dagster.lake.storage import LakeError as LakeError  # noqa: PLC0414  (callers import it from here)
from usage_stats_dagster.lake.storage import Location, Source, open_storage
from usage_stats_dagster.lake.writer import TableWriter
from usage_stats_dagster.schemas import Table
from usage_stats_dagster.settings import StorageSection

PART = "part-0.parquet"
MANIFEST = "_manifest.json"
_FILTERED = 3
_AT_ONCE = 8
DAY_FILE = re.compile(r"^(\w+)/idsite=(\d+)/year=(\d+)/month=(\d+)/day=(\d+)/([^/]+)$")
"""A file of a site's day, by its path below the root: table, site, year, month, day, name."""

_DAY_FOLDER = re.compile(r"year=(\d+)/month=(\d+)/day=(\d+)$")


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
    """The tables under one root: a folder, or a bucket's prefix."""

    def __init__(self, root: str | StorageSection) -> None:
        self._storage = open_storage(StorageSection(root=root) if isinstance(root, str) else root)
        self.root: Location = self._storage.root

    def folder(self, table: Table, idsite: int, day: date) -> Location:
        """The hive folder of a site's day."""
        # In one step: each `/` of a path takes 2 µs, and a run asks some ten times for each day of a table.
        return self.root / f"{table.name}/idsite={idsite}/year={day.year}/month={day.month}/day={day.day}"

    def part(self, table: Table, idsite: int, day: date) -> Location:
        """The one file of a site's day (not for hits)."""
        return self.folder(table, idsite, day) / PART

    def hits_file(self, table: Table, idsite: int, day: date, identity: str) -> Location:
        """The hits that one log has on one day."""
        return self.folder(table, idsite, day) / f"{identity}.parquet"

    def noted(self, table: Table, idsite: int, day: date) -> Manifest | None:
        """The manifest that lies there, whether its file is the one that it describes or not; None when there is none."""
        try:
            return Manifest.from_json((self.folder(table, idsite, day) / MANIFEST).read_bytes())
        except (FileNotFoundError, LakeError):
            return None

    def manifest(self, table: Table, idsite: int, day: date) -> Manifest | None:
        """The manifest, or None when there is no table or its file is not the one that the manifest describes."""
        found = self.noted(table, idsite, day)
        if found is None:
            return None
        stored = self._storage.stat(self.part(table, idsite, day))
        fits = stored is not None and (stored.size, stored.content_hash or found.content_hash) == (
            found.size,
            found.content_hash,
        )
        return found if fits else None

    def manifests(self, table: Table, idsite: int, days: Iterable[date]) -> dict[date, Manifest]:
        """Those of the days that have one, in order; asked for some at a time, since each is a round trip to a bucket."""
        days = list(days)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            found = pool.map(lambda day: self.manifest(table, idsite, day), days)
            return {d: m for d, m in zip(days, found, strict=True) if m is not None}

    def writer(self, table: Table, idsite: int, day: date) -> TableWriter:
        """A writer of the site's day."""
        return self.file_writer(table, self.part(table, idsite, day))

    def file_writer(self, table: Table, file: Location) -> TableWriter:
        """A writer of one file of the lake."""
        return TableWriter(table, file, self._storage)

    def put_bytes(self, file: Location, data: bytes) -> None:
        """Replaces a small file as a whole."""
        self._storage.put_bytes(file, data)

    def writing(self, local_lock: Path) -> AbstractContextManager[None]:
        """The one writer's turn; `local_lock` is the lock's file where the lake is a local folder."""
        return self._storage.writing(local_lock)

    def commit(self, writer: TableWriter, manifest: Manifest) -> Manifest:
        """Replaces the site's day by what was written, then its manifest; removes leftovers of killed writers.

        A crash between the two leaves a manifest of other inputs, or one that doesn't fit its file: the day is then made again.
        """
        writer.close()
        done = replace(manifest, rows=writer.rows, size=writer.bytes, content_hash=writer.content_hash)
        writer.commit()
        folder = writer.file.parent
        self.put_bytes(folder / MANIFEST, done.to_json())
        self.sweep(folder, keep={PART, MANIFEST})
        return done

    def files(self, folder: Location) -> list[Location]:
        """The files right in the folder; none when there is no folder."""
        return self._storage.files(folder)

    def sweep(self, folder: Location, keep: set[str]) -> list[Location]:
        """Removes every file of the folder that is not to be kept; returns what was removed."""
        removed = [p for p in self._storage.files(folder) if p.name not in keep]
        for p in removed:
            p.unlink(missing_ok=True)
        return removed

    def remove(self, table: Table, idsite: int, day: date) -> bool:
        """Removes a site's day of a table; True when there was one."""
        return self._storage.remove_folder(self.folder(table, idsite, day))

    def scan(self, table: Table, parts: Iterable[tuple[int, date]]) -> pl.LazyFrame:
        """The rows of the given site-days that exist, lazily, in the order given, with the table's schema."""
        return self.scan_found(table, [self.part(table, s, d) for s, d in parts])

    def scan_files(self, table: Table, files: Sequence[Location]) -> pl.LazyFrame:
        """The rows of the files, lazily; an empty table for no file."""
        return self._scan(table, self._storage.sources(files))

    def scan_found(self, table: Table, files: Sequence[Location]) -> pl.LazyFrame:
        """The rows of those of the files that exist, lazily."""
        return self._scan(table, self._storage.sources(files, missing_ok=True))

    def source(self, file: Location) -> Source | None:
        """What Polars reads for one file as it is now, every column of it; None when there is no such file."""
        return next(iter(self._storage.sources([file], missing_ok=True)), None)

    def content_hash(self, file: Location) -> str | None:
        """xxh3_128 over the stored bytes, read for it; None when there is no such file."""
        source = self.source(file)
        return file_hash(source) if source is not None else None

    def _scan(self, table: Table, sources: list[Source]) -> pl.LazyFrame:
        if not sources:
            return table.empty().lazy()
        return pl.scan_parquet(
            cast("list[Path]", sources),
            hive_partitioning=False,
            missing_columns="insert",
            extra_columns="ignore",
            glob=False,
        )

    @contextmanager
    def split(
        self, files: Sequence[Location], table: Table, column: str, edges: Sequence[int]
    ) -> Iterator[list[pl.LazyFrame]]:
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
        folder = self._storage.scratch()
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

    def _blocks(self, files: Sequence[Location], table: Table) -> Iterator[pl.DataFrame]:
        """The rows of the files, three row groups at a time."""
        for file in files:
            rows = self.scan_files(table, [file])
            height = rows.select(pl.len()).collect().item()
            for start in range(0, height, 3 * ROW_GROUP):
                yield rows.slice(start, 3 * ROW_GROUP).collect()

    def days(self, table: Table, idsite: int) -> Iterator[date]:
        """The days of a site that the table has, in order. Walks the site's folders: for `doctor`, not for a day's run."""
        yield from _days(self.walk(table, idsite))

    def days_of_month(self, table: Table, idsite: int, month: date) -> list[date]:
        """The days of the month (any day of it) that the table has, in order: one listing."""
        return _days(self._storage.walk(self.folder(table, idsite, month).parent))

    def walk(self, table: Table, idsite: int | None = None) -> Iterator[Location]:
        """Every file of the table, or of a site in it. For `doctor`: it grows with history."""
        base = self.root / table.name
        return self._storage.walk(base if idsite is None else base / f"idsite={idsite}")

    def everything(self) -> Iterator[tuple[str, Location]]:
        """Every file, with its path below the root, in order. For `doctor` and `backup`: it grows with history."""
        below = len(str(self.root).rstrip("/")) + 1
        yield from ((str(f)[below:], f) for f in self._storage.walk(self.root))

    def site_days(self, *tables: Table) -> set[tuple[int, date]]:
        """The site-days that any of the tables has a file of. Walks the lake, as `everything` does."""
        names = {t.name for t in tables}
        found = (DAY_FILE.match(name) for name, _ in self.everything())
        return {(int(m[2]), date(*map(int, m.group(3, 4, 5)))) for m in found if m and m[1] in names}

    def temporaries(self) -> list[Location]:
        """What killed writers left behind: temporary files and folders, unfinished uploads."""
        return self._storage.temporaries()

    def ready(self) -> None:
        """Sees that the root can be written; raises LakeError when it can't."""
        self._storage.ready()


def _days(files: Iterable[Location]) -> list[date]:
    """The days whose one file is among the files."""
    found = (_DAY_FOLDER.search(str(f.parent)) for f in files if f.name == PART)
    return sorted(date(*map(int, m.groups())) for m in found if m)
