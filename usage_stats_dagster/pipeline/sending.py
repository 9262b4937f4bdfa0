"""The stage `matomo_sent`: a site-day's hits to a Matomo, each once, and what Matomo made of them.

What belongs here: which hits go, in which order, cut into batches. What does not: the protocol (`matomo/sender.py`).

A day's hits go in the order of time, whatever logs they stand in (Matomo opens extra visits for hits that come out of
order), and in the order of lines within a log, so that a log's position is its last line sent. A log that comes later
is sent then, from its own position. Robots are kept back: Matomo drops some of them silently and counts the rest as people.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import pairwise

import polars as pl

from usage_stats_dagster.matomo.database import Database
from usage_stats_dagster.matomo.http import MatomoError, MatomoHttp, token_from_environment
from usage_stats_dagster.matomo.live_api import LiveApi
from usage_stats_dagster.matomo.positions import Batch, Positions
from usage_stats_dagster.matomo.sender import Patience, Sender
from usage_stats_dagster.matomo.sender_resolve import ApiActions, DatabaseActions, StoredActions
from usage_stats_dagster.matomo.tracking_request import has_addresses, requests_of
from usage_stats_dagster.pipeline import status
from usage_stats_dagster.pipeline.stage import StageError, StageReport
from usage_stats_dagster.pipeline.workspace import Workspace
from usage_stats_dagster.schemas import HITS
from usage_stats_dagster.settings import MatomoSection, Site

TABLE = "matomo_sent"
SITES_AT_ONCE = 4
WINDOW_HITS = 500_000
"""Hits made into requests at a time: a day with more is taken in stretches of time."""

OLDEST = timedelta(days=20 * 365)
"""Matomo dates older (and future) requests today."""

c = pl.col


def open_http(settings: MatomoSection) -> MatomoHttp:
    """The HTTP side of the configured Matomo. Raises StageError when no url is set, MatomoError without a token."""
    if not settings.url:
        msg = "matomo.url is not set: use the address of Matomo, such as 'https://matomo.example.org'"
        raise StageError(msg)
    return _http(settings.url, token_from_environment(), settings.timeout_seconds)


_http = lru_cache(maxsize=4)(MatomoHttp)


def open_sender(ws: Workspace) -> tuple[Sender, StoredActions]:
    """A sender for the configured Matomo, and what answers for what it stores: its database if set, else its Live API."""
    m = ws.settings.matomo
    http = open_http(m)
    stored: StoredActions = ApiActions(LiveApi(http, page=m.live_page))
    if m.database_url:
        stored = DatabaseActions(Database(m.database_url), m.table_prefix)
    patience = Patience(settle=m.request_seconds, first=min(1.0, m.request_seconds / 4), total=m.patience_seconds)
    return Sender(http, Positions(ws.ledger), stored, patience), stored


def make_sent(ws: Workspace, idsite: int, day: date) -> Iterable[StageReport]:
    """Sends what a site's day has that was not sent, and counts what Matomo has of the day. Nothing when matomo.send is off.

    Raises MatomoAwayError when Matomo stays away (the place is kept), MatomoError when it refuses.
    """
    if not ws.settings.matomo.send:
        return []
    return [send_day(ws, *open_sender(ws), idsite, day)]


def send_days(
    ws: Workspace, days: Sequence[date], sites: Sequence[int] | None = None
) -> list[StageReport | MatomoError]:
    """As `make_sent` for every site's day that goes on: sites beside each other, each site's days in order.

    A site whose sending stops gives its error in the place of the rest of its reports; others go on.
    """
    if not ws.settings.matomo.send or not days:
        return []
    sender, stored = open_sender(ws)
    rows = ws.ledger.statuses(sites, min(days), max(days))
    todo: dict[int, list[date]] = {}
    for r in rows:
        if r["day"] in set(days) and status.goes_on(r):
            todo.setdefault(r["idsite"], []).append(r["day"])

    def one(idsite: int) -> list[StageReport | MatomoError]:
        reports: list[StageReport | MatomoError] = []
        try:
            reports.extend(send_day(ws, sender, stored, idsite, day) for day in sorted(todo[idsite]))
        except MatomoError as e:
            reports.append(e)
        return reports

    with ws.writing(), ws.timed(TABLE), ThreadPoolExecutor(SITES_AT_ONCE, thread_name_prefix="matomo") as pool:
        return [r for reports in pool.map(one, sorted(todo)) for r in reports]


def send_day(ws: Workspace, sender: Sender, stored: StoredActions, idsite: int, day: date) -> StageReport:
    """One site's day, and its counts."""
    positions = Positions(ws.ledger)
    site = ws.settings.site(idsite)
    if site.url is None:
        msg = f"sites: site {idsite} needs its url to be sent to Matomo: a path alone is no address"
        raise StageError(msg)
    zone = ws.settings.platform.time_zone
    known = positions.time_zone(idsite, zone)
    if known != zone:
        msg = (
            f"site {idsite}: its hits were sent by the days of {known}, and platform.time_zone is {zone} now: hits near "
            "midnight would be sent twice. Set it back, or send to a new site of Matomo"
        )
        raise StageError(msg)
    inputs = ws.ledger.day_inputs(idsite, day)
    files = [ws.lake.hits_file(HITS, idsite, day, i.identity) for i in inputs]
    hits = ws.lake.scan_files(HITS, files)
    start, end = ws.settings.day_start(day), ws.settings.day_start(day + timedelta(1))
    robots = ws.lookups(site).robots

    def batches() -> Iterator[Batch]:
        yield from day_batches(
            hits, site, day, positions, robots,
            size=ws.settings.matomo.send_batch, windows=_windows(start, end, sum(i.hits for i in inputs)),
        )  # fmt: skip

    report = sender.send(idsite, batches)
    before = positions.day(idsite, day)
    if report.batches or before["stored"] is None:
        found = stored.day(idsite, start, end, day)
        positions.put_day(idsite, day, stored=found.stored, twice=found.twice)
    counts = dict(positions.day(idsite, day))
    shown = {k: counts[k] for k in ("sent", "refused", "kept_back", "stored", "twice")}
    total = sum(i.hits for i in inputs)
    shown |= {
        "hits": total,
        # What is neither sent nor kept back: none, unless the rules gave the day other hits after it was sent.
        "changed_since": total - shown["sent"] - shown["kept_back"],
        # Less than none: somebody else writes to this site of Matomo too.
        "dropped": shown["sent"] - shown["refused"] - shown["stored"],
        "resolved": report.resolved,
        "resent": report.resent,
    }
    return StageReport(TABLE, idsite, day, shown["sent"], 0, "", changed=report.batches > 0, counts=shown)


def day_batches(
    hits: pl.LazyFrame,
    site: Site,
    day: date,
    positions: Positions,
    robots: Callable[[pl.Series], pl.Series],
    *,
    size: int,
    windows: Sequence[tuple[datetime, datetime]],
) -> Iterator[Batch]:
    """The batches of a day's hits (schemas.HITS; each log's rows in the order of lines) that lie behind the positions.

    `windows` cut the day's time, for memory. Each batch is made when it is asked for: the one before is acknowledged by then.
    """
    # A line that is dated before an earlier line of its log goes with that one: lines of a log keep their order.
    keyed = hits.with_columns(key=c("time").cum_max().over("log_identity"))
    logs = hits.select(c("log_identity").unique()).collect()["log_identity"].to_list()
    done = positions.lines(site.id, [_source(day, log) for log in logs])
    reached = {log: done.get(_source(day, log), 0) for log in logs}
    behind = c("line") > c("log_identity").replace_strict(reached, default=0, return_dtype=pl.Int64)
    for low, high in windows:
        part = keyed.filter(behind, c("key") >= low, c("key") < high).collect(engine="streaming")
        if part.height:
            yield from _batches(part.sort("key", "log_identity", "line"), site, day, positions, robots, size)


def _batches(
    hits: pl.DataFrame, site: Site, day: date, positions: Positions, robots: Callable[[pl.Series], pl.Series], size: int
) -> Iterator[Batch]:
    now = datetime.now(UTC)
    dated = hits["time"].is_between(now - OLDEST, now)
    goes = robots(hits["user_agent"]).is_null() & dated
    requests = requests_of(hits, site, with_addresses=has_addresses(hits))
    hits = hits.select("time", "log_identity", "line", goes.alias("goes"), request=requests)
    numbered = hits.with_columns(batch=((c("goes").cum_sum().cast(pl.Int64) - 1) // size).clip(0))
    for part in numbered.partition_by("batch", maintain_order=True):
        sent = part.filter("goes")
        yield Batch.of(
            site.id, positions.next_number(site.id), sent["request"].to_list(), sent["time"].to_list(),
            [day] * sent.height, _reached(part, day), {day: part.height - sent.height},
        )  # fmt: skip


def _reached(hits: pl.DataFrame, day: date) -> dict[str, int]:
    last = hits.group_by("log_identity").agg(c("line").max()).sort("log_identity")
    return {_source(day, log): line for log, line in last.iter_rows()}


def _source(day: date, log: str) -> str:
    return f"{day}/{log}"


def _windows(start: datetime, end: datetime, hits: int) -> list[tuple[datetime, datetime]]:
    """The day in stretches of equal length, the first and last without bounds, of about WINDOW_HITS hits each."""
    n = max(1, -(-hits // WINDOW_HITS))
    edges = [start + (end - start) * k / n for k in range(n + 1)]
    edges[0], edges[-1] = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
    return list(pairwise(edges))
