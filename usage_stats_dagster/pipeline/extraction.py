"""The stages `day_status` and `visits`, `events` where a Matomo's database is the source (`matomo.mode = "database"`).

What belongs here: which days are over, whether a day has changed, which days are read together. What does not: reading
days (`extraction_days.py`), SQL and clients (`matomo/`), the stages after.

A day is read when it is over and its visits can no longer grow. Its control (counts and sums, `matomo/control.py`) is its
fingerprint: an unchanged day is not read again, a changed one is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from queue import SimpleQueue
from typing import Any

from usage_stats_dagster.ledger.tables import DayStatus
from usage_stats_dagster.matomo import queries
from usage_stats_dagster.matomo.actions import Actions
from usage_stats_dagster.matomo.columns import Columns, read_columns
from usage_stats_dagster.matomo.control import Control
from usage_stats_dagster.matomo.database import Database, MatomoDatabaseError, Reader
from usage_stats_dagster.pipeline.extraction_days import Made, SiteReading, hash_of, mark_of, period_of
from usage_stats_dagster.pipeline.stage import SiteDay, StageReport
from usage_stats_dagster.pipeline.status import GOES_ON, Reached, advance_all, statuses_of
from usage_stats_dagster.pipeline.workspace import Workspace
from usage_stats_dagster.schemas import EVENTS, VISITS
from usage_stats_dagster.threads import in_threads

RECHECKED_DAYS = 7
"""Without dates, a run looks again at so many last days of a site, besides those that it has not made yet."""

STRETCH_EVENTS, LEAST_STRETCH_EVENTS = 50_000, 20_000
"""Events of the days that one thread reads at a time: they are in memory together, but for a day that has more alone. For
fewer than the least a thread of its own gains nothing."""

ADVANCED_DAYS = 50
"""Days whose statuses one transaction writes."""


def database(ws: Workspace) -> Database:
    """The database of the settings; raises MatomoDatabaseError when there is none."""
    if not ws.settings.matomo.database_url:
        msg = 'matomo.mode = "database" needs matomo.database_url, of the form mysql://user@host:3306/name'
        raise MatomoDatabaseError(msg)
    return Database(ws.settings.matomo.database_url)


# --- day_status -------------------------------------------------------------------------------------------------------


def sites_of(ws: Workspace, reader: Reader, columns: Columns, sites: Iterable[int] | None = None) -> list[int]:
    """The sites asked for, else those of the settings, else all that have visits."""
    if sites is not None:
        return sorted(set(sites))
    listed = [s.id for s in ws.settings.sites]
    return sorted(listed) or [int(r[0]) for r in reader.rows(queries.sites(columns))]


def look(
    ws: Workspace,
    sites: Iterable[int] | None = None,
    window: tuple[date | None, date | None] = (None, None),
    changed: Iterable[tuple[int, date]] = (),
) -> list[int]:
    """Refreshes the status of the window's days, of `changed`, and without either of every day that is not done yet.

    Returns the sites looked at. A day is loaded when it is over and `matomo.settle_minutes` have gone by.
    """
    by_site: dict[int, set[date]] = defaultdict(set)
    for idsite, day in changed:
        by_site[idsite].add(day)
    with database(ws).connection() as reader:
        columns = read_columns(reader, ws.settings.matomo.table_prefix)
        chosen = sites_of(ws, reader, columns, sites)
        for idsite in chosen:
            if window != (None, None):
                by_site[idsite] |= set(_window(ws, window))
            elif not by_site[idsite]:
                by_site[idsite] |= set(_unmade(ws, reader, columns, idsite))
    for idsite, days in sorted(by_site.items()):
        _refresh(ws, columns, idsite, sorted(days))
    return chosen


def _window(ws: Workspace, window: tuple[date | None, date | None]) -> list[date]:
    today = datetime.now(ws.settings.zone).date()
    first, last = window[0] or ws.settings.platform.start_date, min(window[1] or today, today)
    return [first + timedelta(k) for k in range((last - first).days + 1)]


def _unmade(ws: Workspace, reader: Reader, columns: Columns, idsite: int) -> list[date]:
    first, last = reader.rows(queries.first_and_last(columns, idsite))[0]
    if first is None:
        return []
    low, high = (t.replace(tzinfo=UTC).astimezone(ws.settings.zone).date() for t in (first, last))
    days = _window(ws, (max(low, ws.settings.platform.start_date), high))
    done = {r["day"] for r in ws.ledger.statuses([idsite]) if r["status"] == DayStatus.DONE}
    return [d for d in days if d not in done or (high - d).days < RECHECKED_DAYS]


def _controls(ws: Workspace, columns: Columns, idsite: int, days: Sequence[date]) -> dict[date, Control]:
    """What each day holds; several connections ask for a part of the days each."""
    n = min(len(days), ws.settings.matomo.connections)

    def read(part: Sequence[date]) -> list[Control]:
        with database(ws).connection() as reader:
            return [Control.read(reader, columns, period_of(ws, idsite, d)) for d in part]

    parts = [days[k::n] for k in range(n)]
    return {
        d: c for part, of in zip(parts, in_threads(read, parts, n), strict=True) for d, c in zip(part, of, strict=True)
    }


def _refresh(ws: Workspace, columns: Columns, idsite: int, days: Sequence[date]) -> None:
    controls = _controls(ws, columns, idsite, days)
    rows = {r["day"]: r for r in ws.ledger.statuses([idsite])} if days else {}
    new: dict[date, dict[str, Any]] = {}
    for day in days:
        period, row = period_of(ws, idsite, day), rows.get(day)
        closed = period.end + timedelta(minutes=ws.settings.matomo.settle_minutes)
        is_open = datetime.now(UTC) < closed
        control = controls[day]
        inputs = hash_of(control)
        same = row is not None and row["inputs_hash"] == inputs
        status = DayStatus.PARTIAL if is_open else DayStatus.LOADED
        if (not is_open or (row is not None and row["decision"] in GOES_ON)) and row is not None and same:
            status = max(DayStatus.LOADED, DayStatus(row["status"]))
        message = (
            f"open until {closed.astimezone(ws.settings.zone):%Y-%m-%d %H:%M}: its visits may still grow"
            if is_open
            else None
        )
        counts = {**((row["counts"] if row is not None else None) or {}), "matomo_events": control.events}
        values = {
            "status": int(status),
            "files_expected": None,
            "files_loaded": 0,
            "inputs_hash": inputs,
            "message": message,
            "counts": counts,
        }
        if row is None or any(row[k] != v for k, v in values.items()):
            new[day] = values
    with ws.ledger.write() as connection:
        for day, values in new.items():
            ws.ledger.put_status(connection, idsite, day, **values)


# --- visits and events ------------------------------------------------------------------------------------------------


def make_all(ws: Workspace, todo: Sequence[SiteDay]) -> list[StageReport]:
    """Visits and events of the site-days, several stretches of days at a time; days that are as they were are left."""
    reports: list[StageReport] = []
    stale: list[SiteDay] = []
    rows = statuses_of(ws, todo)
    inputs = {key: str(rows[key]["inputs_hash"]) if key in rows else "" for key in todo}
    left: list[Made] = []
    for key in sorted(todo):
        visits, events = ws.lake.manifest(VISITS, *key), ws.lake.manifest(EVENTS, *key)
        mark = mark_of(ws, key[0], inputs[key])
        if visits and events and visits.fingerprint == mark == events.fingerprint:
            left.append((visits, events))
        else:
            stale.append(key)
    _advance(ws, left)
    reports += [StageReport.of(m, changed=False) for pair in left for m in pair]
    if not stale:
        return reports
    source, threads = database(ws), ws.settings.matomo.connections
    with ExitStack() as stack:
        readers: SimpleQueue[Reader] = SimpleQueue()
        for _ in range(min(threads, len(stale))):
            readers.put(stack.enter_context(source.connection()))
        reader = readers.get()
        columns = read_columns(reader, ws.settings.matomo.table_prefix)
        readers.put(reader)
        actions = Actions(columns)

        def read(stretch: Sequence[SiteDay]) -> list[Made]:
            reader = readers.get()
            try:
                site = ws.settings.site(stretch[0][0])
                days = {day: inputs[site.id, day] for _, day in stretch}
                return SiteReading(ws, source, reader, columns, actions, site).days(days)
            finally:
                readers.put(reader)

        made: list[Made] = []
        events_of = {
            key: int((rows[key]["counts"] or {}).get("matomo_events", 0)) if key in rows else 0 for key in stale
        }
        for done in in_threads(read, stretches(stale, events_of, threads), threads):
            made += done
            reports += [StageReport.of(m, changed=True) for pair in done for m in pair]
            ws.progress("reading Matomo", len(reports), 2 * len(todo))
            if len(made) >= ADVANCED_DAYS:
                _advance(ws, made)
                made = []
        _advance(ws, made)
    return reports


def stretches(stale: Sequence[SiteDay], events: Mapping[SiteDay, int], threads: int) -> list[list[SiteDay]]:
    """The site-days, in order, cut into runs of days that follow one another: each is read by one query a table.

    A run has as many events as all threads can hold at a time, or fewer so that each thread has one; or it is a day.
    """
    most = min(STRETCH_EVENTS, max(sum(events.values()) // threads, LEAST_STRETCH_EVENTS))
    runs: list[list[SiteDay]] = []
    held = 0
    for key in stale:
        follows = runs and runs[-1][-1] == (key[0], key[1] - timedelta(1))
        if not follows or held + events[key] > most:
            runs.append([])
            held = 0
        runs[-1].append(key)
        held += events[key]
    return runs


def _advance(ws: Workspace, made: Sequence[Made]) -> None:
    rows = statuses_of(ws, [(events.idsite, events.day) for _, events in made])
    reached = []
    for visits, events in made:
        key, head = (events.idsite, events.day), events.counts["head_hash"]
        row = rows.get(key)
        if row is not None and row["status"] >= DayStatus.PRETABLE and row["head_hash"] == head:
            continue
        counts = {"visits": visits.counts["counted_here"], "events": events.rows, "robots": 0}
        to = max(DayStatus.PRETABLE, DayStatus(row["status"]) if row is not None else DayStatus.QUEUE)
        reached.append(Reached(*key, to, {"head_hash": head, "counts": counts}))
    advance_all(ws, reached, rows)
