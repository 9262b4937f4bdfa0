"""The lake in a local folder: files are made beside the final one and renamed.

What belongs here: fsync, rename, folders. What does not: the lock itself (`lock.py`), what the files are (`store.py`).
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from usage_stats_dagster.lake.lock import locked
from usage_stats_dagster.lake.storage import TEMPORARY_SUFFIX, LakeError, Location, Source, Stat

_SPLIT = f".split{TEMPORARY_SUFFIX}"


def fsync_folder(folder: Path) -> None:
    """Makes renames in the folder last through a power cut."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _path(location: Location) -> Path:
    return cast("Path", location)


class LocalStorage:
    """A folder. Every location is a `pathlib.Path`."""

    durable = True

    def __init__(self, root: Path) -> None:
        self.root = root

    def ready(self) -> None:
        """Makes the root; raises LakeError when it can't be written."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            if not os.access(self.root, os.W_OK | os.X_OK):
                raise OSError(errno.EACCES, "no permission, or a read-only disk")
        except OSError as e:
            msg = (
                f"{self.root}: can't be written ({e.strerror}): make it writable, or set storage.root to another folder"
            )
            raise LakeError(msg) from e

    @contextmanager
    def writing(self, local_lock: Path) -> Iterator[None]:
        """The lock of the operating system, which dies with its holder; what a killed one left half written is removed."""
        with locked(local_lock) as another_was_killed:
            if another_was_killed:
                self._sweep()
            yield

    def _sweep(self) -> None:
        for p in map(_path, self.temporaries()):
            if p.is_dir():
                shutil.rmtree(p, ignore_errors=True)
            else:
                p.unlink(missing_ok=True)

    def stat(self, file: Location) -> Stat | None:
        """The file's size; None when there is none."""
        try:
            return Stat(_path(file).stat().st_size)
        except FileNotFoundError:
            return None

    def staged(self, file: Location) -> Path:
        """A hidden name beside the file, so that a rename puts it in place."""
        folder = _path(file).parent
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f".{file.name}.{os.getpid()}-{secrets.token_hex(4)}{TEMPORARY_SUFFIX}"

    def put_file(self, file: Location, staged: Path, content_hash: str) -> None:
        """Renames the staged file, which is on disk already."""
        del content_hash
        staged.replace(_path(file))
        fsync_folder(_path(file).parent)

    def put_bytes(self, file: Location, data: bytes) -> None:
        """Replaces a small file as a whole."""
        staged = self.staged(file)
        try:
            with staged.open("wb") as f:
                f.write(data)
                f.flush()
                os.fsync(f.fileno())
            self.put_file(file, staged, "")
        except BaseException:
            staged.unlink(missing_ok=True)
            raise

    def files(self, folder: Location) -> list[Location]:
        """The files right in the folder."""
        path = _path(folder)
        return [p for p in path.iterdir() if p.is_file()] if path.is_dir() else []

    def walk(self, folder: Location) -> Iterator[Location]:
        """Every file below the folder."""
        yield from (p for p in sorted(_path(folder).rglob("*")) if p.is_file())

    def remove_folder(self, folder: Location) -> bool:
        """Removes the folder, and those above it that are empty then: of a day its month's and year's."""
        path = _path(folder)
        if not path.is_dir():
            return False
        for p in self.files(path):
            p.unlink(missing_ok=True)
        for p in (path, path.parent, path.parent.parent):
            try:
                p.rmdir()
            except OSError:
                break
        return True

    def sources(self, files: Sequence[Location], *, missing_ok: bool = False) -> list[Source]:
        """The paths themselves."""
        return [_path(f) for f in files if not missing_ok or f.exists()]

    def scratch(self) -> Path:
        """A hidden folder of the root: the disk that has room for the tables has room for their parts."""
        return self.root / _SPLIT

    def temporaries(self) -> list[Location]:
        """Files and folders under hidden temporary names. Walks the whole lake."""
        return list(self.root.rglob(f".*{TEMPORARY_SUFFIX}")) if self.root.is_dir() else []
