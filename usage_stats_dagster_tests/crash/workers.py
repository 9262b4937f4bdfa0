"""Starting workers and handing out work to them.

What belongs here: processes with the library preloaded, and their answers. What does not: what they do (`worker.py`).
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from typing import Any

from usage_stats_dagster_tests.crash.commands import environment
from usage_stats_dagster_tests.crash.points import library


class WorkerDiedError(Exception):
    """The worker's process has ended; `code` is its exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the worker ended with {code}")
        self.code = code


class Helper:
    """One worker's process."""

    def __init__(self, folder: Path, **environment: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "usage_stats_dagster_tests.crash.worker", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment_of(folder.parent, **environment),
        )

    def do(self, order: str, **values: Any) -> Any:
        """What the worker answers; raises WorkerDiedError when it dies over it, RuntimeError with its traceback."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps({"do": order, **values}) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise WorkerDiedError(self._process.wait())
        found = json.loads(answer)
        if "error" in found:
            raise RuntimeError(found["error"])
        return found["ok"]

    def end(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.communicate()


def environment_of(folder: Path, **more: str) -> dict[str, str]:
    """As for the command line, with the library preloaded. One thread of Polars: its tables are tiny, and two workers share the cores."""
    return environment() | {"LD_PRELOAD": str(library(folder)), "POLARS_MAX_THREADS": "1", **more}


class Helpers:
    """A few workers that share a list of orders, each with a place of its own by its environment."""

    def __init__(self, folder: Path, environments: Sequence[Mapping[str, str]] = ({}, {})) -> None:
        library(folder)
        self._all = [Helper(folder / f"worker{n}", **e) for n, e in enumerate(environments)]
        self._free: Queue[Helper] = Queue()
        for h in self._all:
            self._free.put(h)

    def do(self, order: str, **values: Any) -> Any:
        """One order, to whoever is free."""
        helper = self._free.get()
        try:
            return helper.do(order, **values)
        finally:
            self._free.put(helper)

    def each(self, order: str, values: Iterable[dict[str, Any]]) -> Iterator[Any]:
        """The answers to an order with each of the values, in their order."""
        with ThreadPoolExecutor(len(self._all)) as pool:
            yield from pool.map(lambda v: self.do(order, **v), values)

    def end(self) -> None:
        """Ends them all."""
        for h in self._all:
            h.end()


@contextmanager
def helpers(folder: Path, environments: Sequence[Mapping[str, str]] = ({}, {})) -> Iterator[Helpers]:
    """Workers for the length of the block."""
    made = Helpers(folder, environments)
    try:
        yield made
    finally:
        made.end()


@contextmanager
def helper_at(folder: Path, environment: Mapping[str, str]) -> Iterator[Helper]:
    """One worker of its own for the length of the block."""
    library(folder.parent)
    helper = Helper(folder, **environment)
    try:
        yield helper
    finally:
        helper.end()
