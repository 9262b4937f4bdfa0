"""A line of a log, read alone: its outcome, its day, and the hit if it is one.

Written from design.md 3 and SEMANTICS.md 1 and 2. What does not belong here: other lines.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime

from usage_stats_dagster_tests.oracle import known, urls
from usage_stats_dagster_tests.oracle.formats import parse
from usage_stats_dagster_tests.oracle.worlds import Site, World


@dataclass(frozen=True)
class Hit:
    """A line that asks for content."""

    time: datetime
    day: date
    visitor: tuple[str, str]
    network: str
    country: str
    agent: str | None
    robot: bool
    host: str | None
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
    found = parse(line, site.form)
    if found is None:
        return Reading("invalid", None)
    time, path, status = found.time, found.path, found.status
    day = time.astimezone(world.zone).date() if time else None
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
    if known.SPAM in (found.referrer or "").lower():
        return Reading("spam_referrer", day)
    if day < world.start:
        return Reading("outside_day", day)
    address, network, country = known.ADDRESSES[found.ip]
    kind = 3 if urls.is_download(path) else 1
    hit = Hit(
        time, day, (address, found.agent or ""), network, country, found.agent, world.is_robot(found.agent), found.host,
        path, found.referrer, found.method, status, kind,
    )  # fmt: skip
    return Reading("hit", day, hit)


def readable(line: bytes, site: Site) -> bool:
    """Whether the line has the form of the log, its time included: a log needs one such line to be known for a log."""
    found = parse(line, site.form)
    return found is not None and found.time is not None
