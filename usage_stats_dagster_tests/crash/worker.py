"""A process that runs pipelines with the library preloaded: told what to do by lines on its standard input.

What belongs here: the work itself (run, run and copy at every point, be killed, recover). What does not: judging it.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import sys
import traceback
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

from usage_stats_dagster.cli.failures import failures
from usage_stats_dagster.cli.output import explained
from usage_stats_dagster.pipeline.run import RunReport, run
from usage_stats_dagster.pipeline.workspace import Workspace
from usage_stats_dagster.settings import load_settings
from usage_stats_dagster_tests.crash.points import Copies, Points, failing, killing
from usage_stats_dagster_tests.crash.states import State, state_of
from usage_stats_dagster_tests.crash.worlds import BOTH, WORLDS, World, inside, settle


def one_run(days: tuple[date, date] | None) -> RunReport:
    """A run in the working folder as a process of its own would do it, the closing of its files included."""
    first, last = days or (None, None)
    ws = Workspace(load_settings())
    try:
        return run(ws, first=first, last=last)
    finally:
        del ws
        gc.collect()
        gc.freeze()  # what is alive now are modules and caches: looking through them costs more than the run


def replace_tree(source: Path, target: Path) -> None:
    """Makes the target a copy of the source."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)


class Worker:
    """Works in `world` below its folder; worlds are copied in and out."""

    def __init__(self, folder: Path) -> None:
        self.world_folder = folder / "world"

    def prepare(self, world: str, start: str) -> dict[str, Any]:
        """Makes the world as the disturbed run finds it in `start`; gives the state before and after an undisturbed run."""
        w = WORLDS[world]
        folder = self.world_folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        if w.before is not None:
            w.before(folder)
            with inside(folder):
                one_run(None)
        w.change(folder)
        old = state_of(folder)
        replace_tree(folder, Path(start))
        with inside(folder):
            one_run(w.days)
        return {"old": asdict_of(old), "new": asdict_of(state_of(folder))}

    def copies(self, world: str, start: str, into: str, every_call: bool = False) -> dict[str, Any]:
        """Runs it once and copies the folder at every point."""
        replace_tree(Path(start), self.world_folder)
        handler = Copies(self.world_folder, Path(into), every_call=every_call)
        with inside(self.world_folder), Points(self.world_folder, handler):
            one_run(WORLDS[world].days)
        return {
            "points": handler.points,
            "copies": [(name, str(path)) for name, path in handler.made],
            "state": asdict_of(state_of(self.world_folder)),
        }

    def run_killed(self, world: str, folder: str, at: int, half: bool = False) -> dict[str, Any]:
        """Runs it in place and dies at that point; comes back when there is no such point."""
        with inside(Path(folder)), Points(Path(folder), killing(at, half=half)):
            one_run(WORLDS[world].days)
        return {"alive": True}

    def recover(self, world: str, copy: str) -> dict[str, Any]:
        """What a reader sees in the copy, then the state after running it to its end, and after nothing-new runs."""
        replace_tree(Path(copy), self.world_folder)
        seen = state_of(self.world_folder)
        return {"seen": asdict_of(seen), **self._finish(WORLDS[world])}

    def flip(self, world: str, start: str | None, times: int) -> dict[str, Any]:
        """Makes the days of the world in that folder by two sets of rules in turn, under the eyes of readers; gives both states."""
        folder = Path(world)
        if start is not None:
            replace_tree(Path(start), folder)
        states = []
        with inside(folder):
            for n in range(max(2, times)):
                settle(folder, seconds=9 if n % 2 else 30, store_ips=bool(n % 2))
                one_run(BOTH)
                states = [*states, state_of(folder)][-2:]
        return {"states": [asdict_of(s) for s in states]}

    def _finish(self, w: World) -> dict[str, Any]:
        with inside(self.world_folder):
            one_run(w.days)
            state = state_of(self.world_folder)
            again = one_run(None)
        return {
            "state": asdict_of(state),
            "again": [s.table for s in again.stages] + [p.action for p in again.imports.paths],
        }

    def full_disk(
        self, world: str, start: str, at: int, code: int, half: bool = False, runs: int = 1
    ) -> dict[str, Any]:
        """Runs it on a disk that is full from that point on, once or several times; then with room again."""
        replace_tree(Path(start), self.world_folder)
        failure: str | None = None
        for _ in range(runs):
            with inside(self.world_folder), Points(self.world_folder, failing(at, code, half=half)):
                try:
                    one_run(WORLDS[world].days)
                except failures() as e:  # what the command line answers with; anything else is a defect
                    failure = explained(e)
        seen = state_of(self.world_folder)
        return {"failure": failure, "seen": asdict_of(seen), **self._finish(WORLDS[world])}


def asdict_of(state: State) -> dict[str, Any]:
    """A state as JSON takes it."""
    return {**asdict(state), "index": [[*key, value] for key, value in state.index.items()]}


def state_from(values: dict[str, Any]) -> State:
    """The state out of JSON."""
    return State(**{**values, "index": {(site, day): v for site, day, v in values["index"]}})


def main() -> None:
    """Answers each line of standard input with a line on what was standard output."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = Worker(Path(sys.argv[1]))
    for told in sys.stdin:
        order = json.loads(told)
        try:
            answer = {"ok": getattr(worker, order.pop("do"))(**order)}
        except BaseException:
            answer = {"error": traceback.format_exc()}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
