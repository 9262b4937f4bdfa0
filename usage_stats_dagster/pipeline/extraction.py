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
from queue import SimpleQueue
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
from usage_stats_dagster.pipeline.status import GOES_ON, Reached, advance, advance_all, statuses_of
from usage_stats_dagster.pipeline.threads import in_threads
from usage_stats_dagster.pipeline.tracking import head_hash, head_of
from usage_stats_dagster.pipeline.workspace import Workspace
from usage_stats_dagster.schemas import EVENTS, METRICS_TABLE, VISITS
from usage_stats_dagster.settings import Site

EXTRACTION_CODE = "1"
"""Raised when the code makes other rows of the same database: then days are stale."""

RECHECKED_DAYS = 7
"""Without dates, a run looks again at so many last days of a site, besides those that it has not made yet."""

MONTH_EVENTS = 150_000
"""Events of a month that are counted at a time, all of some visitors'."""

VISITS_AT_A_TIME = 5_000

ADVANCED_DAYS = 50
"""Days whose statuses one transaction writes."""

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
    """Visits and events of the site-days, several at a time; days that are as they were are left."""
    reports: list[StageReport] = []
    stale: list[tuple[int, date]] = []
    rows = statuses_of(ws, todo)
    inputs = {key: str(rows[key]["inputs_hash"]) if key in rows else "" for key in todo}
    left: list[tuple[Manifest, Manifest]] = []
    for key in sorted(todo):
        visits, events = ws.lake.manifest(VISITS, *key), ws.lake.manifest(EVENTS, *key)
        mark = _mark(ws, key[0], inputs[key])
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

        def read(key: tuple[int, date]) -> tuple[Manifest, Manifest]:
            reader = readers.get()
            try:
                return _Job(ws, source, reader, columns, ws.settings.site(key[0])).day(key[1], inputs[key])
            finally:
                readers.put(reader)

        made: list[tuple[Manifest, Manifest]] = []
        for done in in_threads(read, stale, threads):
            made.append(done)
            reports += [StageReport.of(m, changed=True) for m in done]
            ws.progress("reading Matomo", len(reports), 2 * len(todo))
            if len(made) >= ADVANCED_DAYS:
                _advance(ws, made)
                made = []
        _advance(ws, made)
    return reports


@dataclass
class _Job:
    """A day of a site on its way from the database into the lake."""

    ws: Workspace
    source: Database
    reader: Reader
    columns: Columns
    site: Site

    def day(self, day: date, inputs: str) -> tuple[Manifest, Manifest]:
        """Reads the day by connectorx; one that changed meanwhile, or that it can't read, by pymysql in one snapshot.

        `inputs`: the hash of the control that `day_status` saw.
        """
        if self.ws.settings.matomo.client == "connectorx" and self.source.streams:
            for _ in range(_TRIES):
                try:
                    done, control = self._streamed(day, inputs)
                except ClientFailedError:
                    break
                if done is not None:
                    return done
                inputs = self._learn(day, control, inputs)
        return self._in_one_snapshot(day, inputs)

    def _streamed(self, day: date, inputs: str) -> tuple[tuple[Manifest, Manifest] | None, Control]:
        """The day's tables, None where what was read is not of one moment; and what the day holds after it was read."""
        with _Day(self.ws, self.site, day, self._wanted(day)) as p:
            for raw in self.source.stream([queries.events(self.columns, p.period, p.want.asked)]):
                p.add_events(raw)
            for raw in self.source.stream([queries.visits_ended(self.columns, p.period)]):
                p.add_ended(raw)
            p.add_others(self.reader, self.columns)
            control = Control.read(self.reader, self.columns, p.period)
            same = _inputs_hash(control) == inputs and p.agrees(control)
            return (p.commit(inputs) if same else None), control

    def _in_one_snapshot(self, day: date, inputs: str) -> tuple[Manifest, Manifest]:
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
                return p.commit(self._learn(day, control, inputs))

    def _wanted(self, day: date) -> Wanted:
        period = period_of(self.ws, self.site.id, day)
        return extract.wanted(self.reader, self.columns, period, self.site, self.ws.settings.matomo)

    def _learn(self, day: date, control: Control, inputs: str) -> str:
        """What the day holds now, where that is not what `day_status` saw."""
        now = _inputs_hash(control)
        if now != inputs:
            counts = {"matomo_events": control.events}
            advance(self.ws, self.site.id, day, DayStatus.LOADED, inputs_hash=now, counts=counts)
        return now


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
        """Rows of the day's events, in their order."""
        frame = extract.events(raw, self.site, self.want)
        self._idvisits.append(frame["idvisit"].unique())
        seconds = self.ws.settings.rules.double_click_seconds
        self._heads.append(head_of(frame, self.ws.settings, self.day, seconds))
        self.events.append(frame)

    def add_ended(self, raw: pl.DataFrame) -> None:
        """Rows of visits that end on the day."""
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

    def agrees(self, control: Control) -> bool:
        """Whether as many rows were read as the database counts."""
        return self.events.rows == control.events and self.ended == control.visits_ended

    def commit(self, inputs: str) -> tuple[Manifest, Manifest]:
        """Puts both tables in place, events last: their manifest says that both are whole."""
        ws, s, d = self.ws, self.site.id, self.day
        mark = _mark(ws, s, inputs)
        head = head_hash(pl.concat(self._heads)) if self._heads else ""
        used = {"matomo": inputs, "identifier": self.want.identifier or "url"}
        of_visits = {"visits": self.visits.rows, "counted_here": self.ended, "robots": 0}
        of_events = {"events": self.events.rows, "robots": 0, "head_hash": head}
        visits = ws.lake.commit(self.visits, Manifest(VISITS.name, s, d, mark, inputs=used, counts=of_visits))
        events = ws.lake.commit(self.events, Manifest(EVENTS.name, s, d, mark, inputs=used, counts=of_events))
        self._committed = True
        return visits, events


def _mark(ws: Workspace, idsite: int, inputs: str) -> str:
    """Over the database's control (its hash, `inputs`) and everything else that decides the rows."""
    settings, site = ws.settings, ws.settings.site(idsite)
    m = settings.matomo
    parts = (
        m.custom_variables, m.custom_dimensions, m.table_prefix, site.identifier_slot, site.country_slot,
        items_version(site), settings.platform.time_zone, settings.rules.double_click_seconds, settings.rules.store_ips,
    )  # fmt: skip
    return fingerprint(EXTRACTION_CODE, inputs, *parts)


def _advance(ws: Workspace, made: Sequence[tuple[Manifest, Manifest]]) -> None:
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
    following = ws.settings.day_after(last)
    end = ws.settings.day_start(following) + timedelta(seconds=ws.settings.rules.double_click_seconds)
    events = ws.lake.scan(EVENTS, parts)
    tail = ws.lake.scan(EVENTS, [(site.id, following)]).filter(pl.col("server_time") <= end)
    total = sum(m.rows for d in days if (m := ws.lake.manifest(EVENTS, site.id, d)) is not None)
    n = max(1, -(-total // MONTH_EVENTS))
    for k in range(n):
        if n == 1:
            yield Bucket(events, visits, tail)
            continue
        mine = pl.col("idvisitor").hash() % n == k  # any even split does
        yield Bucket(events.filter(mine), visits, tail.filter(mine))
