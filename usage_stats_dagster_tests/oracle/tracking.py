"""A visitor's hits one after another: visits and events as Matomo's tracker makes them.

Written from SEMANTICS.md 5 and 6. What does not belong here: what counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

import xxhash

from usage_stats_dagster_tests.oracle import known, urls
from usage_stats_dagster_tests.oracle.reading import Hit
from usage_stats_dagster_tests.oracle.worlds import Site

DIRECT, CAMPAIGN = 1, 6
MOST_ACTIONS = 10_000
VIEW, DOWNLOAD, SEARCH = 1, 3, 8


@dataclass
class Event:
    """An action of a visit."""

    hit: Hit
    action_type: int
    name: str | None
    url: str | None
    prefix: int | None
    identifier: str | None
    act: str | None
    spent: int
    visit: Visit


@dataclass
class Visit:
    """A visit while its hits come in."""

    events: list[Event] = field(default_factory=list)
    referer_type: int = DIRECT
    referer_name: str | None = None
    campaign: tuple[str, str] | None = None

    @property
    def first(self) -> datetime:
        """When it began."""
        return self.events[0].hit.time

    @property
    def last(self) -> datetime:
        """When its last action was."""
        return self.events[-1].hit.time

    @property
    def seconds(self) -> int:
        """Matomo's visit_total_time: 0 for one action, else 1 + last - first."""
        return 0 if len(self.events) == 1 else 1 + _second(self.last) - _second(self.first)


def visits(hits: Iterable[Hit], site: Site, visit_seconds: int) -> list[Visit]:
    """The visits of a site's hits, of any days."""
    made: list[Visit] = []
    open_visits: dict[tuple[str, str], Visit] = {}
    for hit in sorted(hits, key=lambda h: (h.time, tie(h))):
        url = urls.full_url(hit.path, site.url, hit.host)
        campaign = urls.campaign(url)
        visit = open_visits.get(hit.visitor)
        if visit is None or _opens(hit, campaign, visit, visit_seconds):
            visit = open_visits[hit.visitor] = Visit()
            made.append(visit)
        if visit.referer_type == DIRECT:
            came = (CAMPAIGN, campaign[0]) if campaign else known.came_from(hit.referrer, site.url)
            visit.referer_type, visit.referer_name = came
            visit.campaign = campaign
        visit.events.append(_event(hit, url, site, visit))
    return made


def _opens(hit: Hit, campaign: tuple[str, str] | None, visit: Visit, visit_seconds: int) -> bool:
    if hit.day != visit.events[-1].hit.day or _second(hit.time) - _second(visit.last) >= visit_seconds:
        return True
    if len(visit.events) == MOST_ACTIONS:
        return True
    return campaign is not None and visit.referer_type != DIRECT and visit.campaign != campaign


def _event(hit: Hit, url: str, site: Site, visit: Visit) -> Event:
    spent = min(_second(hit.time) - _second(visit.last), 1800) if visit.events else 0
    identifier, act = known.MEANING[site.platform].get(hit.path, (None, None))
    identifier = site.called(identifier)
    if hit.action_type != VIEW:
        return Event(hit, hit.action_type, None, url, None, identifier, act, spent, visit)
    keyword = urls.keyword(url)
    if keyword is not None:
        return Event(hit, SEARCH, keyword, None, None, identifier, act, spent, visit)
    stored, prefix = urls.page(url)
    return Event(hit, VIEW, None, stored, prefix, identifier, act, spent, visit)


def tie(hit: Hit) -> int:
    """The order of hits of one second: hashes of what was asked for, each times its own factor (schemas.HITS.tie)."""
    asked = ((hit.path, 1), (hit.referrer, 0x9E3779B97F4A7C15), (hit.method, 0xC2B2AE3D27D4EB4F))
    hashes = sum(xxhash.xxh3_64_intdigest(text.encode()) * factor for text, factor in asked if text is not None)
    return (hashes + hit.status * 0x165667B19E3779F9) % (1 << 63)


def _second(time: datetime) -> int:
    return int(time.timestamp())


def prefix_of(identifier: str) -> str | None:
    """What names the source of an identifier."""
    found = re.match(r"(oai:[^/:]+)[:/]", identifier) or re.match(r"([0-9][0-9A-Za-z.]*)[:/]", identifier)
    return found[1] if found else None
