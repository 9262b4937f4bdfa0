"""Kills by chance, told by a seed: of a process at one of its calls, of the command at some moment.

What belongs here: one case of each, for tests and soak. What does not: how many (`test_kills.py`, `soak.py`).
"""

from __future__ import annotations

import random
import time
from pathlib import Path

from usage_stats_dagster_tests.crash.cases import faults_of, prepare
from usage_stats_dagster_tests.crash.commands import start
from usage_stats_dagster_tests.crash.worker import replace_tree
from usage_stats_dagster_tests.crash.workers import Helper, Helpers, WorkerDiedError
from usage_stats_dagster_tests.crash.worlds import WORLDS

CALLS = 300
"""A run of the worlds makes between 60 and so many calls."""

LONGEST = 4.0
"""Seconds that a command takes, about."""


def kill_at_calls(workers: Helpers, folder: Path, seed: int) -> list[str]:
    """A run is killed at a call, the next one too, the third recovers; gives what is wrong then."""
    dice = random.Random(seed)
    made = prepare(workers, dice.choice(list(WORLDS)), folder)
    world = folder / "killed"
    replace_tree(made.start, world)
    where = [made.world]
    for _ in range(2):
        at, half = dice.randrange(1, CALLS), dice.random() < 0.5
        # A loop would do, but a world whose run makes fewer calls than that is a case too: nothing is left to recover.
        helper = Helper(folder / "helper")
        try:
            helper.do("run_killed", world=made.world, folder=str(world), at=at, half=half)
            where.append(f"not killed at {at}")
        except WorkerDiedError as e:
            where.append(f"killed at call {at}{' in its middle' if half else ''} ({e.code})")
        finally:
            helper.end()
    faults = faults_of(workers.do("recover", world=made.world, copy=str(world)), made)
    return [f"seed {seed}, {', '.join(where)}: {f}" for f in faults]


def kill_at_moments(workers: Helpers, folder: Path, seed: int) -> list[str]:
    """The command, with or without Dagster, is killed at a few moments; gives what is wrong after the next run."""
    dice = random.Random(seed)
    made = prepare(workers, dice.choice(list(WORLDS)), folder)
    world = folder / "killed"
    replace_tree(made.start, world)
    days = ["--from", str(made.days[0]), "--to", str(made.days[1])] if made.days else []
    where = [made.world]
    for _ in range(2):
        plain = dice.random() < 0.7
        seconds = dice.uniform(0.3, LONGEST if plain else 2 * LONGEST)
        process = start(world, "run", *days, *(["--plain"] if plain else []))
        time.sleep(seconds)
        process.kill()
        process.communicate()
        where.append(f"{'plain ' if plain else ''}run killed after {seconds:.2f} s")
    faults = faults_of(workers.do("recover", world=made.world, copy=str(world)), made)
    return [f"seed {seed}, {', '.join(where)}: {f}" for f in faults]
