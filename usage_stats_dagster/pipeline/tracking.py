"""The stage `visits`, `events`: a site-day's hits through the embedded tracker.

What belongs here: choosing the hits by the ledger, buckets of visitors that bound memory, writing both tables. What
does not: the rules (`tracker/`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta
from itertools import pairwise

import polars as pl
import xxhash

from usage_stats_dagster.items.version import version as items_version
from usage_stats_dagster.lake.storage import Location
from usage_stats_dagster.lake.store import LakeError, Manifest
from usage_stats_dagster.ledger.ledger import DayInput
from usage_stats_dagster.ledger.tables import DayStatus
from usage_stats_dagster.lookups.all import Lookups
from usage_stats_dagster.pipeline.stage import StageReport, fingerprint
from usage_stats_dagster.pipeline.status import advance
from usage_stats_dagster.pipeline.threads import in_threads
from usage_stats_dagster.pipeline.workspace import Workspace
from usage_stats_dagster.schemas import EVENTS, HITS, VISITS
from usage_stats_dagster.settings import Settings, Site
from usage_stats_dagster.tracker.prepare import Judges, Said, coded, in_order
from usage_stats_dagster.tracker.site_day import visits_and_events

TRACKER_CODE = "2"
"""Raised when the code makes other events of the same hits: then days are stale."""

SHARE_HITS = 1_000_000
"""Hits of a site-day that are read at a time, all hits of some visitors: about 0.2 GB, as their text is coded."""

BUCKET_HITS = 90_000
"""Hits that one thread tracks at a time, out of those in memory."""

VISITOR_RANGE = 1 << 60


def tracker_version(ws: Workspace, site: Site) -> str:
    """Hash of what decides a site's visits and events beside its hits."""
    settings = ws.settings
    parts = (
        settings.rules.visit_seconds,
        settings.platform.time_zone,
        site.url,
        items_version(site),
        ws.lookups(site).version,
    )
    return fingerprint(TRACKER_CODE, *parts)[:16]


def make_visits_events(ws: Workspace, idsite: int, day: date) -> Iterable[StageReport]:
    """Writes visits and events of a site's day, unless they are already of these hits and rules."""
    site = ws.settings.site(idsite)
    inputs = ws.ledger.day_inputs(idsite, day)
    seconds = ws.settings.rules.double_click_seconds
    mark = fingerprint(tracker_version(ws, site), seconds, *(f"{i.identity}:{i.hits_hash}" for i in inputs))
    old_visits, old_events = ws.lake.manifest(VISITS, idsite, day), ws.lake.manifest(EVENTS, idsite, day)
    if old_visits and old_events and old_visits.fingerprint == mark == old_events.fingerprint:
        _advance(ws, idsite, day, old_visits, old_events)
        return [StageReport.of(old_visits, changed=False), StageReport.of(old_events, changed=False)]
    visits, events = _track(ws, site, day, inputs, mark, seconds)
    _advance(ws, idsite, day, visits, events)
    return [StageReport.of(visits, changed=True), StageReport.of(events, changed=True)]


def _track(
    ws: Workspace, site: Site, day: date, inputs: list[DayInput], mark: str, seconds: int
) -> tuple[Manifest, Manifest]:
    files = [_hits_path(ws, site.id, day, i) for i in inputs]
    total = sum(i.hits for i in inputs)
    lookups = ws.lookups(site)
    robots = robot_visits = 0
    heads: list[pl.DataFrame] = []
    with ws.lake.writer(VISITS, site.id, day) as visits, ws.lake.writer(EVENTS, site.id, day) as events:

        def track(hits: tuple[pl.DataFrame, Said]) -> tuple[pl.DataFrame, pl.DataFrame]:
            return visits_and_events(hits[0], day, site, ws.settings, hits[1])

        for v, e in in_threads(track, _hits(ws, site, lookups, files, total)):
            visits.append(v)
            events.append(e)
            robots += e.height - e["robot"].null_count()
            robot_visits += v.height - v["robot"].null_count()
            heads.append(head_of(e, ws.settings, day, seconds))
        if events.rows != total:
            msg = f"site {site.id}, {day}: {total} hits gave {events.rows} events; each hit must be one event"
            raise LakeError(msg)
        used = {i.identity: i.hits_hash for i in inputs}
        head = head_hash(pl.concat(heads))
        of_visits = {"visits": visits.rows, "robots": robot_visits}
        of_events = {"events": events.rows, "robots": robots, "head_hash": head}
        # Events last: their manifest says that both are whole.
        done_visits = ws.lake.commit(visits, Manifest(VISITS.name, site.id, day, mark, inputs=used, counts=of_visits))
        done_events = ws.lake.commit(events, Manifest(EVENTS.name, site.id, day, mark, inputs=used, counts=of_events))
    return done_visits, done_events


def shares(total: int, most: int) -> list[int]:
    """Edges between ranges of the visitors' hash, in order; each range has about `most` of `total` rows, or fewer."""
    n = max(1, -(-total // most))
    return [VISITOR_RANGE * k // n for k in range(n + 1)]


def _hits(
    ws: Workspace, site: Site, lookups: Lookups, files: list[Location], total: int
) -> Iterator[tuple[pl.DataFrame, Said]]:
    """The day's hits as `in_order` gives them, cut between visitors; tables made of one after the other are sorted."""
    judges = Judges(site, lookups.referrers)
    every = ws.lake.scan_files(HITS, files)
    hosts = every.select(pl.col("host").is_not_null().any()).collect(engine="streaming").item()
    with ws.lake.split(files, HITS, "visitor", shares(total, SHARE_HITS)) as parts:
        for part in parts:
            hits = in_order(coded(part, site, hosts=hosts).collect(engine="streaming"))
            said = judges(hits)
            # Lists change: robots are judged anew from the agents, so that a new list needs no new import.
            robots = lookups.robots(said.agents["user_agent"])
            hits = hits.with_columns(robots.gather(hits["user_agent"].to_physical()).alias("robot"))
            # A visitor's hits stay together: each cut moves on to where another visitor begins.
            cuts = [
                hits["visitor"].search_sorted(hits["visitor"][k], "left") for k in range(0, hits.height, BUCKET_HITS)
            ]
            for start, end in pairwise([*dict.fromkeys([0, *cuts]), hits.height]):
                yield hits[start:end], said
            del hits  # before the next share is read


def head_of(events: pl.DataFrame, settings: Settings, day: date, seconds: int) -> pl.DataFrame:
    """The day's events of its first `seconds` (both ends included): they end double clicks of the day before."""
    start: datetime = settings.day_start(day)
    return events.filter(pl.col("server_time") <= start + timedelta(seconds=seconds)).select(
        "idvisitor", "server_time", "action_type", "action_url", "robot"
    )


def head_hash(head: pl.DataFrame) -> str:
    """Hash over a day's first events; empty for none, as when the day is not there yet."""
    if not head.height:
        return ""
    return xxhash.xxh3_128_hexdigest(head.sort(head.columns, nulls_last=True).write_csv().encode())


def _hits_path(ws: Workspace, idsite: int, day: date, i: DayInput) -> Location:
    path = ws.lake.hits_file(HITS, idsite, day, i.identity)
    if not path.exists():
        msg = (
            f"{path}: the ledger knows {i.hits} hits there, but the file is gone: `usage-stats doctor` says what to do"
        )
        raise LakeError(msg)
    return path


def _advance(ws: Workspace, idsite: int, day: date, visits: Manifest, events: Manifest) -> None:
    row = ws.ledger.status(idsite, day)
    if row is not None and row["status"] >= DayStatus.PRETABLE and row["head_hash"] == events.counts["head_hash"]:
        return
    counts = {"visits": visits.rows, "events": events.rows, "robots": events.counts["robots"]}
    status = max(DayStatus.PRETABLE, DayStatus(row["status"]) if row is not None else DayStatus.QUEUE)
    advance(ws, idsite, day, status, head_hash=events.counts["head_hash"], counts=counts)
