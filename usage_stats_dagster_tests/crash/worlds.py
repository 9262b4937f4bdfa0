"""Little worlds in which a run is disturbed: what was there before, what changed, and which run follows.

What belongs here: logs, settings and the run's dates. What does not: disturbing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

from usage_stats_dagster_tests.platforms import PDF, line

FIRST, SECOND = date(2025, 3, 1), date(2025, 3, 2)

SETTINGS = """
[platform]
grace_seconds = 0
[[sites]]
id = 1
platform = "dspace"
url = "https://repo.example.org"
grain = "{grain}"
[[sites]]
id = 2
platform = "dspace"
url = "https://other.example.org"
[rules]
double_click_seconds = {seconds}
store_ips = {store_ips}
"""


INDEX = "index"
MADE_OF_HITS = ("visits", "events", "metrics", "documents")


@dataclass(frozen=True)
class World:
    """`before` makes logs that are run first (None: nothing was there); `change` is what the disturbed run finds, without
    what it `loses`: tables of the lake, or the whole index."""

    name: str
    before: Callable[[Path], None] | None
    change: Callable[[Path], None]
    days: tuple[date, date] | None = None
    loses: tuple[str, ...] = ()


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    """The working folder, as for a user's command: all paths of a world are relative, so that it can be moved."""
    home = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(home)


def settle(folder: Path, *, grain: str = "day", seconds: int = 30, store_ips: bool = False) -> None:
    """Writes the settings. Each of them changes another table first: documents, metrics, hits."""
    values = {"grain": grain, "seconds": seconds, "store_ips": str(store_ips).lower()}
    (folder / "usage_stats.toml").write_text(SETTINGS.format(**values))


def other_rules(folder: Path, n: int) -> None:
    """Settings of the n-th time: each day's tables differ from those of the time before."""
    settle(folder, seconds=9 if n % 2 else 30, store_ips=bool(n % 2))


def log(folder: Path, name: str, lines: Iterable[str], site: int = 1) -> None:
    """Writes a log of a site."""
    path = folder / "logs" / str(site) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{x}\n" for x in lines))


def visits(day: date, seconds: Iterable[int], ip: str = "192.0.2.7") -> list[str]:
    """Lines of one visitor, an item's page and its file in turn."""
    midnight = datetime(day.year, day.month, day.day)
    return [
        line(midnight + timedelta(seconds=s), PDF if n % 2 else "/handle/1/1", ip=ip) for n, s in enumerate(seconds)
    ]


def _day(folder: Path) -> None:
    settle(folder)
    log(folder, "a.log", [*visits(FIRST, (40_000, 40_010, 40_045)), "192.0.2.9 is no log line"])


def _over_midnight(folder: Path) -> None:
    """Two days of one site, double clicks between them, and another site."""
    settle(folder)
    log(folder, "a.log", visits(FIRST, (40_000, 40_010, 86_380, 86_395)) + visits(SECOND, (5, 15, 3_000)))
    log(folder, "b.log", visits(FIRST, (100, 200), ip="2001:db8::7"), site=2)


def _second_site(folder: Path) -> None:
    """Another site's first log, and one more of the first site."""
    log(folder, "b.log", visits(FIRST, (100, 200), ip="2001:db8::7"), site=2)
    log(folder, "b.log", visits(SECOND, (100, 200)), site=1)


def _grown(folder: Path) -> None:
    """The log was shorter than its fingerprint, and gets lines of the day and of the next."""
    short = [*visits(FIRST, (40_000, 40_010, 40_045)), "192.0.2.9 is no log line"]
    log(folder, "a.log", [*short, *visits(FIRST, range(50_000, 50_600, 60)), *visits(SECOND, (2, 4_000))])


def _late(folder: Path) -> None:
    """A second server's log of a day that is done, double clicks with the day before included."""
    log(folder, "late.log", visits(SECOND, (3, 10, 70_000, 70_020)))


def _month(folder: Path) -> None:
    _over_midnight(folder)
    settle(folder, grain="month")


def _rules(folder: Path) -> None:
    settle(folder, seconds=9)


def _nothing(folder: Path) -> None:
    """Only what lies in lake and index changes."""


BOTH = (FIRST, SECOND)

WORLDS = {
    w.name: w
    for w in (
        World("first_import", None, _day),
        World("two_sites", _day, _second_site),
        World("two_sites_anew", settle, _over_midnight),
        World("growth", _day, _grown),
        World("late_log", _over_midnight, _late),
        World("late_log_in_a_month", _month, _late),
        World("day_to_month", _over_midnight, _month, BOTH),
        World("other_rules", _over_midnight, _rules, BOTH),
        World("lost_tables", _over_midnight, _nothing, BOTH, loses=MADE_OF_HITS),
        World("new_index", _over_midnight, _nothing, BOTH, loses=(INDEX,)),
    )
}
