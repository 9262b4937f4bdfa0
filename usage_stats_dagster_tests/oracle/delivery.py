"""How a world's lines arrive: files, archives, growth, rotation, copies, and the runs in between.

What belongs here: deliveries as data, how they are drawn, carrying them out on a platform, and telling about them. What
does not: what must come out (`compare.py`).
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import zstandard

from usage_stats_dagster_tests.oracle.compare import differences
from usage_stats_dagster_tests.oracle.worlds import World, platform_settings
from usage_stats_dagster_tests.platforms import Platform

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": lambda b: gzip.compress(b, 1),
    ".bz2": bz2.compress,
    ".xz": lambda b: lzma.compress(b, preset=0),
    ".zst": zstandard.compress,
}


@dataclass(frozen=True)
class Step:
    """One thing that happens to a site's file, then a run, or none.

    The file holds the site's lines at these places, in this order, and the first `half` bytes of the one after them. It
    stands under `name` (which says how it is packed); a file of the name `instead_of` is gone after that.
    """

    idsite: int
    name: str
    places: tuple[int, ...]
    half: bytes = b""
    instead_of: str | None = None
    run: str = ""


@dataclass(frozen=True)
class Delivery:
    """Steps in order; after the last everything runs once more."""

    steps: tuple[Step, ...]


@dataclass
class Case:
    """A world and a delivery on a platform in a folder: what has arrived so far."""

    world: World
    platform: Platform
    arrived: dict[int, dict[str, list[bytes]]] = field(default_factory=dict)

    def carry_out(self, delivery: Delivery) -> None:
        """Each step, its run, and at the end a run over all."""
        for step in delivery.steps:
            self._put(step)
            self._run(step.run)
        self.platform.run()

    def _put(self, step: Step) -> None:
        site = next(s for s in self.world.sites if s.id == step.idsite)
        content = b"".join(site.lines[n] + b"\n" for n in step.places) + step.half
        pack = PACKERS.get("." + step.name.rpartition(".")[2], bytes)
        self.platform.log(step.name, pack(content), step.idsite)
        if step.instead_of is not None and step.instead_of != step.name:
            (self.platform.folder / "logs" / str(step.idsite) / step.instead_of).unlink()

    def _run(self, how: str) -> None:
        day = self.world.day
        match how:
            case "all":
                self.platform.run()
            case "day":
                self.platform.run(day)
            case "day before":
                self.platform.run(day - timedelta(1))
            case "range":
                self.platform.run(day - timedelta(2), day + timedelta(2))

    def told(self, delivery: Delivery) -> str:
        """The case as somebody can read it: settings, lines, what happened."""
        said = [f"settings: {self.world.settings()}"]
        for site in self.world.sites:
            said += [f"site {site.id}:", *(f"  {n:>3} {line!r}" for n, line in enumerate(site.lines))]
        said += [f"  {step}" for step in delivery.steps]
        return "\n".join(said)

    def check(self, delivery: Delivery, lines: dict[int, list[bytes]] | None = None) -> None:
        """The platform has what the oracle expects of the lines (all of the world's when not given)."""
        found = differences(self.platform, self.world, lines or {s.id: list(s.lines) for s in self.world.sites})
        assert not found, "\n".join(["", *found, self.told(delivery)])


def whole(world: World) -> Delivery:
    """All at once: one file a site."""
    return Delivery(tuple(Step(s.id, "access.log", tuple(range(len(s.lines)))) for s in world.sites))


@contextmanager
def case(world: World, **more: object) -> Iterator[Case]:
    """A new platform in a folder that is gone afterwards."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="world-", dir=memory if memory.is_dir() else None))
    try:
        yield Case(world, Platform.make(folder, **platform_settings(world, **more)))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
