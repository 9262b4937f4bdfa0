"""A world and a delivery on a real platform in a folder.

What belongs here: carrying a delivery out and checking the platform after its runs. What does not: drawing worlds and
deliveries, the comparison itself.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache, partial
from pathlib import Path
from types import ModuleType

import sqlalchemy as sa
import zstandard

from usage_stats_dagster.ledger.ledger import Ledger
from usage_stats_dagster.logs.read import ReadOptions
from usage_stats_dagster.pipeline import figures, one_log, stage, tracking
from usage_stats_dagster_tests.oracle.compare import differences
from usage_stats_dagster_tests.oracle.delivery import Delivery, Step
from usage_stats_dagster_tests.oracle.reading import readable
from usage_stats_dagster_tests.oracle.worlds import World, platform_settings
from usage_stats_dagster_tests.platforms import Platform

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": lambda b: gzip.compress(b, 1),
    "bz2": bz2.compress,
    "xz": lambda b: lzma.compress(b, preset=0),
    "zst": zstandard.compress,
}
WRITING_SECONDS = 3600
SHOWN_LINES = 400

on_failure: list[Callable[[Case, BaseException], None]] = []
"""Called with a case that failed, while its folder is still there."""


@dataclass
class Case:
    """A platform, and the places of each site's lines that have arrived there so far."""

    world: World
    delivery: Delivery
    platform: Platform
    arrived: dict[int, set[int]] = field(default_factory=dict)

    def carry_out(self, *, check_between: bool = False) -> None:
        """Each step and its run, and at the end a run over all; with `check_between` a look after every whole run."""
        halves: set[tuple[int, str]] = set()
        for step in self.delivery.steps:
            self._put(step)
            (halves.add if step.half else halves.discard)((step.idsite, step.name))
            self._run(step.run)
            if check_between and step.run in ("all", "again"):
                self.check(f"after: {step}", imported_only=bool(halves))
        self.platform.run()

    def check(self, when: str = "at the end", *, imported_only: bool = False) -> None:
        """Fails with the differences, settings, lines and steps, unless the platform has what the oracle expects."""
        lines = {s.id: [s.lines[n] for n in sorted(self.arrived.get(s.id, ()))] for s in self.world.sites}
        found = differences(self.platform, self.world, lines, imported_only=imported_only)
        if found:
            raise AssertionError("\n".join(["", *found, f"{when}; the case:", self.told()]))

    def told(self) -> str:
        """Settings, lines and steps, as somebody can read them."""
        said = [f"settings: {self.platform.settings.model_dump_json(exclude_defaults=True)}"]
        for site in self.world.sites:
            said += [f"site {site.id}:", *(f"  {n:>3} {line!r}" for n, line in enumerate(site.lines[:SHOWN_LINES]))]
        return "\n".join([*said, str(self.delivery)])

    def _put(self, step: Step) -> None:
        site = next(s for s in self.world.sites if s.id == step.idsite)
        content = b"".join(site.lines[n] + b"\n" for n in step.places)
        if step.half:
            content += site.lines[step.next_place][: step.half]
        self.platform.log(step.name, PACKERS.get(step.name.rpartition(".")[2], bytes)(content), step.idsite)
        if step.instead_of is not None:
            (self.platform.folder / "logs" / str(step.idsite) / step.instead_of).unlink()
        if any(readable(site.lines[n], site) for n in step.places):  # else it is nobody's log yet
            self.arrived.setdefault(step.idsite, set()).update(step.places)

    def _run(self, how: str) -> None:
        day, one, platform = self.world.day, timedelta(1), self.platform
        match how:
            case "all":
                platform.run()
            case "day":
                platform.run(day)
            case "day before":
                platform.run(day - one)
            case "range":
                platform.run(day - 2 * one, day + 2 * one)
            case "again":
                platform.run()
                before = platform.files("metrics", "documents")
                platform.run(day - one, day + one)
                again = platform.run()
                assert not again.stages, f"a run with nothing new worked on {again.days}\n{self.told()}"
                assert platform.files("metrics", "documents") == before, f"a re-run changed bytes\n{self.told()}"


@cache
def _new_ledger() -> bytes:
    """An empty ledger: its migrations cost as much as a site's day."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.db"
        Ledger(f"sqlite:///{path}").rows(sa.select(sa.literal(1)))
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        return path.read_bytes()


@contextmanager
def cut_small(lines: int) -> Iterator[None]:
    """A log of so many lines is several blocks, its hits several shares and buckets of visitors; site-days are made alone."""
    small: list[tuple[ModuleType, str, object]] = [
        (one_log, "ReadOptions", partial(ReadOptions, block_bytes=300 + 25 * lines)),
        (tracking, "SHARE_HITS", 1 + lines // 10),
        (tracking, "BUCKET_HITS", 1 + lines // 25),
        (figures, "BUCKET_EVENTS", 1 + lines // 8),
        (stage, "SMALL_ROWS", 1),
    ]
    before = [(module, name, getattr(module, name)) for module, name, _ in small]
    try:
        for module, name, value in small:
            setattr(module, name, value)
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


@contextmanager
def case(world: World, delivery: Delivery) -> Iterator[Case]:
    """On a new platform, in a folder that is gone afterwards (in memory where there is such a place)."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="world-", dir=memory if memory.is_dir() else None))
    grace = WRITING_SECONDS if delivery.has_halves else 0
    it = Case(world, delivery, Platform.make(folder, **platform_settings(world, grace_seconds=grace)))
    try:
        (folder / "ledger.db").write_bytes(_new_ledger())
        (folder / "visitor.key").write_bytes(b"one key for all worlds")
        yield it
    except BaseException as e:
        for tell in on_failure:
            tell(it, e)
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
