"""The fixture logs through our code, with Matomo's verdicts on robots and spam in place of ours, and Matomo's own tables."""

from __future__ import annotations

import gzip
import html
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from usage_stats_dagster.logs.judge import ReadOptions
from usage_stats_dagster.logs.read import read_log
from usage_stats_dagster.schemas import HITS
from usage_stats_dagster.settings import Settings, Site
from usage_stats_dagster.tracker.site_day import visits_and_events
from usage_stats_dagster_tests.shared import shared
from usage_stats_dagster_tests.tracker.ready import ready

SITE = Site(id=10, url="https://repo.example.org", platform="dspace")
Event = tuple[datetime, int, str | None]
Line = tuple[str, int]


def as_matomo_read(agent: str) -> str:
    """The agent as the importer cut it: up to the first quote."""
    return agent.split('"', maxsplit=1)[0]


class MatomosVerdicts:
    """Matomo's look-ups: an agent that it took for a robot, or that never got to it, is a robot."""

    def __init__(self, folder: Path) -> None:
        self.agents = {a["ua"]: a for a in json.loads((folder / "user_agents.json").read_text())}
        self._spam = {r["ref"] for r in json.loads((folder / "referrers.json").read_text()) if r["spam"]}

    def _is_person(self, agent: str) -> bool:
        known = self.agents.get(as_matomo_read(agent))
        return known is not None and not known["excl_bot"] and not known["cfg_bot"]

    def robots(self, agents: pl.Series, /) -> pl.Series:
        return pl.Series([None if self._is_person(a or "-") else "matomo" for a in agents], dtype=pl.String)

    def countries(self, ips: pl.Series, /) -> pl.Series:
        return pl.Series(["xx"] * len(ips), dtype=pl.String)

    def spam(self, referrers: pl.Series, /) -> pl.Series:
        return pl.Series([r in self._spam for r in referrers], dtype=pl.Boolean)


@dataclass
class World:
    """Ours and Matomo's: visits by id, and the events of each, with `time_spent_ref_action` apart.

    `people`: address and user name of each line.
    """

    hits: pl.DataFrame
    people: dict[Line, tuple[str, str]]
    verdicts: MatomosVerdicts
    ours: dict[int, dict[str, Any]]
    our_events: dict[int, list[Event]]
    our_lines: dict[int, list[Line]]
    matomos: dict[int, dict[str, Any]]
    matomos_events: dict[int, list[Event]]
    our_spent: dict[int, list[int]]
    matomos_spent: dict[int, list[int]]

    def visits_of(self, events: dict[int, list[Event]]) -> Counter[tuple[Event, ...]]:
        """Visits by what they hold."""
        return Counter(content(e) for e in events.values())


def content(events: list[Event]) -> tuple[Event, ...]:
    """What tells a visit from another: its events."""
    return tuple(sorted(events, key=lambda e: (e[0], e[1], e[2] or "")))


def _our_event(e: dict[str, Any]) -> Event:
    return e["server_time"].replace(tzinfo=None), e["action_type"], e["action_url"] or e["action_name"]


def _matomos_event(e: dict[str, Any]) -> Event:
    kind = int(e["action_type"] or e["action_title_type"] or 1)  # a page view of no URL (`OPTIONS *`) has no action
    text = e["action_url"] or e["action_title"]
    return e["server_time"], kind, html.unescape(text) if text and kind != 1 else text


def _by_visit(events: list[dict[str, Any]], value: Callable[[dict[str, Any]], Any]) -> dict[int, list[Any]]:
    values = defaultdict(list)
    for e in events:
        values[e["idvisit"]].append(value(e))
    return values


def load() -> World:
    """Reads the fixture logs and makes their visits and events, a day at a time; the test skips where there are none."""
    folder = shared("fixtures/matomo")
    verdicts, settings = MatomosVerdicts(folder), Settings()
    blocks, people = [], {}
    for path in sorted((folder / "logs").glob("*.gz")):
        identity = f"{len(blocks):032x}"
        for number, line in enumerate(gzip.decompress(path.read_bytes()).split(b"\n"), 1):
            if found := re.match(rb"(\S+) \S+ (\S+) \[", line):
                people[identity, number] = found[1].decode(), found[2].decode()
        log = read_log(path, ReadOptions(SITE, settings, verdicts, b"secret"))
        blocks.append(pl.concat([b.hits for b in log]).with_columns(log_identity=pl.lit(identity)))
    hits = pl.concat(blocks).filter(pl.col("robot").is_null())
    made = []
    for (day,), of_day in hits.group_by("day"):
        coded, said = ready(of_day.select(HITS.columns.keys()), SITE)
        made.append(visits_and_events(coded, day, SITE, settings, said))
    visits, events = (pl.concat(t) for t in zip(*made, strict=True))
    naive = pl.col("visit_first_action_time", "visit_last_action_time").dt.replace_time_zone(None)
    ours = events.to_dicts()
    matomos = pl.read_parquet(folder / "tables/site10_events.parquet").to_dicts()
    matomos_visits = pl.read_parquet(folder / "tables/site10_visits.parquet").to_dicts()
    return World(
        hits=hits,
        people=people,
        verdicts=verdicts,
        ours={v["idvisit"]: v for v in visits.with_columns(naive).to_dicts()},
        our_events=_by_visit(ours, _our_event),
        our_lines=_by_visit(ours, lambda e: (e["log_identity"], e["line"])),
        matomos={v["idvisit"]: v for v in matomos_visits},
        matomos_events=_by_visit(matomos, _matomos_event),
        our_spent=_by_visit(ours, lambda e: e["time_spent_ref_action"]),
        matomos_spent=_by_visit(matomos, lambda e: e["time_spent_ref_action"]),
    )
