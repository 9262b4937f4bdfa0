"""A process that runs pipelines with the library preloaded: told what to do by lines on its standard input.

What belongs here: the work itself (run, run and copy at every point, be killed, recover). What does not: judging it.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

from usage_stats_dagster.cli.failures import failures
from usage_stats_dagster.cli.output import explained
from usage_stats_dagster.pipeline.account import account
from usage_stats_dagster.pipeline.run import RunReport, run
from usage_stats_dagster.pipeline.workspace import Workspace
from usage_stats_dagster.settings import load_settings
from usage_stats_dagster_tests.crash.places import Place, as_in_a_new_process
from usage_stats_dagster_tests.crash.points import GO_ON, Copies, Handler, Points, failing, killing
from usage_stats_dagster_tests.crash.states import LAKE, State
from usage_stats_dagster_tests.crash.worlds import BOTH, WORLDS, World, inside, other_rules


def one_run(days: tuple[date, date] | None) -> RunReport:
    """A run in the working folder as a process of its own would do it, the closing of its files included."""
    first, last = days or (None, None)
    ws = Workspace(load_settings())
    try:
        return run(ws, first=first, last=last)
    finally:
        del ws
        as_in_a_new_process()
        gc.collect()
        gc.freeze()  # what is alive now are modules and caches: looking through them costs more than the run


class Worker:
    """Works in `world` below its folder, and where its environment says that lake and index lie."""

    def __init__(self, folder: Path) -> None:
        self.world_folder = folder / "world"
        self.place = Place.here()

    def prepare(self, world: str, start: str) -> dict[str, Any]:
        """Makes the world as the disturbed run finds it in `start`; gives the state before and after an undisturbed run."""
        w = WORLDS[world]
        folder = self.world_folder
        self.place.clear(folder)
        if w.before is not None:
            w.before(folder)
            with inside(folder):
                one_run(None)
        w.change(folder)
        for what in w.loses:
            self.place.lose(folder, what)
        old = self.place.state(folder)
        self.place.keep(folder, Path(start))
        with inside(folder):
            one_run(w.days)
        return {"old": asdict_of(old), "new": asdict_of(self.place.state(folder))}

    def copies(self, world: str, start: str, into: str, every_call: bool = False) -> dict[str, Any]:
        """Runs it once and copies the world at every point."""
        self.place.put_back(Path(start), self.world_folder)
        handler = Copies(self.place, self.world_folder, Path(into), every_call=every_call)
        with self._shown(self.world_folder, handler):
            one_run(WORLDS[world].days)
        return {
            "points": handler.points,
            "copies": [(name, str(path)) for name, path in handler.made],
            "state": asdict_of(self.place.state(self.world_folder)),
        }

    def put_back(self, copy: str, folder: str) -> None:
        """The world as it was kept, in the folder."""
        self.place.put_back(Path(copy), Path(folder))

    def run_killed(self, world: str, folder: str, at: int, half: bool = False) -> dict[str, Any]:
        """Runs it in place and dies at that point; comes back when there is no such point."""
        self.place.time_passes()
        with self._shown(Path(folder), killing(at, half=half)):
            one_run(WORLDS[world].days)
        return {"alive": True}

    def look(self, folder: str) -> dict[str, Any]:
        """The state of the world in the folder, once dead processes' leases have run out."""
        self.place.time_passes()
        return asdict_of(self.place.state(Path(folder)))

    def recover(self, world: str, copy: str | None = None, folder: str | None = None) -> dict[str, Any]:
        """What a reader sees (in the copy, if there is one), then the state after running it to its end, and after nothing-new runs."""
        where = Path(folder) if folder else self.world_folder
        if copy is not None:
            self.place.put_back(Path(copy), where)
        else:
            self.place.time_passes()
        seen = self.place.state(where)
        return {"seen": asdict_of(seen), **self._finish(WORLDS[world], where)}

    def flip(self, folder: str, start: str | None, times: int) -> dict[str, Any]:
        """Makes the days of the world in that folder by two sets of rules in turn, under the eyes of readers; gives both states."""
        where = Path(folder)
        if start is not None:
            self.place.put_back(Path(start), where)
        states = []
        with inside(where):
            for n in range(max(2, times)):
                other_rules(where, n)
                one_run(BOTH)
                states = [*states, self.place.state(where)][-2:]
        return {"states": [asdict_of(s) for s in states]}

    def _finish(self, w: World, folder: Path) -> dict[str, Any]:
        removed: list[str] = []

        def noted(what: str, path: str, is_half: bool) -> int:
            del is_half
            if what == "remove":
                removed.append(os.path.relpath(path, folder / LAKE))
            return GO_ON

        with inside(folder), Points(folder, noted):
            one_run(w.days)
        with inside(folder):
            state = self.place.state(folder)
            again = one_run(None)
            # In a folder the oracle's tests see to it.
            open_sums = account(Workspace(load_settings())).open_sums if self.place.is_elsewhere else []
        return {
            "state": asdict_of(state),
            "again": [s.table for s in again.stages] + [p.action for p in again.imports.paths],
            "open_sums": open_sums,
            "removed": removed,
        }

    def full_disk(
        self, world: str, start: str, at: int, code: int, half: bool = False, runs: int = 1
    ) -> dict[str, Any]:
        """Runs it on a disk that is full from that point on, once or several times; then with room again."""
        self.place.put_back(Path(start), self.world_folder)
        failure: str | None = None
        for _ in range(runs):
            with self._shown(self.world_folder, failing(at, code, half=half)):
                try:
                    one_run(WORLDS[world].days)
                except failures() as e:  # what the command line answers with; anything else is a defect
                    failure = explained(e)
        seen = self.place.state(self.world_folder)
        return {"failure": failure, "seen": asdict_of(seen), **self._finish(WORLDS[world], self.world_folder)}

    @contextmanager
    def _shown(self, folder: Path, handler: Handler) -> Iterator[None]:
        """In the folder, each point of what is done shown to the handler."""
        with inside(folder), Points(folder, handler) as points, self.place.watched(points.request):
            yield


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
