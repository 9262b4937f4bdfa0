"""What the lake asks of the place where its files lie: a local folder or a bucket.

What belongs here: the operations, and which place a root names. What does not: how a place does them (`local.py`, `s3.py`),
which files there are (`store.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from usage_stats_dagster.settings import StorageSection

TEMPORARY_SUFFIX = ".tmp"
"""Must not end in .parquet: Polars' directory scans would read a file that is still being written."""

Source = Path | BinaryIO
"""What Polars reads: a path, or an open file that nobody can change any more."""


class LakeError(Exception):
    """The lake can't be used as it is; the message names the path and the way out."""


class Location(Protocol):
    """Where a file or a folder lies: a `pathlib.Path`, or a bucket's key that answers to the same names."""

    @property
    def name(self) -> str:
        """The last part."""

    @property
    def parent(self) -> Location:
        """The folder."""

    def __truediv__(self, name: str, /) -> Location: ...

    def exists(self) -> bool:
        """Whether there is such a file."""

    def read_bytes(self) -> bytes:
        """The whole file; raises FileNotFoundError."""

    def unlink(self, missing_ok: bool = False) -> None:
        """Removes the file."""


@dataclass(frozen=True)
class Stat:
    """A stored file: bytes, and the hash of its content where the place keeps it beside the file."""

    size: int
    content_hash: str | None = None


class Storage(Protocol):
    """A place for files. All writing replaces a file as a whole: a reader has the old one or the new one."""

    durable: bool
    """Whether a staged file must be on disk for good before it is put in place."""

    @property
    def root(self) -> Location:
        """The folder that the tables lie in."""

    def ready(self) -> None:
        """Sees that the root can be written; raises LakeError."""

    def writing(self, local_lock: Path) -> AbstractContextManager[None]:
        """The turn of one writer; `local_lock` is a file beside the ledger. Raises LockedError."""

    def stat(self, file: Location) -> Stat | None:
        """The file's size; None when there is none."""

    def staged(self, file: Location) -> Path:
        """A local file, not there yet, in which the new content comes about."""

    def put_file(self, file: Location, staged: Path, content_hash: str) -> None:
        """Puts the staged file in place; it is gone then."""

    def put_bytes(self, file: Location, data: bytes) -> None:
        """Replaces a small file."""

    def files(self, folder: Location) -> list[Location]:
        """The files right in the folder; none when there is no folder."""

    def walk(self, folder: Location) -> Iterator[Location]:
        """Every file at any depth. For `doctor`, not for a day's run."""

    def remove_folder(self, folder: Location) -> bool:
        """Removes the files right in the folder, and the folder; True when there was one."""

    def sources(self, files: Sequence[Location], *, missing_ok: bool = False) -> list[Source]:
        """What Polars reads for each file, in order; without those that are missing, or FileNotFoundError."""

    def scratch(self) -> Path:
        """A local folder for what is too large for memory, alone on it while one writes."""

    def temporaries(self) -> list[Location]:
        """What killed writers left behind."""


def open_storage(section: StorageSection) -> Storage:
    """The place that `storage.root` names; raises LakeError for an address that is none of ours."""
    root = section.root
    if root.startswith("s3://"):
        from usage_stats_dagster.lake.s3 import open_s3  # noqa: PLC0415  (boto3 costs half a second)

        return open_s3(section)
    if "://" in root and not root.startswith("file://"):
        msg = f"storage.root = {root!r}: use a folder such as 'data/lake', or 's3://bucket/prefix'"
        raise LakeError(msg)
    from usage_stats_dagster.lake.local import LocalStorage  # noqa: PLC0415

    return LocalStorage(Path(root.removeprefix("file://")))
