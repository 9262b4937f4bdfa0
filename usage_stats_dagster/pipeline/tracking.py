"""The stage `visits`, `events`: a site-day's hits through the embedded tracker.

What belongs here: choosing the hits by the ledger, buckets of visitors that bound memory, writing both tables. What
does not: the rules (`tracker/`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import pairwise

import polars as pl
import xxhash

from usage_stats_dagster.items.version import version as items_version
from usage_stats_dagster.lake.storage import Location
from usage_stats_dagster.lake.store import LakeError, Manifest
from usage_stats_dagster.lake.writer import TableWriter
from usage_stats_dagster.ledger.ledger import DayInput
from usage_stats_dagster.ledger.tables import DayStatus
from usage_stats_dagster.lookups.all import Lookups, lookups_for_all
from usage_stats_dagster.parts import numbered, parts
from usage_stats_dagster.pipeline import status
from usage_stats_dagster.pipeline.stage import SiteDay, StageReport, batches, fingerprint, side_by_side
from usage_stats_dagster.pipeline.status import Reached
from usage_stats_dagster.pipeline.workspace import Workspace
from usage_stats_dagster.schemas import EVENTS, HITS, SITE_DAY, UTC_TIME, VISITS
from usage_stats_dagster.settings import Settings, Site
from usage_stats_dagster.threads import in_threads
from usage_stats_dagster.tracker.batch import visits_and_events_of
from usage_stats_dagster.tracker.prepare import Judges, Said, coded, in_order
from usage_stats_dagster.tracker.site_day import visits_and_events

TRACKER_CODE = "2"
"""Raised when the code makes other events of the same hits: then days are stale."""

SHARE_HITS = 1_000_000
"""Hits of a site-day that are held in memory, all hits of some visitors: about 0.2 GB, as their text is coded."""

SHARES_HELD = 5
"""Shares of a larger day that are held: while one is read and put in order, threads are still at the last buckets of two others."""

BUCKET_HITS = 90_000
"""Hits that one thread tracks at a time, out of those in memory."""

VISITOR_RANGE = 1 << 60

HEAD = ("idvisitor", "server_time", "action_type", "action_url", "robot")
"""Of a day's first events, what the day before looks at."""


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


def make_visits_events(ws: Workspace, todo: Sequence[SiteDay]) -> Iterator[list[StageReport]]:
    """Writes visits and events of the site-days, but of those that are already of these hits and rules."""
    if not todo:
        return
    days = [d for _, d in todo]
    inputs = ws.ledger.inputs(min(days), max(days), sorted({s for s, _ in todo}))
    seconds = ws.settings.rules.double_click_seconds
    versions = {s: tracker_version(ws, ws.settings.site(s)) for s, _ in todo}

    def make(batch: list[SiteDay]) -> tuple[dict[SiteDay, tuple[Manifest, Manifest]], set[SiteDay]]:
        """Both tables of each site-day of the batch, and which of them were made now."""
        made: dict[SiteDay, tuple[Manifest, Manifest]] = {}
        stale: list[_Stale] = []
        for idsite, day in batch:
            key, of = (idsite, day), inputs.get((idsite, day), [])
            mark = fingerprint(versions[idsite], seconds, *(f"{i.identity}:{i.hits_hash}" for i in of))
            visits, events = ws.lake.manifest(VISITS, idsite, day), ws.lake.manifest(EVENTS, idsite, day)
            if visits and events and visits.fingerprint == mark == events.fingerprint:
                made[key] = visits, events
            else:
                stale.append(_Stale(ws.settings.site(idsite), day, of, mark))
        fresh = [_track(ws, stale[0], seconds)] if len(stale) == 1 else _track_together(ws, stale, seconds)
        made |= {(events.idsite, events.day): (visits, events) for visits, events in fresh}
        return {key: made[key] for key in batch}, {(s.site.id, s.day) for s in stale}

    def size(key: SiteDay) -> int:
        return sum(i.hits for i in inputs.get(key, []))

    for made, fresh in side_by_side(make, batches(todo, size), lambda b: sum(map(size, b))):
        _advance(ws, made)
        yield [StageReport.of(m, changed=key in fresh) for key, both in made.items() for m in both]


@dataclass(frozen=True)
class _Stale:
    """A site's day that is to be made (anew) of these inputs, and what marks it as made of them."""

    site: Site
    day: date
    inputs: list[DayInput]
    mark: str

    @property
    def hits(self) -> int:
        return sum(i.hits for i in self.inputs)

    def commit(
        self,
        ws: Workspace,
        visits: TableWriter,
        events: TableWriter,
        *,
        robots: int,
        rules: Mapping[str, int],
        head: str,
    ) -> tuple[Manifest, Manifest]:
        """Puts both tables in place, events last: their manifest says that both are whole.

        `robots`: visits of robots; `rules`: events of robots by the rule that says so.
        """
        if events.rows != self.hits:
            msg = f"site {self.site.id}, {self.day}: {self.hits} hits gave {events.rows} events; each hit must be one event"
            raise LakeError(msg)
        used = {i.identity: i.hits_hash for i in self.inputs}
        of_visits = {"visits": visits.rows, "robots": robots}
        counts = {"events": events.rows, "robots": sum(rules.values())}
        of_events = {**counts, "robots_by_rule": dict(rules), "head_hash": head}
        where = (self.site.id, self.day, self.mark)
        return (
            ws.lake.commit(visits, Manifest(VISITS.name, *where, inputs=used, counts=of_visits)),
            ws.lake.commit(events, Manifest(EVENTS.name, *where, inputs=used, counts=of_events)),
        )


_Piece = tuple[_Stale, pl.DataFrame, pl.DataFrame, pl.DataFrame, int, dict[str, int]]
"""A site's day of several: visits, events, first events, visits of robots, events of robots by rule."""


def _track_together(ws: Workspace, stale: Sequence[_Stale], seconds: int) -> Iterator[tuple[Manifest, Manifest]]:
    """Several small site-days in one plan; each site-day's files have the bytes that `_track` gives them."""
    if not stale:
        return
    files = [_hits_path(ws, s.site.id, s.day, i) for s in stale for i in s.inputs]
    hits = ws.lake.scan_files(HITS, files).collect()
    total = sum(s.hits for s in stale)
    if hits.height != total:
        msg = f"sites {sorted({s.site.id for s in stale})}: the ledger knows {total} hits of these days, their files hold {hits.height}: `usage-stats doctor` says which"
        raise LakeError(msg)
    hits = numbered(hits, SITE_DAY, [s.hits for s in stale])
    lookups = lookups_for_all(ws.settings)
    visits, events = visits_and_events_of(hits, [(s.site, s.day) for s in stale], ws.settings, lookups)
    del hits
    ends = pl.Series([ws.settings.day_start(s.day) + timedelta(seconds=seconds) for s in stale], dtype=UTC_TIME)
    head = events.filter(pl.col("server_time") <= ends.gather(events[SITE_DAY])).select(SITE_DAY, *HEAD)
    n = len(stale)
    heads = parts(head, SITE_DAY, n)
    robots = [sum(of.values()) for of in _by_rule(visits, n)]
    rules = _by_rule(events, n)
    pieces = zip(stale, parts(visits, SITE_DAY, n), parts(events, SITE_DAY, n), heads, robots, rules, strict=True)

    def write(piece: _Piece) -> tuple[Manifest, Manifest]:
        s, v, e, head, robots, rules = piece
        with (
            ws.lake.writer(VISITS, s.site.id, s.day) as of_visits,
            ws.lake.writer(EVENTS, s.site.id, s.day) as of_events,
        ):
            of_visits.append(v)
            of_events.append(e)
            return s.commit(ws, of_visits, of_events, robots=robots, rules=rules, head=head_hash(head))

    yield from in_threads(write, pieces)


def _by_rule(frame: pl.DataFrame, n: int) -> list[dict[str, int]]:
    """Rows of robots by the rule that says so, of each of n site-days."""
    found: list[dict[str, int]] = [{} for _ in range(n)]
    robots = frame.filter(pl.col("robot").is_not_null()).group_by(SITE_DAY, pl.col("robot").cast(pl.String)).len()
    for k, rule, rows in robots.iter_rows():
        found[k][rule] = rows
    return found


def _track(ws: Workspace, stale: _Stale, seconds: int) -> tuple[Manifest, Manifest]:
    site, day, total = stale.site, stale.day, stale.hits
    files = [_hits_path(ws, site.id, day, i) for i in stale.inputs]
    lookups = ws.lookups(site)
    robot_visits = 0
    by_rule: Counter[str] = Counter()
    heads: list[pl.DataFrame] = []
    with ws.lake.writer(VISITS, site.id, day) as visits, ws.lake.writer(EVENTS, site.id, day) as events:

        def track(hits: tuple[pl.DataFrame, Said]) -> tuple[pl.DataFrame, pl.DataFrame]:
            return visits_and_events(hits[0], day, site, ws.settings, hits[1])

        for v, e in in_threads(track, _hits(ws, site, lookups, files, total)):
            visits.append(v)
            events.append(e)
            by_rule.update(dict(e["robot"].drop_nulls().cast(pl.String).value_counts().iter_rows()))
            robot_visits += v.height - v["robot"].null_count()
            heads.append(head_of(e, ws.settings, day, seconds))
        head = head_hash(pl.concat(heads)) if heads else ""
        return stale.commit(ws, visits, events, robots=robot_visits, rules=by_rule, head=head)


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
    most = SHARE_HITS if total <= SHARE_HITS else -(-SHARE_HITS // SHARES_HELD)
    with ws.lake.split(files, HITS, "visitor", shares(total, most)) as parts:
        for part in parts:
            rows = coded(part, site, hosts=hosts).collect(engine="streaming")
            hits, said = _sorted_and_judged(rows, judges, at_once=len(parts) == 1)
            del rows
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


def _sorted_and_judged(rows: pl.DataFrame, judges: Judges, *, at_once: bool) -> tuple[pl.DataFrame, Said]:
    """`at_once` where nobody else is at work: sorting leaves one core idle, judging needs just one, and both more memory."""
    if not at_once:
        said = judges(rows)
        return in_order(rows), said
    with ThreadPoolExecutor(1) as pool:
        judged = pool.submit(judges, rows)
        return in_order(rows), judged.result()


def head_of(events: pl.DataFrame, settings: Settings, day: date, seconds: int) -> pl.DataFrame:
    """The day's events of its first `seconds` (both ends included): they end double clicks of the day before."""
    start: datetime = settings.day_start(day)
    return events.filter(pl.col("server_time") <= start + timedelta(seconds=seconds)).select(HEAD)


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


def _advance(ws: Workspace, made: Mapping[SiteDay, tuple[Manifest, Manifest]]) -> None:
    rows = status.statuses_of(ws, made)
    reached = []
    for key, (visits, events) in made.items():
        row, head = rows.get(key), events.counts["head_hash"]
        if row is not None and row["status"] >= DayStatus.PRETABLE and row["head_hash"] == head:
            continue
        counts = {"visits": visits.rows, "events": events.rows, "robots": events.counts["robots"]}
        to = max(DayStatus.PRETABLE, DayStatus(row["status"]) if row is not None else DayStatus.QUEUE)
        reached.append(Reached(*key, to, {"head_hash": head, "counts": counts}))
    status.advance_all(ws, reached, rows)
