"""The same figures, row by row in plain Python: what the whole-column code is held against."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import timedelta

from usage_stats_dagster.schemas import COUNTER_METRICS, LAREFERENCIA_METRICS
from usage_stats_dagster.settings import Settings
from usage_stats_dagster_tests.metrics.frames import Row


def kind(e: Row) -> str | None:
    if e["item_action"] == "search" or (e["action_type"] == 8 and e["item_action"] is None):
        return "search"
    if e["action_type"] == 2 or e["item_action"] == "outlink":
        return "outlink"
    by_type = {1: "view", 3: "download"}.get(e["action_type"])
    return {"request": "download", "investigation": "view"}.get(e["item_action"], by_type)


def reason(e: Row, vocabulary: str, visits: dict[int, Row], settings: Settings, kept: Sequence[Row] = ()) -> str:
    """The first step that drops the event, or kept; `kept` are the events among which a double click is looked for."""
    r = settings.rules
    visit = visits.get(e["idvisit"])
    for step in r.steps:
        if step == "robots":
            drops = e["robot"] is not None
        elif step == "behaviour":
            n, seconds = (visit["visit_total_actions"], visit["visit_total_time"]) if visit else (0, 0)
            stays = n <= r.behaviour_few_actions or (
                n < r.behaviour_many_actions and seconds / n > r.behaviour_seconds_per_action
            )
            drops = not stays
        elif step == "assets":
            drops = e["action_url"] is not None and re.search(r.assets, e["action_url"]) is not None
        elif step == "unidentified":
            drops = e["identifier"] is None and kind(e) != "search"
        elif vocabulary == "lareferencia":
            drops = False
        elif step == "not_delivered":
            drops = e["http_method"] not in (None, *r.delivered_methods) or (
                e["http_status"] not in (None, *r.delivered_statuses)
            )
        else:
            drops = is_double_click(e, kept, r.double_click_seconds)
        if drops:
            return step
    return "kept"


def is_double_click(e: Row, kept: Sequence[Row], seconds: int) -> bool:
    def key(x: Row) -> tuple:
        return x["idvisitor"], x["action_url"] or x["identifier"], x["action_type"]

    def place(x: Row) -> tuple:
        return x["server_time"], -(x["http_status"] or 0), x["http_method"] or "", x["idlink_va"]

    if kind(e) == "search" or (e["action_url"] or e["identifier"]) is None:
        return False
    later = [x for x in kept if kind(x) != "search" and key(x) == key(e) and place(x) > place(e)]
    return bool(later) and min(map(place, later))[0] - e["server_time"] <= timedelta(seconds=seconds)


def figures(events: Sequence[Row], visits: Sequence[Row], tail: Sequence[Row], settings: Settings):
    """{(identifier, country): {metric: value}}, without zeros, and {(vocabulary, step): events}."""
    known = {v["idvisit"]: v for v in visits}
    country = {v["idvisit"]: v["location_country"] for v in visits}
    sums: dict = defaultdict(Counter)
    reasons: Counter = Counter()

    flags = defaultdict(set)
    for e in events:
        why = reason(e, "lareferencia", known, settings)
        reasons["lareferencia", why] += 1
        if why == "kept" and kind(e) != "search" and e["identifier"] is not None:
            flags[e["idvisit"], e["identifier"]].add(kind(e))
    for (visit, identifier), kinds in flags.items():
        left = bool(kinds & {"download", "outlink"})
        values = ("view" in kinds, "outlink" in kinds, "download" in kinds, "view" in kinds and left)
        sums[identifier, country.get(visit)].update(dict(zip(LAREFERENCIA_METRICS, map(int, values), strict=True)))

    candidates = [e for e in (*events, *tail) if reason(e, "counter", known, settings) == "kept"]
    sessions = defaultdict(list)
    for e in events:
        why = reason(e, "counter", known, settings, candidates)
        reasons["counter", why] += 1
        if why != "kept":
            continue
        if kind(e) == "search":
            sums[None, country.get(e["idvisit"])]["searches"] += 1
        elif e["identifier"] is not None:
            hour = e["server_time"].astimezone(settings.zone).strftime("%Y-%m-%d %H")
            sessions[e["idvisitor"], hour, e["identifier"]].append(e)
    for (_, _, identifier), acts in sessions.items():
        requests = sum(kind(e) == "download" for e in acts)
        where = max(country.get(e["idvisit"]) or "" for e in acts) or None
        values = (len(acts), 1, requests, min(requests, 1))
        sums[identifier, where].update(dict(zip(COUNTER_METRICS, values, strict=True)))
    return {k: {m: n for m, n in v.items() if n} for k, v in sums.items() if any(v.values())}, +reasons
