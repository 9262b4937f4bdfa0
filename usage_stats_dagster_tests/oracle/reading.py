"""A line of a log, read alone: its outcome, its day, and the hit if it is one.

Written from design.md 3 and SEMANTICS.md 1 and 2. What does not belong here: other lines.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime

from usage_stats_dagster_tests.oracle import known, urls
from usage_stats_dagster_tests.oracle.worlds import Site, World

_FIELD = r'(?:[^"\\]|\\.)*'
_LINE = re.compile(
    rf'(?P<ip>\S+) \S+ \S+ \[(?P<time>[^\]]+)\] "(?P<method>[^\s"]+) (?P<path>{_FIELD}) [^\s"]+" '
    rf'(?P<status>\d{{3}}) \S+ "(?P<referrer>{_FIELD})" "(?P<agent>{_FIELD})"'
)


@dataclass(frozen=True)
class Hit:
    """A line that asks for content."""

    time: datetime
    day: date
    visitor: tuple[str, str]
    network: str
    country: str
    agent: str
    robot: bool
    path: str
    referrer: str | None
    method: str
    status: int
    action_type: int


@dataclass(frozen=True)
class Reading:
    """What a line came to; `day` is None where it says no date."""

    outcome: str
    day: date | None
    hit: Hit | None = None


def read(line: bytes, site: Site, world: World) -> Reading:
    """One line of the site."""
    found = _LINE.match(line.decode("utf-8", "backslashreplace").removesuffix("\r"))
    if found is None:
        return Reading("invalid", None)
    time = _time(found["time"])
    day = time.astimezone(world.zone).date() if time else None
    path, status = found["path"], int(found["status"])
    if 400 <= status <= 599:
        return Reading("http_error", day)
    if 300 <= status <= 399 and status != 304:
        return Reading("http_redirect", day)
    if site.exclude is not None and re.search(site.exclude, path):
        return Reading("excluded", day)
    if urls.is_static(path):
        return Reading("static", day)
    if time is None or day is None:
        return Reading("invalid", None)
    if known.SPAM in found["referrer"].lower():
        return Reading("spam_referrer", day)
    if day < world.start:
        return Reading("outside_day", day)
    address, network, country = known.ADDRESSES[found["ip"]]
    referrer = None if found["referrer"] in ("", "-") else found["referrer"]
    agent = found["agent"]
    kind = 3 if urls.is_download(path) else 1
    hit = Hit(
        time, day, (address, agent), network, country, agent, known.AGENTS[agent], path, referrer, found["method"], status, kind
    )  # fmt: skip
    return Reading("hit", day, hit)


def readable(line: bytes) -> bool:
    """Whether the line has the form of the log, its time included: a log needs one such line to be known for a log."""
    found = _LINE.match(line.decode("utf-8", "backslashreplace"))
    return found is not None and _time(found["time"]) is not None


def _time(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, "%d/%b/%Y:%H:%M:%S %z").astimezone(UTC)
    except ValueError:
        return None
