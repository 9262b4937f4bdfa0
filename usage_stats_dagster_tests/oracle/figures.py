"""What counts of a day's events: the named steps, LA Referencia's four, COUNTER's four, searches.

Written from design.md 4 and domain.md 1.1 to 1.5 and 3.1. What does not belong here: visits, documents.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from usage_stats_dagster_tests.oracle.tracking import DOWNLOAD, SEARCH, Event, Visit
from usage_stats_dagster_tests.oracle.worlds import World

LAREFERENCIA = ("views", "outlinks", "downloads", "conversions")
COUNTER = ("total_item_investigations", "unique_item_investigations", "total_item_requests", "unique_item_requests")
METRICS = (*LAREFERENCIA, *COUNTER)
ASSETS = re.compile(r"(?i)\.[a-z0-9]{2,5}\.(jpg|jpeg|png)$")
ONLY_COUNTER = ("not_delivered", "double_click")
ACTS = {"investigation": "view", "request": "download", "search": "search"}
Row = dict[str, int]


@dataclass
class Figures:
    """A day's: by (identifier, country) the metrics and searches that are not 0, and events by vocabulary and step."""

    rows: dict[tuple[str | None, str], Row] = field(default_factory=dict)
    steps: dict[str, dict[str, int]] = field(default_factory=dict)


def figures(visits: Sequence[Visit], tail: Sequence[Event], world: World) -> Figures:
    """The figures of a day's visits; `tail` are the next day's events up to 30 s after midnight."""
    events = [e for v in visits for e in v.events]
    sums: dict[tuple[str | None, str], Counter[str]] = defaultdict(Counter)
    steps = {
        v: Counter(dict.fromkeys(("kept", *(s for s in world.steps if v == "counter" or s not in ONLY_COUNTER)), 0))
        for v in ("lareferencia", "counter")
    }

    seen: dict[tuple[int, str], set[str]] = defaultdict(set)
    for e in events:
        step = dropped(e, "lareferencia", world)
        steps["lareferencia"][step] += 1
        if step == "kept" and e.identifier is not None and kind(e) != "search":
            seen[id(e.visit), e.identifier].add(kind(e))
    country = {id(v): v.events[0].hit.country for v in visits}
    for (visit, identifier), kinds in seen.items():
        both = {"view", "download"} <= kinds
        sums[identifier, country[visit]].update(
            {"views": int("view" in kinds), "downloads": int("download" in kinds), "conversions": int(both)}
        )

    # The visit of the day's last clicks may go on tomorrow, under another visit: nothing of it is known but its clicks.
    clicks = [e for e in events if _clicks(e, world)] + [e for e in tail if _clicks(e, world, visit_known=False)]
    sessions: dict[tuple[tuple[str, str], str, str], list[Event]] = defaultdict(list)
    for e in events:
        step = dropped(e, "counter", world, clicks=clicks)
        steps["counter"][step] += 1
        if step != "kept":
            continue
        if kind(e) == "search":
            sums[None, e.hit.country]["searches"] += 1
        elif e.identifier is not None:
            hour = e.hit.time.astimezone(world.zone).strftime("%Y-%m-%d %H")
            sessions[e.hit.visitor, hour, e.identifier].append(e)
    for (_, _, identifier), acts in sessions.items():
        requests = sum(kind(e) == "download" for e in acts)
        row = dict(zip(COUNTER, (len(acts), 1, requests, min(1, requests)), strict=True))
        sums[identifier, acts[0].hit.country].update(row)
    rows = {k: {m: n for m, n in row.items() if n} for k, row in sums.items()}
    return Figures({k: row for k, row in rows.items() if row}, {v: dict(c) for v, c in steps.items()})


def kind(e: Event) -> str:
    """view, download, search, other: the platform's rules say so; of pages that they don't know the type of the action."""
    if e.act in ACTS:
        return ACTS[e.act]
    by_type = {DOWNLOAD: "download", SEARCH: "search"}.get(e.action_type, "view")
    return "other" if (by_type, e.act) == ("search", "none") else by_type


def dropped(
    e: Event,
    vocabulary: str,
    world: World,
    *,
    clicks: Sequence[Event] | None = None,
    visit_known: bool = True,
    until: str = "",
) -> str:
    """The first step (before the step `until`) that drops the event, or kept; `clicks` are what double clicks are among."""
    for step in world.steps:
        if step == until:
            break
        if vocabulary != "counter" and step in ONLY_COUNTER:
            continue
        if _drops(step, e, world, clicks, visit_known=visit_known):
            return step
    return "kept"


def _drops(step: str, e: Event, world: World, clicks: Sequence[Event] | None, *, visit_known: bool) -> bool:
    match step:
        case "robots":
            return e.hit.robot
        case "behaviour":
            actions, seconds = len(e.visit.events), e.visit.seconds
            few, many = world.rule("behaviour_few_actions"), world.rule("behaviour_many_actions")
            pace = world.rule("behaviour_seconds_per_action")
            return visit_known and not (actions <= few or (actions < many and seconds / actions > pace))
        case "assets":
            return ASSETS.search(_address(e) or "") is not None
        case "unidentified":
            return e.identifier is None and kind(e) != "search"
        case "not_delivered":
            return e.hit.method != "GET" or e.hit.status not in (200, 304)
    return clicks is not None and _is_double(e, clicks, world.rule("double_click_seconds"))


def _address(e: Event) -> str | None:
    """What a user clicked on: the URL as Matomo stores it, which it does not for a search: then the item."""
    return e.url or e.identifier


def _clicks(e: Event, world: World, *, visit_known: bool = True) -> bool:
    """Whether the event is among those of which double clicks are told: what the steps before have kept."""
    before = dropped(e, "counter", world, visit_known=visit_known, until="double_click")
    return kind(e) != "search" and _address(e) is not None and before == "kept"


def _is_double(e: Event, clicks: Sequence[Event], seconds: int) -> bool:
    """Whether the user's next click on the same URL comes at most so many seconds later."""
    same = [
        c for c in clicks if (c.hit.visitor, c.action_type, _address(c)) == (e.hit.visitor, e.action_type, _address(e))
    ]
    same.sort(key=lambda c: (c.hit.time, -c.hit.status, c.hit.method))
    places = [n for n, c in enumerate(same) if c is e]
    if not places:
        return False
    following = same[places[0] + 1 :]
    return any(timedelta(0) <= c.hit.time - e.hit.time <= timedelta(seconds=seconds) for c in following)
