"""The stage `postgres_mirror`: site-days of the lake into the mirror's table.

What belongs here: which days, the site's name, and the report. What does not: rows and SQL (`day.py`, `load.py`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta

import psycopg

from usage_stats_dagster.mirror.dates import days_to_mirror, truth
from usage_stats_dagster.mirror.day import day_rows
from usage_stats_dagster.mirror.load import last_time, replace_day
from usage_stats_dagster.mirror.table import Destination, MirrorError, connect, destination, prepare
from usage_stats_dagster.pipeline.stage import StageReport, by_turns, fingerprint, for_days
from usage_stats_dagster.pipeline.workspace import Workspace
from usage_stats_dagster.schemas import EVENTS, VISITS

STAGE = "postgres_mirror"
ROBOTS_VARIABLE = "USAGE_STATS_MIRROR_ROBOTS"
MIRROR_CODE = "1"
"""Raised when the code makes other rows of the same events: the asset's data version then differs."""


def mirror_days(ws: Workspace, days: Sequence[date], sites: Sequence[int] | None = None) -> list[StageReport]:
    """Mirrors the days of the sites (all, for None) that the lake has events of; a report each.

    Raises MirrorError without PGDATABASE, and when the database can't be opened or written.
    """
    with connected() as (_, to):
        return _mirror(ws, to, days, sites)


def mirror_since(
    ws: Workspace, first: date | None = None, last: date | None = None, sites: Sequence[int] | None = None
) -> list[StageReport]:
    """Mirrors each site from `first`, else from where SocialGouv's rules say (`dates.py`), to `last`, else tomorrow."""
    reports: list[StageReport] = []
    now = datetime.now(UTC)
    with connected() as (connection, to):
        for idsite in sites if sites is not None else _sites(ws):
            start, end = days_to_mirror(
                os.environ, argument=first, last=last_time(connection, to, idsite), now=now, zone=ws.settings.zone
            )
            end = last or end
            days = [start + timedelta(k) for k in range((end - start).days + 1)]
            reports += _mirror(ws, to, days, [idsite])
    return reports


@contextmanager
def connected() -> Iterator[tuple[psycopg.Connection, Destination]]:
    """A connection to the destination that the environment names, its table made or migrated."""
    to = destination(os.environ)
    if to is None:
        msg = "PGDATABASE is not set: set it to the URL of the mirror's database, or to its name"
        raise MirrorError(msg)
    with connect(to) as connection:
        prepare(connection, to)
        yield connection, to


def _mirror(ws: Workspace, to: Destination, days: Sequence[date], sites: Sequence[int] | None) -> list[StageReport]:
    with_robots = truth(os.environ, ROBOTS_VARIABLE)

    def work(ws: Workspace, idsite: int, day: date) -> Iterable[StageReport]:
        # A connection each: sites are worked on side by side, and a connection has one transaction.
        with connect(to) as connection:
            return _mirror_day(ws, connection, to, idsite, day, with_robots=with_robots)

    return for_days(ws, STAGE, by_turns(work), days, sites)


def _mirror_day(
    ws: Workspace, connection: psycopg.Connection, to: Destination, idsite: int, day: date, *, with_robots: bool
) -> list[StageReport]:
    events, visits = ws.lake.manifest(EVENTS, idsite, day), ws.lake.manifest(VISITS, idsite, day)
    if events is None or visits is None:
        return []
    window = ws.settings.day_start(day), ws.settings.day_start(day + timedelta(1))
    name = ws.settings.site(idsite).title
    frames = day_rows(ws.lake, idsite, day, window, ws.settings.zone, name)
    done = replace_day(connection, to, idsite, window, frames, with_robots=with_robots)
    counts = {
        "events": events.rows,
        "mirrored": done.rows,
        "inserted": done.inserted,
        "removed": done.removed,
        "robots_left_out": done.robots,
    }
    content = fingerprint(MIRROR_CODE, name, to.table, with_robots, events.content_hash, visits.content_hash)
    return [StageReport(STAGE, idsite, day, done.rows, 0, content, bool(done.inserted or done.removed), counts)]


def _sites(ws: Workspace) -> list[int]:
    return sorted({int(r["idsite"]) for r in ws.ledger.statuses(None, None, None)})
