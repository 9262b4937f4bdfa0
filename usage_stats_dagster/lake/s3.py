"""The lake in a bucket: a file is one object, put in place by one PUT of its key.

What belongs here: the lake's operations in terms of objects. What does not: requests and their failures (`s3_client.py`),
the turns of writers (`s3_lease.py`), copies for reading (`s3_copies.py`), uploads (`s3_upload.py`).
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from usage_stats_dagster.lake.s3_client import Bucket, MissingError, Timeouts
from usage_stats_dagster.lake.s3_copies import Copies
from usage_stats_dagster.lake.s3_lease import Lease
from usage_stats_dagster.lake.s3_upload import HASH, Uploads
from usage_stats_dagster.lake.scratch import scratch_folder
from usage_stats_dagster.lake.storage import TEMPORARY_SUFFIX, LakeError, Location, Source, Stat
from usage_stats_dagster.settings import StorageSection

LEASE = "_writer.json"
_ROOT = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(?P<prefix>.*))?")


@dataclass(frozen=True)
class S3Location:
    """A key of the bucket, with the names that a path's operations have."""

    storage: S3Storage = field(repr=False, compare=False)
    key: str

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.key.rpartition("/")[2]

    @property
    def parent(self) -> S3Location:
        """The key's folder."""
        return S3Location(self.storage, self.key.rpartition("/")[0])

    def __truediv__(self, name: str, /) -> S3Location:
        return S3Location(self.storage, f"{self.key}/{name}" if self.key else name)

    def __str__(self) -> str:
        return self.storage.bucket.address(self.key)

    def exists(self) -> bool:
        """Whether there is such an object."""
        return self.storage.stat(self) is not None

    def read_bytes(self) -> bytes:
        """The whole object; raises FileNotFoundError."""
        try:
            data: bytes = self.storage.bucket.call("get_object", self.key, lambda a: a["Body"].read())
        except MissingError as e:
            raise FileNotFoundError(str(self)) from e
        return data

    def unlink(self, missing_ok: bool = True) -> None:
        """Removes the object. Whether there was one S3 does not say."""
        del missing_ok
        self.storage.remove(self)


class S3Storage:
    """A bucket's prefix. One for each in a process: its connections, copies and lease are shared by threads."""

    durable = False

    def __init__(self, section: StorageSection) -> None:
        found = _ROOT.fullmatch(section.root)
        if found is None:
            msg = f"storage.root = {section.root!r}: use 's3://bucket/prefix', with a bucket's name of 3 to 63 letters, digits, '-' and '.'"
            raise LakeError(msg)
        self._section = section
        self.bucket = Bucket(section, found["bucket"])
        self.root = S3Location(self, "/".join(p for p in (found["prefix"] or "").split("/") if p))
        self._prefix = f"{self.root.key}/" if self.root.key else ""
        self._swept = False
        self._folder = scratch_folder(section.scratch)
        seconds = section.lease_seconds
        # A client of its own: renewing waits for no upload.
        quick = Bucket(
            section, found["bucket"], timeouts=Timeouts(seconds / 12, seconds / 12, seconds / 2), connections=1
        )
        self._lease = Lease(quick, self._prefix + LEASE, seconds)
        self._pool = ThreadPoolExecutor(section.connections, thread_name_prefix="s3")
        self._copies = Copies(self.bucket, self._folder, self._pool)
        self._uploads = Uploads(self.bucket, self._pool, self._lease.check)

    def ready(self) -> None:
        """Sees that the bucket is there and may be read. That it may be written the first lease shows."""
        self.bucket.call("list_objects_v2", Prefix=self._prefix, MaxKeys=1)

    def writing(self, local_lock: Path) -> AbstractContextManager[None]:
        """The lease of the lake."""
        del local_lock
        return self._lease.held(self._sweep)

    def _sweep(self) -> None:
        """Once a process, with the lease: nobody else uploads now."""
        if not self._swept:
            self._uploads.abort(self._prefix)
            self._swept = True

    def stat(self, file: Location) -> Stat | None:
        """The object's size and the hash that was put beside it."""
        try:
            head = self.bucket.call("head_object", _key(file))
        except MissingError:
            return None
        return Stat(head["ContentLength"], head["Metadata"].get(HASH))

    def staged(self, file: Location) -> Path:
        """A file of the scratch folder."""
        return self._folder / f"{file.name}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}"

    def put_file(self, file: Location, staged: Path, content_hash: str) -> None:
        """One PUT of the key; what was staged stays as its copy for who reads it next."""
        key = _key(file)
        self._copies.put(key, self._uploads.put(key, staged, content_hash), staged)

    def put_bytes(self, file: Location, data: bytes) -> None:
        """One PUT."""
        self._lease.check()
        self.bucket.call("put_object", _key(file), Body=data)

    def files(self, folder: Location) -> list[Location]:
        """The objects whose key is the folder's and one name more."""
        return list(self._list(f"{_key(folder)}/", Delimiter="/"))

    def walk(self, folder: Location) -> Iterator[Location]:
        """Every object below, a thousand a request."""
        key = _key(folder)
        yield from self._list(f"{key}/" if key else "")

    def _list(self, prefix: str, **more: Any) -> Iterator[Location]:  # noqa: ANN401
        page: dict[str, Any] = {}
        while True:
            found = self.bucket.call("list_objects_v2", Prefix=prefix, **more, **page)
            yield from (S3Location(self, o["Key"]) for o in found.get("Contents", []))
            if not found.get("IsTruncated"):
                return
            page = {"ContinuationToken": found["NextContinuationToken"]}

    def remove(self, file: Location) -> None:
        """Removes an object, if it is there."""
        self._lease.check()
        self._copies.forget(_key(file))
        self.bucket.call("delete_object", _key(file))

    def remove_folder(self, folder: Location) -> bool:
        """Removes the objects right in the folder; there is no folder to remove."""
        files = self.files(folder)
        for f in files:
            self.remove(f)
        return bool(files)

    def sources(self, files: Sequence[Location], *, missing_ok: bool = False) -> list[Source]:
        """Open copies, fetched a few at a time."""
        keys = [_key(f) for f in files]
        with ThreadPoolExecutor(max(1, min(len(keys), self._section.connections))) as pool:  # not the chunks' pool
            found = list(pool.map(self._copies.get, keys))
        missing = [f for f, copy in zip(files, found, strict=True) if copy is None]
        if missing and not missing_ok:
            raise FileNotFoundError(f"{missing[0]}: no such object")
        return [copy for copy in found if copy is not None]

    def scratch(self) -> Path:
        """A folder of the local disk."""
        return self._folder / "split"

    def temporaries(self) -> list[Location]:
        """Keys with uploads that were not completed."""
        return [S3Location(self, key) for key, _ in self._uploads.unfinished(self._prefix)]


def _key(location: Location) -> str:
    return cast("S3Location", location).key


@lru_cache(maxsize=8)
def _opened(section: StorageSection, pid: int) -> S3Storage:
    del pid  # a forked process must not share connections
    return S3Storage(section)


def open_s3(section: StorageSection) -> S3Storage:
    """The bucket's storage, one for each in a process."""
    return _opened(section, os.getpid())
