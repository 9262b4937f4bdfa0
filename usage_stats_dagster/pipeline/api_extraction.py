"""The stages `day_status` and `visits`, `events` where a Matomo's Live API is the source (`matomo.mode = "api"`).

What belongs here: which days are over, whether a day has changed, checking what was read against Matomo's own counts,
writing both tables. What does not: the API (`matomo/live_api.py`), rows (`matomo/live_api_tables.py`, `matomo/extract.py`).

A day is one unit of resuming: it is written as a whole or not at all, and a day whose counts in Matomo's reports are
what they were is not read again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

from usage_stats_dagster.items.version import version as items_version
from usage_stats_dagster.lake.store import Manifest
from usage_stats_dagster.ledger.tables import DayStatus
from usage_stats_dagster.matomo import extract
from usage_stats_dagster.matomo.http import MatomoError
from usage_stats_dagster.matomo.live_api import LiveApi
from usage_stats_dagster.matomo.live_api_tables import LiveFrames
from usage_stats_dagster.matomo.positions import Positions
from usage_stats_dagster.pipeline.sending import open_http
from usage_stats_dagster.pipeline.stage import StageReport, fingerprint
from usage_stats_dagster.pipeline.status import GOES_ON, advance
from usage_stats_dagster.pipeline.tracking import head_hash, head_of
from usage_stats_dagster.pipeline.workspace import Workspace
from usage_stats_dagster.schemas import EVENTS, VISITS
from usage_stats_dagster.settings import MatomoSection, Site

API_CODE = "1"
"""Raised when the code makes other rows of the same answers: then days are stale."""

RECHECKED_DAYS = 7
"""Without dates, a run looks at so many last days of a site, and at those in between that it has not made yet."""

_READINGS = 3


class IncompleteDayError(MatomoError):
    """The Live API gave fewer visits of a day than Matomo's own report counts, each time."""


@dataclass(frozen=True)
class Reading:
    """One reading of a site's day. `expected`: visits and actions by Matomo's report of the same day, None where the
    site's days are not the platform's. `missing`: actions that the API left out of long visits.
    """

    visits: pl.DataFrame
    events: pl.DataFrame
    identifier: str
    missing: int
    expected: tuple[int, int] | None

    @property
    def got(self) -> tuple[int, int]:
        """Visits that end on the day, and their actions."""
        ended = self.visits.filter("counted_here")
        return ended.height, int(ended["visit_total_actions"].sum())


def open_api(ws: Workspace) -> LiveApi:
    """The API of the settings; raises StageError or MatomoError when it can't be used."""
    return _api(open_http(ws.settings.matomo), ws.settings.matomo.live_page)


_api = lru_cache(maxsize=4)(LiveApi)


# --- day_status -------------------------------------------------------------------------------------------------------


def look(
    ws: Workspace, sites: Iterable[int] | None = None, window: tuple[date | None, date | None] = (None, None)
) -> list[int]:
    """Refreshes the status of the window's days, else of the last RECHECKED_DAYS and of what is not done since the first
    day known; a day is loaded when it is over and `matomo.settle_minutes` have gone by. Returns the sites looked at.
    """
    api = open_api(ws)
    chosen = sorted(set(sites) if sites is not None else {s.id for s in ws.settings.sites})
    today = datetime.now(ws.settings.zone).date()
    for idsite in chosen:
        rows = {r["day"]: r for r in ws.ledger.statuses([idsite])}
        recent = today - timedelta(RECHECKED_DAYS)
        first = window[0] or max(min([*rows, recent]), ws.settings.platform.start_date)
        last = min(window[1] or today, today)
        days = [first + timedelta(k) for k in range((last - first).days + 1)]
        done = {d for d, r in rows.items() if r["status"] == DayStatus.DONE and d < recent}
        for day in days:
            if window != (None, None) or day not in done:
                _refresh(ws, api, idsite, day, rows.get(day))
    return chosen


def _refresh(ws: Workspace, api: LiveApi, idsite: int, day: date, row: Any) -> None:  # noqa: ANN401  (a ledger row)
    end = ws.settings.day_start(day + timedelta(1))
    closed = end + timedelta(minutes=ws.settings.matomo.settle_minutes)
    is_open = datetime.now(UTC) < closed
    inputs = _inputs_hash(ws, api, idsite, day)
    decided = row is not None and row["decision"] in GOES_ON
    status = DayStatus.PARTIAL if is_open else DayStatus.LOADED
    if row is not None and row["inputs_hash"] == inputs and (decided or not is_open):
        status = max(DayStatus.LOADED, DayStatus(row["status"]))
    message = None
    if is_open:
        message = f"open until {closed.astimezone(ws.settings.zone):%Y-%m-%d %H:%M}: its visits may still grow"
    values: dict[str, Any] = {"status": int(status), "files_loaded": 0, "inputs_hash": inputs, "message": message}
    if row is None or any(row[k] != v for k, v in values.items()):
        with ws.ledger.write() as c:
            ws.ledger.put_status(c, idsite, day, **values)


def _inputs_hash(ws: Workspace, api: LiveApi, idsite: int, day: date) -> str:
    """Over Matomo's counts of the days of the site's zone that the platform's day touches."""
    near = [day] if _same_days(ws, api, idsite) else [day + timedelta(k) for k in (-1, 0, 1)]
    return fingerprint(*(api.summary(idsite, d) for d in near))


def _same_days(ws: Workspace, api: LiveApi, idsite: int) -> bool:
    name = api.time_zone(idsite)
    try:
        return ZoneInfo(name) == ws.settings.zone
    except (KeyError, ValueError, OSError):  # Matomo also knows UTC+2 and the like
        return False


# --- visits and events ------------------------------------------------------------------------------------------------


def make_visits_events_from_api(ws: Workspace, idsite: int, day: date) -> Iterable[StageReport]:
    """Writes visits and events of a site's day from the Live API, unless they are of the same counts and rules.

    Raises IncompleteDayError when the API keeps giving fewer visits than Matomo counts; the old tables stay.
    """
    api = open_api(ws)
    inputs = _inputs_hash(ws, api, idsite, day)
    mark = _mark(ws, idsite, day, inputs)
    old = [ws.lake.manifest(t, idsite, day) for t in (VISITS, EVENTS)]
    found = [m for m in old if m is not None and m.fingerprint == mark]
    if len(found) == len(old):
        _advance(ws, idsite, day, inputs, *found)
        return [StageReport.of(m, changed=False) for m in found]
    reading = read_day(ws, api, idsite, day)
    made = _write(ws, idsite, day, mark, inputs, reading)
    _advance(ws, idsite, day, inputs, *made)
    return [StageReport.of(m, changed=True) for m in made]


def read_day(ws: Workspace, api: LiveApi, idsite: int, day: date) -> Reading:
    """Reads a site's day; again, with other pages, while fewer visits or actions come than Matomo's report counts.

    A report may be older than the visits (Matomo archives it once), so more is no fault.
    """
    settings = ws.settings
    start, end = settings.day_start(day), settings.day_start(day + timedelta(1))
    expected = api.summary(idsite, day) if _same_days(ws, api, idsite) else None
    page = settings.matomo.live_page
    for k in range(_READINGS):
        frames = LiveFrames(idsite)
        for visits in api.pages(idsite, start, end, limit=max(2, page * (k + 2) // 2)):
            frames.add(visits)
        table, raw, missing = frames.tables(start, end, store_ips=settings.rules.store_ips)
        want = wanted(raw, settings.site(idsite), settings.matomo)
        events = extract.events(raw, settings.site(idsite), want)
        reading = Reading(table, events, want.identifier or "url", missing, expected)
        if expected is None or all(g >= e for g, e in zip(reading.got, expected, strict=True)):
            return reading
    msg = (
        f"site {idsite}, {day}: the Live API gave {reading.got[0]} visits with {reading.got[1]} actions, {_READINGS} times; "
        f"Matomo counts {reading.expected[0] if reading.expected else 0} with {reading.expected[1] if reading.expected else 0}: "
        "read its database (matomo.mode = 'database'), or have Matomo archive the day anew (core:invalidate-report-data)"
    )
    raise IncompleteDayError(msg)


def wanted(raw: pl.DataFrame, site: Site, matomo: MatomoSection) -> extract.Wanted:
    """As `extract.wanted`, of rows that have been read: absent columns are added to none, but asked for by name they are null."""
    kept = [f"custom_var_{k}{n}" for n in matomo.custom_variables for k in ("k", "v")]
    if site.identifier_slot == "auto":
        slots = [f"custom_var_v{n}" for n in extract.AUTO_SLOTS if f"custom_var_v{n}" in raw.columns]
        identifier = next((s for s in slots if raw[s].str.starts_with("oai:").any()), None)
    else:
        identifier = None if site.identifier_slot == "url" else f"custom_var_v{site.identifier_slot}"
    country = f"custom_var_v{site.country_slot}" if identifier and site.country_slot else None
    return extract.Wanted(identifier, country, tuple(k for k in kept if k in raw.columns))


def _write(
    ws: Workspace, idsite: int, day: date, mark: str, inputs: str, reading: Reading
) -> tuple[Manifest, Manifest]:
    head = head_hash(head_of(reading.events, ws.settings, day, ws.settings.rules.double_click_seconds))
    used = {"matomo": inputs, "identifier": reading.identifier}
    ended, _ = reading.got
    of_visits = {
        "visits": reading.visits.height,
        "counted_here": ended,
        "robots": 0,
        "checked": reading.expected is not None,
    }
    of_events = {"events": reading.events.height, "robots": 0, "head_hash": head, "left_out_by_api": reading.missing}
    with ws.lake.writer(VISITS, idsite, day) as visits, ws.lake.writer(EVENTS, idsite, day) as events:
        visits.append(reading.visits)
        events.append(reading.events)
        # Events last: their manifest says that both are whole.
        done = ws.lake.commit(visits, Manifest(VISITS.name, idsite, day, mark, inputs=used, counts=of_visits))
        return done, ws.lake.commit(events, Manifest(EVENTS.name, idsite, day, mark, inputs=used, counts=of_events))


def _mark(ws: Workspace, idsite: int, day: date, inputs: str) -> str:
    settings, site = ws.settings, ws.settings.site(idsite)
    # What was sent since is news too, before Matomo's reports know of it.
    sent = Positions(ws.ledger).day(idsite, day)["sent"] if settings.matomo.send else 0
    parts = (
        sent,
        settings.matomo.custom_variables, site.identifier_slot, site.country_slot, items_version(site),
        settings.platform.time_zone, settings.rules.double_click_seconds, settings.rules.store_ips, settings.matomo.url,
    )  # fmt: skip
    return fingerprint("api", API_CODE, inputs, *parts)


def _advance(ws: Workspace, idsite: int, day: date, inputs: str, visits: Manifest, events: Manifest) -> None:
    row = ws.ledger.status(idsite, day)
    head, left_out = events.counts["head_hash"], events.counts["left_out_by_api"]
    # Where hits are sent, the day's inputs are its logs, and stay what `day_status` made of them.
    news: dict[str, Any] = {} if ws.settings.matomo.send else {"inputs_hash": inputs}
    same = row is not None and row["head_hash"] == head and all(row[k] == v for k, v in news.items())
    if row is not None and same and row["status"] >= DayStatus.PRETABLE:
        return
    if left_out:
        news["message"] = (
            f"the Live API left out {left_out} actions of long visits (Matomo's visitor_log_maximum_actions_per_visit)"
        )
    counts = {"visits": visits.counts["counted_here"], "events": events.rows, "robots": 0, "left_out_by_api": left_out}
    status = max(DayStatus.PRETABLE, DayStatus(row["status"]) if row is not None else DayStatus.QUEUE)
    advance(ws, idsite, day, status, head_hash=head, counts=counts, **news)
