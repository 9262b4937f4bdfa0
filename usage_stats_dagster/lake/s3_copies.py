"""Local copies of objects, for reading: open files without a name, known by their ETag.

What belongs here: fetching one, keeping the last used. What does not: which object is asked for (`s3.py`).

A copy is fetched by one GET (of a large object: ranges of the one ETag), so that nobody reads half of the old and half of
the new object, as range requests of a scan can. A scan holds the file itself: a copy may be dropped, and its object
replaced, while it is read. The disk is free again when the last reader is gone, also of a killed process.
"""

from __future__ import annotations

import os
import resource
import tempfile
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from usage_stats_dagster.lake.s3_client import Answer, Bucket, MissingError, RefusedError

CHUNK = 16 << 20
"""Bytes asked for in one request. Objects up to this size are one GET."""

_KEPT_BYTES, _KEPT_FILES = 1 << 30, 128
_BLOCK = 1 << 20
_OPEN_FILES = 65_536


@dataclass(frozen=True)
class _Copy:
    etag: str
    size: int
    file: BinaryIO


class Copies:
    """The copies of one bucket's objects; the least lately used are dropped."""

    def __init__(self, bucket: Bucket, folder: Path, pool: ThreadPoolExecutor) -> None:
        self._bucket, self._folder, self._pool = bucket, folder, pool
        self._kept: OrderedDict[str, _Copy] = OrderedDict()
        self._lock = Lock()
        _raise_limit_of_open_files()

    def get(self, key: str) -> BinaryIO | None:
        """The object as it is now; None when there is none."""
        while True:
            with self._lock:
                kept = self._kept.get(key)
                if kept is not None:
                    self._kept.move_to_end(key)
            try:
                copy = self._fetch(key, kept)
            except MissingError:
                self.forget(key)
                return None
            except _ReplacedError:
                continue
            self._keep(key, copy)
            return copy.file

    def put(self, key: str, etag: str, path: Path) -> None:
        """The file just written is the object's copy; it has no name from now on."""
        file = path.open("rb")
        path.unlink()
        self._keep(key, _Copy(etag, os.fstat(file.fileno()).st_size, file))

    def forget(self, key: str) -> None:
        """Drops a copy."""
        with self._lock:
            self._kept.pop(key, None)

    def _keep(self, key: str, copy: _Copy) -> None:
        with self._lock:
            self._kept[key] = copy
            self._kept.move_to_end(key)
            while len(self._kept) > 1 and (
                len(self._kept) > _KEPT_FILES or sum(c.size for c in self._kept.values()) > _KEPT_BYTES
            ):
                self._kept.popitem(last=False)

    def _fetch(self, key: str, kept: _Copy | None) -> _Copy:
        file: BinaryIO = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115  (the readers close it)
        condition = {"IfNoneMatch": kept.etag} if kept else {}
        try:
            head = self._bucket.call(
                "get_object", key, lambda a: _receive(a, file, 0), Range=f"bytes=0-{CHUNK - 1}", **condition
            )
        except RefusedError:
            if kept is None:
                raise
            return kept
        etag, size = head["ETag"], int(head.get("ContentRange", "").rpartition("/")[2] or head["ContentLength"])

        def part(start: int) -> None:
            span = f"bytes={start}-{min(start + CHUNK, size) - 1}"
            try:
                self._bucket.call("get_object", key, lambda a: _receive(a, file, start), Range=span, IfMatch=etag)
            except (RefusedError, MissingError) as e:
                raise _ReplacedError from e

        list(self._pool.map(part, range(CHUNK, size, CHUNK)))
        os.ftruncate(file.fileno(), size)  # a broken first try may have been of a longer object
        return _Copy(etag, size, file)


def _raise_limit_of_open_files() -> None:
    """A month of a hundred sites is three thousand copies in one scan; the usual 1,024 open files are no hard limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class _ReplacedError(Exception):
    """The object became another one while it was fetched."""


def _receive(answer: Answer, file: BinaryIO, at: int) -> Answer:
    """Writes the answer's body at its place; a broken one raises and is asked for again."""
    body = answer["Body"]
    while block := body.read(_BLOCK):
        at += os.pwrite(file.fileno(), block, at)
    return answer
