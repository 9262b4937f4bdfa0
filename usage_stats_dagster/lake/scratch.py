"""A folder of this process on the local disk, for a lake that lies elsewhere.

What belongs here: making it, and removing those of dead processes. What does not: what is put there.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

_PREFIX = "usage-stats-"
_LOCK = "alive"


def scratch_folder(parent: str | None) -> Path:
    """A new folder, gone at the end of the process; those that killed processes left beside it are removed.

    A live process holds a lock in its own: that works across containers too, where process ids say nothing.
    """
    above = Path(parent) if parent else Path(tempfile.gettempdir())
    above.mkdir(parents=True, exist_ok=True)
    for other in above.glob(f"{_PREFIX}*/{_LOCK}"):
        with suppress(OSError):
            _remove_dead(other)
    while (folder := _made(above)) is None:
        pass
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _made(above: Path) -> Path | None:
    """A new folder and its lock; None where another process saw it before it was locked, and removed it as a dead one's."""
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=above))
    with suppress(FileNotFoundError):
        fd = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
        if (folder / _LOCK).exists():
            return folder
        os.close(fd)
    return None


def _remove_dead(lock: Path) -> None:
    fd = os.open(lock, os.O_RDWR)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(lock.parent, ignore_errors=True)
    finally:
        os.close(fd)
