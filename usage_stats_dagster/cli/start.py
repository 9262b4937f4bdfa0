"""The entry point: what has to be decided before anything large is imported.

What belongs here: settings of the process that make each start and each large run quicker. What does not: any command
(`main.py` and what it imports).
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
from typing import NoReturn

_ARENAS = max(1, (os.cpu_count() or 1) // 2)
ALLOCATOR = f"dirty_decay_ms:3000,muzzy_decay_ms:3000,oversize_threshold:0,narenas:{_ARENAS}"
"""For Polars' allocator (jemalloc): freed pages are kept for three seconds, those of large pieces too, and threads share
them, one arena for two cores. What comes next takes them instead of new ones, which the system has to clear: half the page
faults, and a tenth less memory, since no thread keeps pages that another could use."""

OBJECTS_BETWEEN_COLLECTIONS = 100_000
"""Python's 700 has the collector look through all modules' objects every few milliseconds of work on columns."""


def main() -> None:
    """Imports the commands, runs the one asked for, and ends the process."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy starts threads for matrices: there are none
    os.environ.setdefault("_RJEM_MALLOC_CONF", ALLOCATOR)
    gc.disable()  # imports make objects that stay
    from usage_stats_dagster.cli.main import main as commands  # noqa: PLC0415

    gc.freeze()
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS, 20, 100)
    gc.enable()
    try:
        commands()
    except SystemExit as e:
        if not (e.code is None or isinstance(e.code, int)):
            raise
        _leave(e.code or 0)


def _leave(code: int) -> NoReturn:
    """Ends the process as an exit does, files closed and handlers run, but for taking apart a million objects first."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
