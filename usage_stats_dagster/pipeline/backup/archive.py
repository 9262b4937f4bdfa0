"""The archive: a zip whose last member lists the others with their size and SHA-256.

What belongs here: members in, members out, proven whole. What does not: what the members are (`backup.py`, `restore.py`).
"""

from __future__ import annotations

import hashlib
import os
import secrets
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any

import orjson

CONTENTS = "backup.json"
FORMAT = 1
_CHUNK = 1 << 20
_COMPRESSED = (".parquet",)


class BackupError(Exception):
    """A backup can't be made or used; the message says why and what to do."""


class ArchiveWriter:
    """An archive that comes into being, readable for its owner only, when `finish` is called; nothing is left otherwise."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.members: dict[str, dict[str, Any]] = {}
        self._temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.fdopen(os.open(self._temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "w+b")
        self._zip = zipfile.ZipFile(self._file, "w", zipfile.ZIP_DEFLATED, compresslevel=6)

    def __enter__(self) -> ArchiveWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        self._zip.close()
        self._file.close()
        self._temporary.unlink(missing_ok=True)

    def add(self, name: str, chunks: Iterable[bytes]) -> str:
        """Adds a member; returns its name, another one where there is such a member already."""
        while name in self.members:
            name += "~"
        info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
        info.external_attr = 0o600 << 16
        info.compress_type = zipfile.ZIP_STORED if name.rstrip("~").endswith(_COMPRESSED) else zipfile.ZIP_DEFLATED
        digest, size = hashlib.sha256(), 0
        with self._zip.open(info, "w", force_zip64=True) as member:
            for chunk in chunks:
                member.write(chunk)
                digest.update(chunk)
                size += len(chunk)
        self.members[name] = {"size": size, "sha256": digest.hexdigest()}
        return name

    def finish(self, contents: dict[str, Any]) -> None:
        """Writes the list of contents and puts the archive in place, on disk for good."""
        listed = {"format": FORMAT, **contents, "members": self.members}
        self._zip.writestr(CONTENTS, orjson.dumps(listed, option=orjson.OPT_INDENT_2))
        self._zip.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._temporary.replace(self.path)


class Archive:
    """An archive to be read. Raises BackupError when it is none, or one of a newer program."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
            self.contents: dict[str, Any] = orjson.loads(self._zip.read(CONTENTS))
        except (OSError, zipfile.BadZipFile, KeyError, orjson.JSONDecodeError) as e:
            msg = f"{path} is no backup, or is cut off ({getattr(e, 'strerror', None) or e})"
            raise BackupError(msg) from e
        if self.contents.get("format") != FORMAT:
            msg = f"{path}: a backup of format {self.contents.get('format')}, this program reads {FORMAT}: upgrade usage-stats-dagster"
            raise BackupError(msg)

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def __contains__(self, name: str) -> bool:
        return name in self.contents["members"]

    def verify(self) -> int:
        """Reads every member and compares size and hash; returns how many. Raises BackupError naming those that differ."""
        wrong = [name for name in self.contents["members"] if not self._is_whole(name)]
        if wrong:
            more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
            msg = f"{self.path} is damaged: {', '.join(wrong[:5])}{more}; nothing was restored: use another backup"
            raise BackupError(msg)
        return len(self.contents["members"])

    def read(self, name: str) -> bytes:
        """A member as a whole."""
        return b"".join(self.chunks(name))

    def chunks(self, name: str) -> Iterator[bytes]:
        """A member, piece by piece."""
        with self._zip.open(name) as member:
            while chunk := member.read(_CHUNK):
                yield chunk

    def lines(self, name: str) -> Iterator[bytes]:
        """A member, line by line."""
        with self._zip.open(name) as member:
            yield from member

    def _is_whole(self, name: str) -> bool:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            return False
        digest, size = hashlib.sha256(), 0
        try:
            for chunk in self.chunks(name):
                digest.update(chunk)
                size += len(chunk)
        except (KeyError, OSError, EOFError, zipfile.BadZipFile, zlib.error):
            return False
        return bool({"size": size, "sha256": digest.hexdigest()} == self.contents["members"][name])
