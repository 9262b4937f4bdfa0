"""Every point at which a process changes its files: shown, counted, failed or survived by nobody.

What belongs here: building and steering the preloaded `points.c`, and what may happen at a point (a kill, a full disk, a
copy of everything as a kill would leave it). What does not: worlds, runs, what must hold afterwards.

A kill leaves what the system calls made so far have left. So a copy of the folder before each call that changes
something is what a kill there leaves; where the call writes bytes, one more with half of them written.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from types import TracebackType

import xxhash

from usage_stats_dagster.lake.storage import TEMPORARY_SUFFIX
from usage_stats_dagster_tests.crash.places import Place

SOURCE = Path(__file__).with_name("points.c")
GO_ON, HALF = 0, -1

Handler = Callable[[str, str, bool], int]
"""Called with (what, path, half of it is written); answers GO_ON, HALF or the errno to fail with."""

_FUNCTION = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int)
_NEEDS_ROOM = ("write", "commit", "create", "mkdir")
_NUMBERED = re.compile(r"\.\d+-[0-9a-f]+(?=\.tmp$)")
_WAL_HEADER, _FRAME_HEADER = 32, 24


def compiler() -> str | None:
    """The C compiler of this machine."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def library(folder: Path) -> Path:
    """The compiled `points.c`, made in the folder."""
    made = folder / "points.so"
    folder.mkdir(parents=True, exist_ok=True)
    if not made.exists():
        subprocess.run([str(compiler()), "-shared", "-fPIC", "-O1", "-o", str(made), str(SOURCE), "-ldl"], check=True)
    return made


@lru_cache(maxsize=1)
def _loaded() -> ctypes.CDLL:
    return ctypes.CDLL(None)


def is_preloaded() -> bool:
    """Whether this process was started with the library preloaded."""
    return hasattr(_loaded(), "points_start")


class Points:
    """While it is entered, every call that changes something below the folder is shown to the handler, one at a time."""

    def __init__(self, folder: Path, handler: Handler, *, sockets: bool = False) -> None:
        self._folder, self._handler, self._sockets = folder.resolve(), handler, sockets
        # Taken before a call and given back after it: another thread's call must not fall into a copy. A Python lock,
        # since waiting for it lets go of the interpreter's.
        self._lock = threading.Lock()
        self._function = _FUNCTION(self._told)
        self.error: BaseException | None = None

    def _told(self, what: bytes, path: bytes, phase: int) -> int:
        if phase == 0:
            self._lock.acquire()
        elif phase == 2:
            self._lock.release()
            return GO_ON
        try:
            answer = self._handler(what.decode(), os.fsdecode(path), phase == 1)
        except BaseException as e:  # must not be lost in C
            self.error = self.error or e
            answer = GO_ON
        if answer > 0 and phase == 0:
            self._lock.release()
        return answer

    def request(self, what: str, path: str) -> None:
        """A server is about to get a request that changes something: a point too."""
        with self._lock:
            try:
                self._handler(what, path, False)
            except BaseException as e:  # must not be lost in the proxy's thread
                self.error = self.error or e

    def __enter__(self) -> Points:
        _loaded().points_start(self._function, os.fsencode(self._folder), int(self._sockets))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _loaded().points_stop()
        if self.error is not None:
            raise self.error


class Distinct:
    """Which calls begin a state of its own, for readers and for the next run.

    Several writes to one file count as one (it is unfinished before each of them), so do folders made after one another.
    But for the last frame of an SQLite transaction, which makes all those before it count.
    """

    def __init__(self, *, every_call: bool = False) -> None:
        self.number = 0
        self._every_call = every_call
        self._last = ("", "")

    def begins(self, what: str, path: str) -> bool:
        """Whether the call about to be made is a point; counts it."""
        if what in ("sync", "open") or path.endswith("-shm"):
            return False
        last, self._last = self._last, (what, path)
        if what == "write" and last == ("commit", path):
            self._last = ("", "")  # the commit is whole with this page
            return self._counted(self._every_call)
        more_of_the_same = (what == "write" and last == (what, path)) or what == last[0] == "mkdir"
        return self._counted(self._every_call or not more_of_the_same)

    def _counted(self, begins: bool) -> bool:
        self.number += begins
        return begins


def killing(at: int, *, half: bool = False) -> Handler:
    """The process dies before the call number `at`, or in the middle of its write."""
    points = Distinct(every_call=True)

    def handler(what: str, path: str, is_half: bool) -> int:
        if is_half:
            os.kill(os.getpid(), signal.SIGKILL)
        if points.begins(what, path) and points.number == at:
            if half and what == "write":
                return HALF
            os.kill(os.getpid(), signal.SIGKILL)
        return GO_ON

    return handler


def failing(at: int, code: int = errno.ENOSPC, *, half: bool = False) -> Handler:
    """From point number `at` on the disk is full (or read-only, by `code`): whatever needs room fails, removing works."""
    points = Distinct()

    def handler(what: str, path: str, is_half: bool) -> int:
        if is_half:
            return code
        if points.begins(what, path) and points.number == at and half and what == "write":
            return HALF
        if points.number < at:
            return GO_ON
        return code if code != errno.ENOSPC or what in _NEEDS_ROOM else GO_ON

    return handler


def tree_hash(folder: Path, *, every_byte: bool = False) -> str:
    """A hash over all files below the folder, but for what SQLite makes anew when it opens a file.

    Without `every_byte`, equal also for states that no next run tells apart: a temporary file counts by its name without
    number, since it is removed unread; SQLite's log up to the last whole transaction; the writer's lock as named or empty.
    """
    digest = xxhash.xxh3_128()
    for base, folders, files in os.walk(folder):
        folders.sort()
        digest.update(f"{os.path.relpath(base, folder)}\0".encode())
        for name in sorted(n for n in files if not n.endswith("-shm")):
            data = (Path(base) / name).read_bytes()
            named, counted = (name, data) if every_byte else _as_the_next_run_sees_it(name, data)
            digest.update(f"{named}\0".encode())
            digest.update(counted)
    return digest.hexdigest()


def _as_the_next_run_sees_it(name: str, data: bytes) -> tuple[str, bytes]:
    if name.endswith(TEMPORARY_SUFFIX):
        return _NUMBERED.sub("", name), b""
    if name.endswith("-wal"):
        return name, data[: _committed(data)]
    return (name, data[:1]) if name == "writer.lock" else (name, data)


def _committed(log: bytes) -> int:
    """Bytes of SQLite's log up to the end of its last whole transaction: the frame that says how large the file then is."""
    if len(log) < _WAL_HEADER:
        return 0
    frame, end = _FRAME_HEADER + int.from_bytes(log[8:12]), 0
    for start in range(_WAL_HEADER, len(log) - frame + 1, frame):
        if int.from_bytes(log[start + 4 : start + 8]):
            end = start + frame
    return end


class Copies:
    """A handler that copies the world at every point, once for each different state."""

    def __init__(self, place: Place, folder: Path, into: Path, *, every_call: bool = False) -> None:
        self._place, self._folder, self._into = place, folder, into
        self._every_call = every_call
        self._points = Distinct(every_call=every_call)
        self._seen: set[str] = set()
        self.points = 0
        self.made: list[tuple[str, Path]] = []

    def __call__(self, what: str, path: str, is_half: bool) -> int:
        if not is_half and not self._points.begins(what, path):
            return GO_ON
        # SQLite knows a transaction that is not whole by its checksums: half a page is no state of its own.
        halves = what == "write" and (self._every_call or ".db" not in path)
        if is_half or not halves or self._every_call:
            self.points += 1
            shown = os.path.relpath(path, self._folder) if path.startswith(f"{self._folder}/") else path
            self._copy(f"{'half of ' if is_half else 'before '}{self._points.number}: {what} {shown}")
        return HALF if halves and not is_half else GO_ON

    def _copy(self, name: str) -> None:
        elsewhere = self._place.elsewhere()
        mark = f"{tree_hash(self._folder, every_byte=self._every_call)} {xxhash.xxh3_128_hexdigest(elsewhere)}"
        if mark not in self._seen:
            self._seen.add(mark)
            copy = self._into / f"{len(self.made):04}"
            self._place.keep(self._folder, copy, elsewhere)
            self.made.append((name, copy))
