"""Events and visits for tests: rows of a few named columns as whole stored tables, and clicks as events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from typing import Any
from zlib import crc32

import polars as pl

from usage_stats_dagster.items.match import identify
from usage_stats_dagster.metrics.table import Bucket, Metrics, metrics
from usage_stats_dagster.schemas import EVENTS, VISITS, Table
from usage_stats_dagster.settings import Settings, Site
from usage_stats_dagster_tests.counter_cases import Click

Row = Mapping[str, Any]
SITE = Site(id=7, platform="dspace", url="https://repository.example.org", level="R", country="BR")


def table(of: Table, rows: Iterable[Row]) -> pl.DataFrame:
    """The rows as that table; columns that they don't name are null."""
    return of.conform(pl.DataFrame([{c: r.get(c) for c in of.columns} for r in rows], schema=of.schema))


def bucket(events: Iterable[Row], visits: Iterable[Row], tail: Iterable[Row] = ()) -> Bucket:
    """Rows as what `metrics` takes."""
    return Bucket(table(EVENTS, events).lazy(), table(VISITS, visits).lazy(), table(EVENTS, tail).lazy())


def day_metrics(buckets: Iterable[Bucket], settings: Settings, day: date, last: date | None = None) -> Metrics:
    """The metrics of the test's site."""
    return metrics(buckets, settings, SITE, (day, last or day), "v1")


def clicks_bucket(clicks: Iterable[Click], day: date, settings: Settings) -> Bucket:
    """Clicks as the tables of the day: a visit is a user's day, which is all that these figures need."""
    rows = [_event(n, c) for n, c in enumerate(clicks)]
    seconds = timedelta(seconds=settings.rules.double_click_seconds)
    midnight = settings.day_start(day + timedelta(days=1))
    events = [r for r in rows if settings.day_start(day) <= r["server_time"] < midnight]
    tail = [r for r in rows if midnight <= r["server_time"] <= midnight + seconds]
    times = {v: [r["server_time"] for r in events if r["idvisit"] == v] for v in {r["idvisit"] for r in events}}
    visits = [
        {
            "idvisit": v,
            "visit_total_actions": len(t),
            "visit_total_time": int((max(t) - min(t)).total_seconds()),
            "location_country": "br",
        }
        for v, t in times.items()
    ]
    return bucket(events, visits, tail)


def _event(n: int, click: Click) -> Row:
    item = identify(pl.Series([click.url]), SITE).row(0, named=True)
    visitor = f"{crc32((click.ip + click.agent).encode()):016x}"
    return {
        "idlink_va": n,
        "idvisit": int(visitor, 16) * 1000 + click.time.toordinal() % 1000,
        "idvisitor": visitor,
        "server_time": click.time,
        "action_type": 3 if ".pdf" in click.url else 1,
        "action_url": click.url,
        "http_method": click.method,
        "http_status": click.status,
        **item,
    }
