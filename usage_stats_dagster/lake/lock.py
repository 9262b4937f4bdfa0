"""One writer at a time: a lock on the lake that dies with its process.

Two runs of the same day, or of neighbouring days, take turns stage by stage; each stage then sees what the other
did and has nothing left to do, or does it anew. Readers need no lock.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_STEP = 0.05


class LockedError(Exception):
    """The lock can't be had: another process has held it for longer than we wait, or its file can't be written."""


@contextmanager
def locked(path: Path, *, seconds: float = 3600.0) -> Iterator[bool]:
    """Holds the lock at `path`; true when its last holder was killed, and so may have left something behind.

    Waits up to `seconds`, then raises LockedError naming the holder's process.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as e:
        raise _unwritable(path, e) from e
    try:
        was_killed = _acquire(fd, path, seconds)
        try:
            yield was_killed
        except Exception:  # an error has cleaned up behind itself; an interrupt may not have come to that
            _empty(fd)
            raise
        _empty(fd)
    finally:
        os.close(fd)


def _acquire(fd: int, path: Path, seconds: float) -> bool:
    give_up = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > give_up:
                holder = os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"
                msg = (
                    f"{path} is held by process {holder} for more than {seconds:.0f} s: wait for it to end, or stop it"
                )
                raise LockedError(msg) from None
            time.sleep(_STEP)
    # Who ends, ends with an empty file: a name in it is that of a killed process, or of a restarted machine's.
    was_killed = bool(os.pread(fd, 1, 0))
    try:
        os.pwrite(fd, f"{os.getpid():<20}".encode(), 0)
    except OSError as e:
        raise _unwritable(path, e) from e
    return was_killed


def _empty(fd: int) -> None:
    with suppress(OSError):  # then the next run looks for leftovers, and finds none
        os.ftruncate(fd, 0)


def _unwritable(path: Path, error: OSError) -> LockedError:
    return LockedError(
        f"{path} can't be written ({error.strerror}): make room and its folder writable, or name another in ledger.url"
    )
