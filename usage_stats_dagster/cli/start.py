"""The entry point: what has to be decided before anything large is imported.

What belongs here: settings of the process that make each start and each large run quicker. What does not: any command
(`main.py` and what it imports).
"""

from __future__ import annotations

import gc
import os

OBJECTS_BETWEEN_COLLECTIONS = 100_000
"""Python's 700 has the collector look through all modules' objects every few milliseconds of work on columns."""


def main() -> None:
    """Imports the commands and runs the one asked for."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy starts threads for matrices: there are none
    gc.disable()  # imports make objects that stay
    from usage_stats_dagster.cli.main import main as commands  # noqa: PLC0415

    gc.freeze()
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS, 20, 100)
    gc.enable()
    commands()
