"""Crash tests for as long as asked, with fresh seeds: `python -m usage_stats_dagster_tests.crash.soak SECONDS`.

What belongs here: choosing cases until the time is up, and telling of the first that fails. What does not: the cases.
"""

from __future__ import annotations

import errno
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from usage_stats_dagster_tests.crash.cases import faults_of, killed_everywhere, prepare
from usage_stats_dagster_tests.crash.random_kills import kill_at_calls, kill_at_moments
from usage_stats_dagster_tests.crash.workers import Helpers, helpers
from usage_stats_dagster_tests.crash.worlds import WORLDS

CODES = (errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT)


def kill_everywhere(workers: Helpers, folder: Path, seed: int) -> list[str]:
    """Every single call of a world's run, each page of SQLite and each half of a write."""
    world = random.Random(seed).choice(list(WORLDS))
    made = prepare(workers, world, folder)
    return [
        f"seed {seed}, {world}, {where}: {f}"
        for where, faults in killed_everywhere(workers, made, folder, every_call=True)
        for f in faults
    ]


def failing_disk(workers: Helpers, folder: Path, seed: int) -> list[str]:
    """A disk that fails from some points on, in some way."""
    dice = random.Random(seed)
    world = dice.choice(list(WORLDS))
    made = prepare(workers, world, folder)
    faults = []
    for _ in range(10):
        order = {"at": dice.randrange(1, 100), "code": dice.choice(CODES), "half": dice.random() < 0.5}
        found = workers.do("full_disk", world=world, start=str(made.start), **order)
        faults += [f"seed {seed}, {world}, {order}: {f}" for f in faults_of(found, made)]
    return faults


CASES = (kill_at_calls, kill_at_moments, failing_disk, kill_everywhere)


def main(seconds: float, first_seed: int | None = None) -> int:
    """Tries cases until the time is up; returns 1 at the first fault, told with its seed, else 0."""
    seed = random.SystemRandom().randrange(1 << 32) if first_seed is None else first_seed
    end = time.monotonic() + seconds
    tried: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="crash-soak-") as base, helpers(Path(base)) as workers:
        while time.monotonic() < end:
            case = CASES[seed % len(CASES)]
            folder = Path(base) / "case"
            faults = case(workers, folder, seed)
            shutil.rmtree(folder, ignore_errors=True)
            tried[case.__name__] += 1
            if faults:
                print(f"after {dict(tried)}, {case.__name__}:", *faults, sep="\n  ")
                print(f"once more: python -m {__spec__.name} 1 {seed}")
                return 1
            seed += 1
    print(f"no fault in {dict(tried)}; the last seed was {seed - 1}")
    return 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None))
