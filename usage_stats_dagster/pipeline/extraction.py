"""The stages `day_status` and `visits`, `events` where a Matomo's database is the source (`matomo.mode = "database"`).

What belongs here: which days are over, whether a day has changed, reading several days at a time into both tables, the
rows that a month's documents are made of. What does not: SQL and clients (`matomo/`), the stages after.

A day is read when it is over and its visits can no longer grow. Its control (counts and sums, `matomo.queries.control`)
is its fingerprint: an unchanged day is not read again, a changed one is. connectorx opens a connection a query, so what
it reads is of one moment only if the control says the same before and after: else the day is read once more, and at last
by pymysql in one transaction.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from typing import Any

import polars as pl

from usage_stats_dagster.items.version import version as items_version
from usage_stats_dagster.lake.store import Manifest
from usage_stats_dagster.lake.writer import TableWriter
from usage_stats_dagster.ledger.tables import DayStatus
from usage_stats_dagster.matomo import extract, queries
from usage_stats_dagster.matomo.columns import Columns, read_columns
from usage_stats_dagster.matomo.database import ClientFailedError, Database, MatomoDatabaseError, Reader
from usage_stats_dagster.matomo.extract import Control, Wanted
from usage_stats_dagster.matomo.queries import RAW_VISIT, Period
from usage_stats_dagster.metrics.table import Bucket, metrics
from usage_stats_dagster.pipeline.stage import StageReport, fingerprint
from usage_stats_dagster.pipeline.status import GOES_ON, advance
from usage_stats_dagster.pipeline.tracking import head_hash, head_of
from usage_stats_dagster.pipeline.workspace import Workspace
from usage_stats_dagster.schemas import EVENTS, METRICS_TABLE, VISITS
from usage_stats_dagster.settings import Site

EXTRACTION_CODE = "1"
"""Raised when the code makes other rows of the same database: then days are stale."""

RECHECKED_DAYS = 7
"""Without dates, a run looks again at so many last days of a site, besides those that it has not made yet."""

MONTH_EVENTS = 200_000
"""Events of a month that are counted at a time, all of some visitors'."""

VISITS_AT_A_TIME = 5_000

_TRIES = 2


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
            _refresh(ws, reader, columns, idsite, sorted(days))
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


def _refresh(ws: Workspace, reader: Reader, columns: Columns, idsite: int, days: Sequence[date]) -> None:
    rows = {r["day"]: r for r in ws.ledger.statuses([idsite])} if days else {}
    new: dict[date, dict[str, Any]] = {}
    for day in days:
        period, row = period_of(ws, idsite, day), rows.get(day)
        closed = period.end + timedelta(minutes=ws.settings.matomo.settle_minutes)
        is_open = datetime.now(UTC) < closed
        control = Control.read(reader, columns, period)
        inputs = _inputs_hash(control)
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


def period_of(ws: Workspace, idsite: int, day: date) -> Period:
    """The site's day, from midnight to midnight in the platform's zone."""
    return Period(idsite, ws.settings.day_start(day), ws.settings.day_start(day + timedelta(1)))


def _inputs_hash(control: Control) -> str:
    return fingerprint(control.text)


# --- visits and events ------------------------------------------------------------------------------------------------


def make_all(ws: Workspace, todo: Sequence[tuple[int, date]]) -> list[StageReport]:
    """Visits and events of the site-days, several days of a site at a time; days that are as they were are left."""
    reports: list[StageReport] = []
    stale: list[tuple[int, date]] = []
    for idsite, day in sorted(todo):
        old = [ws.lake.manifest(t, idsite, day) for t in (VISITS, EVENTS)]
        if all(m is not None and m.fingerprint == _mark(ws, idsite, day) for m in old):
            done = [m for m in old if m is not None]
            _advance(ws, idsite, day, *done)
            reports += [StageReport.of(m, changed=False) for m in done]
        else:
            stale.append((idsite, day))
    if not stale:
        return reports
    source = database(ws)
    with source.connection() as reader:
        columns = read_columns(reader, ws.settings.matomo.table_prefix)
        for idsite, group in groupby(stale, key=lambda t: t[0]):
            days = [d for _, d in group]
            step = ws.settings.matomo.connections
            for k in range(0, len(days), step):
                ws.progress("reading Matomo", len(reports), 2 * len(todo))
                job = _Job(ws, source, reader, columns, ws.settings.site(idsite))
                reports += job.days(days[k : k + step])
    return reports


@dataclass
class _Job:
    """Days of a site on their way from the database into the lake."""

    ws: Workspace
    source: Database
    reader: Reader
    columns: Columns
    site: Site

    def days(self, days: Sequence[date]) -> list[StageReport]:
        """Reads the days together by connectorx; those that changed meanwhile, or that it can't read, one by one."""
        left = list(days)
        reports: list[StageReport] = []
        if self.ws.settings.matomo.client == "connectorx" and self.source.streams:
            for _ in range(_TRIES):
                try:
                    made = self._streamed(left)
                except ClientFailedError:
                    break
                reports += made
                left = [d for d in left if d not in {r.day for r in made}]
                if not left:
                    return reports
        for day in left:
            reports += self._in_one_snapshot(day)
        return reports

    def _streamed(self, days: Sequence[date]) -> list[StageReport]:
        wants = {d: self._wanted(d) for d in days}
        reports: list[StageReport] = []
        with ExitStack() as stack:
            parts = [stack.enter_context(_Day(self.ws, self.site, d, wants[d])) for d in days]
            for part_group in _by_schema(parts):
                texts = [queries.events(self.columns, p.period, p.want.asked) for p in part_group]
                for raw in self.source.stream(texts):
                    for p in part_group:  # batches of several queries come as they come, each of one query
                        p.add_events(raw)
            for raw in self.source.stream([queries.visits_ended(self.columns, p.period) for p in parts]):
                for p in parts:
                    p.add_ended(raw)
            for p in parts:
                p.add_others(self.reader, self.columns)
                control = Control.read(self.reader, self.columns, p.period)
                if _inputs_hash(control) == self._known(p.day) and p.agrees(control):
                    reports += p.commit()
                else:
                    self._learn(p.day, control)
        return reports

    def _in_one_snapshot(self, day: date) -> list[StageReport]:
        with self.reader.snapshot():
            want, period = self._wanted(day), period_of(self.ws, self.site.id, day)
            control = Control.read(self.reader, self.columns, period)
            with _Day(self.ws, self.site, day, want) as p:
                for raw in self.reader.stream(queries.events(self.columns, period, want.asked), want.schema):
                    p.add_events(raw)
                for raw in self.reader.stream(queries.visits_ended(self.columns, period), RAW_VISIT):
                    p.add_ended(raw)
                p.add_others(self.reader, self.columns)
                if not p.agrees(control):
                    msg = f"site {self.site.id}, {day}: read {p.events.rows} events, the database counts {control.events} in the same moment"
                    raise MatomoDatabaseError(msg)
                self._learn(day, control)
                return p.commit()

    def _wanted(self, day: date) -> Wanted:
        period = period_of(self.ws, self.site.id, day)
        return extract.wanted(self.reader, self.columns, period, self.site, self.ws.settings.matomo)

    def _known(self, day: date) -> str:
        row = self.ws.ledger.status(self.site.id, day)
        return str(row["inputs_hash"]) if row is not None else ""

    def _learn(self, day: date, control: Control) -> None:
        """What the day holds now, where that is not what `day_status` saw."""
        if _inputs_hash(control) != self._known(day):
            advance(
                self.ws,
                self.site.id,
                day,
                DayStatus.LOADED,
                inputs_hash=_inputs_hash(control),
                counts={"matomo_events": control.events},
            )


@dataclass
class _Day:
    """One day's two tables while they are written; left as they were unless `commit` is called."""

    ws: Workspace
    site: Site
    day: date
    want: Wanted
    events: TableWriter = field(init=False)
    visits: TableWriter = field(init=False)
    ended: int = 0
    _heads: list[pl.DataFrame] = field(default_factory=list)
    _idvisits: list[pl.Series] = field(default_factory=list)
    _ended: list[pl.Series] = field(default_factory=list)
    _committed: bool = False

    def __post_init__(self) -> None:
        self.period = period_of(self.ws, self.site.id, self.day)
        self.events = self.ws.lake.writer(EVENTS, self.site.id, self.day)
        self.visits = self.ws.lake.writer(VISITS, self.site.id, self.day)

    def __enter__(self) -> _Day:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._committed:
            self.events.discard()
            self.visits.discard()

    def add_events(self, raw: pl.DataFrame) -> None:
        """Those of the rows that are the day's."""
        if not self._holds(raw["server_time"][0]):
            return
        frame = extract.events(raw, self.site, self.want)
        self._idvisits.append(frame["idvisit"].unique())
        seconds = self.ws.settings.rules.double_click_seconds
        self._heads.append(head_of(frame, self.ws.settings, self.day, seconds))
        self.events.append(frame)

    def add_ended(self, raw: pl.DataFrame) -> None:
        """The rows, of visits that end on one day, if that day is this one."""
        if self._holds(raw["visit_last_action_time"][0]):
            self.ended += raw.height
            self._ended.append(raw["idvisit"].cast(pl.Int64))
            self._add(raw)

    def add_others(self, reader: Reader, columns: Columns) -> None:
        """The visits of the day's events that end on another day: few, after all events and all that end here."""
        none = pl.Series(dtype=pl.Int64)
        ids, ended = pl.concat([none, *self._idvisits]).unique().sort(), pl.concat([none, *self._ended])
        others = ids.filter(~ids.is_in(ended.implode()))
        for k in range(0, len(others), VISITS_AT_A_TIME):
            for raw in reader.stream(queries.visits_of(columns, others[k : k + VISITS_AT_A_TIME].to_list()), RAW_VISIT):
                self._add(raw)

    def _add(self, raw: pl.DataFrame) -> None:
        self.visits.append(extract.visits(raw, self.period, store_ips=self.ws.settings.rules.store_ips))

    def _holds(self, moment: datetime) -> bool:
        """Whether a time as Matomo stores it (UTC, without saying so) is of this day."""
        return self.period.start <= moment.replace(tzinfo=UTC) < self.period.end

    def agrees(self, control: Control) -> bool:
        """Whether as many rows were read as the database counts."""
        return self.events.rows == control.events and self.ended == control.visits_ended

    def commit(self) -> list[StageReport]:
        """Puts both tables in place, events last: their manifest says that both are whole."""
        ws, s, d = self.ws, self.site.id, self.day
        mark = _mark(ws, s, d)
        head = head_hash(pl.concat(self._heads)) if self._heads else ""
        inputs = {"matomo": _known_inputs(ws, s, d), "identifier": self.want.identifier or "url"}
        of_visits = {"visits": self.visits.rows, "counted_here": self.ended, "robots": 0}
        of_events = {"events": self.events.rows, "robots": 0, "head_hash": head}
        visits = ws.lake.commit(self.visits, Manifest(VISITS.name, s, d, mark, inputs=inputs, counts=of_visits))
        events = ws.lake.commit(self.events, Manifest(EVENTS.name, s, d, mark, inputs=inputs, counts=of_events))
        self._committed = True
        _advance(ws, s, d, visits, events)
        return [StageReport.of(visits, changed=True), StageReport.of(events, changed=True)]


def _by_schema(parts: Sequence[_Day]) -> list[list[_Day]]:
    """Days whose queries have the same columns: those can be read in one go."""
    groups: dict[tuple[str, ...], list[_Day]] = defaultdict(list)
    for p in parts:
        groups[p.want.asked].append(p)
    return list(groups.values())


def _known_inputs(ws: Workspace, idsite: int, day: date) -> str:
    row = ws.ledger.status(idsite, day)
    return str(row["inputs_hash"]) if row is not None else ""


def _mark(ws: Workspace, idsite: int, day: date) -> str:
    """Over the database's control and everything else that decides the rows."""
    settings, site = ws.settings, ws.settings.site(idsite)
    m = settings.matomo
    parts = (
        m.custom_variables, m.custom_dimensions, m.table_prefix, site.identifier_slot, site.country_slot,
        items_version(site), settings.platform.time_zone, settings.rules.double_click_seconds, settings.rules.store_ips,
    )  # fmt: skip
    return fingerprint(EXTRACTION_CODE, _known_inputs(ws, idsite, day), *parts)


def _advance(ws: Workspace, idsite: int, day: date, visits: Manifest, events: Manifest) -> None:
    row = ws.ledger.status(idsite, day)
    if row is not None and row["status"] >= DayStatus.PRETABLE and row["head_hash"] == events.counts["head_hash"]:
        return
    counts = {"visits": visits.counts["counted_here"], "events": events.rows, "robots": 0}
    status = max(DayStatus.PRETABLE, DayStatus(row["status"]) if row is not None else DayStatus.QUEUE)
    advance(ws, idsite, day, status, head_hash=events.counts["head_hash"], counts=counts)


# --- a month's documents ----------------------------------------------------------------------------------------------


def documents_mark(ws: Workspace, site: Site, days: Sequence[date]) -> str:
    """Over what decides `document_rows` beside the days' metrics: a month's are made of its events and visits."""
    if site.grain == "day":
        return ""
    found = (ws.lake.manifest(t, site.id, d) for d in days for t in (EVENTS, VISITS))
    return fingerprint(*(m.content_hash for m in found if m is not None))


def document_rows(ws: Workspace, site: Site, first: date, days: Sequence[date], rules: str) -> pl.DataFrame:
    """METRICS_TABLE that the documents of the days (one day, or a month's) are made of."""
    if site.grain == "day":
        return ws.lake.scan(METRICS_TABLE, [(site.id, d) for d in days]).collect()
    return month_rows(ws, site, first, days, rules)


def month_rows(ws: Workspace, site: Site, first: date, days: Sequence[date], rules: str) -> pl.DataFrame:
    """METRICS_TABLE of a month from its events: Matomo's visits span days, and what is binary per visit does not add up."""
    last = max(days)
    return metrics(_month_buckets(ws, site, days, last), ws.settings, site, (first, last), rules).table


def _month_buckets(ws: Workspace, site: Site, days: Sequence[date], last: date) -> Iterator[Bucket]:
    parts = [(site.id, d) for d in days]
    # A visit stands on each day on which it has an event: as it was last read.
    visits = (
        ws.lake.scan(VISITS, parts)
        .select(
            "idvisit",
            "idvisitor",
            "visit_last_action_time",
            "visit_total_actions",
            "visit_total_time",
            "location_country",
        )
        .collect()
        .sort("visit_last_action_time", nulls_last=False)
        .unique("idvisit", keep="last", maintain_order=True)
        .lazy()
    )
    end = ws.settings.day_start(last + timedelta(1)) + timedelta(seconds=ws.settings.rules.double_click_seconds)
    events = ws.lake.scan(EVENTS, parts)
    tail = ws.lake.scan(EVENTS, [(site.id, last + timedelta(1))]).filter(pl.col("server_time") <= end)
    total = sum(m.rows for d in days if (m := ws.lake.manifest(EVENTS, site.id, d)) is not None)
    n = max(1, -(-total // MONTH_EVENTS))
    for k in range(n):
        if n == 1:
            yield Bucket(events, visits, tail)
            continue
        mine = pl.col("idvisitor").hash() % n == k  # any even split does
        yield Bucket(events.filter(mine), visits, tail.filter(mine))
