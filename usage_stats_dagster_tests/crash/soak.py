"""Crash tests for as long as asked, with fresh seeds: `python -m usage_stats_dagster_tests.crash.soak SECONDS`.

What belongs here: choosing cases until the time is up, and telling of the first that fails. What does not: the cases.

Each case is tried with lake and index in a folder, in a bucket, in OpenSearch, in both: whatever this machine can start.
"""

from __future__ import annotations

import errno
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from usage_stats_dagster_tests.crash.cases import faults_of, killed_everywhere, prepare
from usage_stats_dagster_tests.crash.places import in_services
from usage_stats_dagster_tests.crash.random_kills import kill_at_calls, kill_at_moments, kill_under_readers
from usage_stats_dagster_tests.crash.workers import Helpers, helpers
from usage_stats_dagster_tests.crash.worlds import WORLDS
from usage_stats_dagster_tests.opensearch_server import opensearch_url
from usage_stats_dagster_tests.s3_server import S3Server, s3_server

CODES = (errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT)


def kill_everywhere(workers: Helpers, folder: Path, seed: int, place: Mapping[str, str]) -> list[str]:
    """Every call of a world's run; in a folder each page of SQLite and each half of a write too."""
    world = random.Random(seed).choice(list(WORLDS))
    made = prepare(workers, world, folder)
    tried = dict(killed_everywhere(workers, made, folder, every_call=not place))
    states[bool(place)] += len(tried)
    return [f"seed {seed}, {world}, {where}: {f}" for where, faults in tried.items() for f in faults]


states: Counter[bool] = Counter()
"""How many states of `kill_everywhere` were recovered, without services and with."""


def failing_disk(workers: Helpers, folder: Path, seed: int, place: Mapping[str, str]) -> list[str]:
    """A disk that fails from some points on, in some way."""
    dice = random.Random(seed)
    world = dice.choice(list(WORLDS))
    made = prepare(workers, world, folder)
    faults = []
    for _ in range(3 if place else 10):
        order = {"at": dice.randrange(1, 40 if place else 100), "code": dice.choice(CODES), "half": dice.random() < 0.5}
        found = workers.do("full_disk", world=world, start=str(made.start), **order)
        faults += [f"seed {seed}, {world}, {order}: {f}" for f in faults_of(found, made)]
    return faults


Case = Callable[[Helpers, Path, int, Mapping[str, str]], list[str]]
CASES: tuple[Case, ...] = (kill_at_calls, kill_everywhere, kill_at_moments, failing_disk, kill_under_readers)


@dataclass
class Kind:
    """Where lake and index lie; workers are started when they are first needed."""

    name: str
    s3: S3Server | None = None
    opensearch: str | None = None
    _workers: Helpers | None = field(default=None, repr=False)

    def place(self) -> dict[str, str]:
        """The environment of a new one."""
        return in_services(self.s3, self.opensearch)

    def workers(self, folder: Path, stack: ExitStack) -> Helpers:
        """For cases of this kind."""
        if self._workers is None:
            self._workers = stack.enter_context(helpers(folder / self.name, [self.place(), self.place()]))
        return self._workers


@contextmanager
def kinds(folder: Path) -> Iterator[list[Kind]]:
    """All kinds that this machine has the servers for."""
    with ExitStack() as stack:
        found = [Kind("folder")]
        s3 = opensearch = None
        try:
            s3 = stack.enter_context(contextmanager(s3_server)(folder / "s3"))
            found.append(Kind("bucket", s3))
        except pytest.skip.Exception as e:
            print(f"without a bucket: {e.msg}", flush=True)
        try:
            opensearch = stack.enter_context(opensearch_url())
            found.append(Kind("opensearch", None, opensearch))
        except pytest.skip.Exception as e:
            print(f"without an OpenSearch: {e.msg}", flush=True)
        if s3 is not None and opensearch is not None:
            found.append(Kind("bucket-and-opensearch", s3, opensearch))
        yield found


def main(seconds: float, first_seed: int | None = None) -> int:
    """Tries cases until the time is up; returns 1 at the first fault, told with its seed, else 0."""
    seed = random.SystemRandom().randrange(1 << 32) if first_seed is None else first_seed
    tried: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="crash-soak-") as base, ExitStack() as stack:
        (Path(base) / "s3").mkdir()
        every = stack.enter_context(kinds(Path(base)))
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            kind, case = every[seed % len(every)], CASES[seed // len(every) % len(CASES)]
            folder = Path(base) / "case"
            faults = case(kind.workers(Path(base), stack), folder, seed, kind.place())
            shutil.rmtree(folder, ignore_errors=True)
            tried[f"{case.__name__} in {kind.name}"] += 1
            if faults:
                print(f"after {dict(tried)}, {case.__name__}:", *faults, sep="\n  ")
                print(f"once more: python -m {__spec__.name} 1 {seed}")
                return 1
            seed += 1
    print(f"no fault in {sum(tried.values())} cases: {dict(tried)}")
    print(
        f"states recovered one by one: {states[False]} in a folder, {states[True]} in services; the last seed was {seed - 1}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None))
