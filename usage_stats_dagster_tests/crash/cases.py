"""One world, disturbed at every point: the cases and what is wrong with each.

What belongs here: putting worlds, workers and states together, for tests and soak. What does not: which worlds, how often.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from usage_stats_dagster_tests.crash.states import State
from usage_stats_dagster_tests.crash.worker import state_from
from usage_stats_dagster_tests.crash.workers import Helpers
from usage_stats_dagster_tests.crash.worlds import WORLDS


@dataclass(frozen=True)
class Prepared:
    """A world before the run that is disturbed, and its states before and after an undisturbed one."""

    world: str
    start: Path
    old: State
    new: State

    @property
    def days(self) -> tuple[date, date] | None:
        """The days that its run is of."""
        return WORLDS[self.world].days


def prepare(workers: Helpers, world: str, folder: Path) -> Prepared:
    """Makes the world below the folder."""
    start = folder / "start"
    states = workers.do("prepare", world=world, start=str(start))
    return Prepared(world, start, state_from(states["old"]), state_from(states["new"]))


def killed_everywhere(
    workers: Helpers, made: Prepared, folder: Path, *, every_call: bool = False, sample: int | None = None
) -> Iterator[tuple[str, list[str]]]:
    """For every state that a kill can leave: where, and what is wrong with it or after the next run (nothing, it should be).

    With `sample`, for so many of them, spread over the run.
    """
    copied = workers.do(
        "copies", world=made.world, start=str(made.start), into=str(folder / "copies"), every_call=every_call
    )
    yield "undisturbed", state_from(copied["state"]).differences(made.new)
    copies = copied["copies"]
    if sample is not None and sample < len(copies):
        copies = [copies[n * len(copies) // sample] for n in range(sample)]
    orders = [{"world": made.world, "copy": copy} for _, copy in copies]
    for (where, _), found in zip(copies, workers.each("recover", orders), strict=True):
        yield where, faults_of(found, made)


def faults_of(found: dict, made: Prepared) -> list[str]:
    """What a reader saw half, what the next run left otherwise than an undisturbed one, and what a run after it did."""
    faults = [f"a reader: {f}" for f in state_from(found["seen"]).half_seen(made.old, made.new)]
    faults += [f"after the next run: {f}" for f in state_from(found["state"]).differences(made.new)]
    lasting = made.old.lake.keys() & made.new.lake.keys()
    faults += [f"readers missed {p} while the next run was at work" for p in found["removed"] if p in lasting]
    faults += [f"the accounting does not close: {s}" for s in found["open_sums"]]
    if found["again"]:
        faults.append(f"the run after the next one had something to do: {found['again']}")
    return faults
