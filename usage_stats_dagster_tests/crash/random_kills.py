"""Kills by chance, told by a seed: of a process at one of its calls, of the command at some moment, under readers' eyes.

What belongs here: one case of each, for tests and soak. What does not: how many (`test_kills.py`, `soak.py`).
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from usage_stats_dagster_tests.crash.cases import Prepared, faults_of, prepare
from usage_stats_dagster_tests.crash.commands import environment, start
from usage_stats_dagster_tests.crash.workers import Helper, Helpers, WorkerDiedError, helper_at
from usage_stats_dagster_tests.crash.worlds import WORLDS, other_rules

CALLS = {False: 300, True: 120}
"""A run of the worlds makes at most so many calls; True: where it makes them to services."""

LONGEST = 4.0
"""Seconds that a command takes, about."""


def kill_at_calls(workers: Helpers, folder: Path, seed: int, place: Mapping[str, str]) -> list[str]:
    """A run is killed at a call, the next one too, the third recovers; gives what is wrong then."""
    dice = random.Random(seed)
    made = prepare(workers, dice.choice(list(WORLDS)), folder)
    with helper_at(folder / "witness", place) as witness:
        world = _put(witness, made, folder)
        where = [made.world]
        for _ in range(2):
            where.append(_killed_run(made.world, world, dice, place))
        faults = faults_of(witness.do("recover", world=made.world, folder=str(world)), made)
    return [f"seed {seed}, {', '.join(where)}: {f}" for f in faults]


def kill_at_moments(workers: Helpers, folder: Path, seed: int, place: Mapping[str, str]) -> list[str]:
    """The command, with or without Dagster, is killed at a few moments; gives what is wrong after the next run."""
    dice = random.Random(seed)
    made = prepare(workers, dice.choice(list(WORLDS)), folder)
    days = ["--from", str(made.days[0]), "--to", str(made.days[1])] if made.days else []
    with helper_at(folder / "witness", place) as witness:
        world = _put(witness, made, folder)
        where = [made.world]
        for _ in range(2):
            plain = dice.random() < 0.7
            seconds = dice.uniform(0.3, LONGEST if plain else 2 * LONGEST)
            process = start(world, "run", *days, *(["--plain"] if plain else []), **place)
            time.sleep(seconds)
            process.kill()
            process.communicate()
            where.append(f"{'plain ' if plain else ''}run killed after {seconds:.2f} s")
            witness.do("look", folder=str(world))
        faults = faults_of(witness.do("recover", world=made.world, folder=str(world)), made)
    return [f"seed {seed}, {', '.join(where)}: {f}" for f in faults]


def kill_under_readers(
    workers: Helpers, folder: Path, seed: int, place: Mapping[str, str], times: int = 3
) -> list[str]:
    """Days are made by two sets of rules in turn, each run is killed and then made whole; gives what readers saw half."""
    dice = random.Random(seed)
    made = prepare(workers, "other_rules", folder)
    with helper_at(folder / "witness", place) as witness:
        world = _put(witness, made, folder)
        witness.do("flip", folder=str(world), start=None, times=0)
        reader = subprocess.Popen(
            [sys.executable, "-m", "usage_stats_dagster_tests.crash.reader", str(world)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment() | dict(place),
        )  # fmt: skip
        where = []
        for n in range(times):
            other_rules(world, n)
            where.append(_killed_run(made.world, world, dice, place))
            found = witness.do("recover", world=made.world, folder=str(world))
            where += [f"after the next run: {f}" for f in found["again"]]
        out, _ = reader.communicate("")
    seen = json.loads(out)
    faults = [f"{what}: {len(found)} different ones" for what, found in seen.items() if len(found) > 2]
    if reader.returncode or min(sum(found.values()) for found in seen.values()) < times:
        faults.append(f"the reader ended with {reader.returncode}, it looked {seen}")
    if not any(len(found) == 2 for found in seen.values()):
        faults.append(f"nothing changed under the reader's eyes: {seen}")
    return [f"seed {seed}, {', '.join(where)}: {f}" for f in faults]


def _put(witness: Helper, made: Prepared, folder: Path) -> Path:
    """The world as the disturbed runs find it, where the witness works."""
    world = folder / "killed"
    witness.do("put_back", copy=str(made.start), folder=str(world))
    return world


def _killed_run(name: str, world: Path, dice: random.Random, place: Mapping[str, str]) -> str:
    """A run that is killed at a call by chance; says where."""
    at, half = dice.randrange(1, CALLS[bool(place)]), dice.random() < 0.5
    with helper_at(world.parent / "helper", place) as helper:
        try:
            helper.do("run_killed", world=name, folder=str(world), at=at, half=half)
        except WorkerDiedError as e:
            return f"killed at call {at}{' in its middle' if half else ''} ({e.code})"
    return (
        f"not killed at {at}"  # a world whose run makes fewer calls than that is a case too: nothing is left to recover
    )
