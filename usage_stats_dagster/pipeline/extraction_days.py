"""Days of a site from a Matomo's database into `visits` and `events`.

What belongs here: reading a stretch of days into both tables of each, and that a day's tables are of one moment. What does
not: which days are read and in which stretches (`extraction.py`), SQL and clients (`matomo/`).

connectorx opens a connection a query, so what it reads is of one moment only if its rows add up to the day's control
(`matomo/control.py`) as `day_status` saw it, or if the database says the same control once more: else the day is read
again by itself, and at last by pymysql in one transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import groupby, pairwise

import polars as pl

from usage_stats_dagster.items.version import version as items_version
from usage_stats_dagster.lake.store import Manifest
from usage_stats_dagster.lake.writer import TableWriter
from usage_stats_dagster.ledger.tables import DayStatus
from usage_stats_dagster.matomo import extract, queries
from usage_stats_dagster.matomo.actions import Actions
from usage_stats_dagster.matomo.columns import Columns
from usage_stats_dagster.matomo.control import Control, Tally
from usage_stats_dagster.matomo.database import ClientFailedError, Database, MatomoDatabaseError, Reader
from usage_stats_dagster.matomo.extract import Wanted
from usage_stats_dagster.matomo.queries import RAW_VISIT, Period
from usage_stats_dagster.pipeline.stage import fingerprint
from usage_stats_dagster.pipeline.status import advance
from usage_stats_dagster.pipeline.tracking import head_hash, head_of
from usage_stats_dagster.pipeline.workspace import Workspace
from usage_stats_dagster.schemas import EVENTS, VISITS
from usage_stats_dagster.settings import Site

EXTRACTION_CODE = "1"
"""Raised when the code makes other rows of the same database: then days are stale."""

VISITS_AT_A_TIME = 5_000

Made = tuple[Manifest, Manifest]
"""Of a day's visits and events."""


@dataclass
class SiteReading:
    """A site whose days are read by one thread."""

    ws: Workspace
    source: Database
    reader: Reader
    columns: Columns
    actions: Actions
    site: Site

    def days(self, days: Mapping[date, str]) -> list[Made]:
        """Reads days that follow one another by connectorx; one that changed meanwhile, or that it can't read, by pymysql.

        `days`: each with the hash of the control that `day_status` saw.
        """
        inputs, made = dict(days), dict[date, Made]()
        if self.ws.settings.matomo.client == "connectorx" and self.source.streams:
            try:
                for want, stretch in groupby(inputs, key=self._wanted):
                    self._stream(list(stretch), want, inputs, made)
                for day in [d for d in inputs if d not in made]:
                    self._stream([day], self._wanted(day), inputs, made)
            except ClientFailedError:
                pass  # pymysql may still read them
        return [made.get(day) or self._in_one_snapshot(day, seen) for day, seen in inputs.items()]

    def _stream(self, days: list[date], want: Wanted, inputs: dict[date, str], made: dict[date, Made]) -> None:
        """Adds to `made` those of the days whose rows are of one moment; puts what the others hold now into `inputs`."""
        with ExitStack() as stack:
            parts = [stack.enter_context(_Day(self.ws, self.site, d, want)) for d in days]
            whole = Period(self.site.id, parts[0].period.start, parts[-1].period.end)
            for raw in self._asked(queries.events_by_id(self.columns, whole, want.asked)):
                frame = extract.events(self.actions.named(raw, self._asked), self.site, want)
                for part, rows in _by_day(frame, "server_time", parts):
                    part.add_events(rows)
            ended = []
            for raw in self._asked(queries.visits_ended(self.columns, whole)):
                frame = self._visits(raw, counted_here=True)
                for part, rows in _by_day(frame, "visit_last_action_time", parts):
                    part.add_visits(rows)
                if len(parts) > 1:
                    ended.append(frame)
            self._add_others(parts, ended)
            for part in parts:
                control, seen = part.tally.control(), inputs[part.day]
                if hash_of(control) != seen:
                    control = Control.read(self.reader, self.columns, part.period)
                    inputs[part.day] = self._learn(part.day, control, seen)
                    if hash_of(control) != seen or not part.agrees(control):
                        continue
                made[part.day] = part.commit(seen)

    def _asked(self, query: str) -> Iterator[pl.DataFrame]:
        return self.source.stream([query])

    def _in_one_snapshot(self, day: date, inputs: str) -> Made:
        with self.reader.snapshot():
            want, period = self._wanted(day), period_of(self.ws, self.site.id, day)
            control = Control.read(self.reader, self.columns, period)
            with _Day(self.ws, self.site, day, want) as part:
                for raw in self.reader.stream(queries.events(self.columns, period, want.asked), want.schema):
                    part.add_events(extract.events(raw, self.site, want))
                for raw in self.reader.stream(queries.visits_ended(self.columns, period), RAW_VISIT):
                    part.add_visits(self._visits(raw, counted_here=True))
                self._add_others([part], [])
                if not part.agrees(control):
                    msg = f"site {self.site.id}, {day}: read {part.events.rows} events, the database counts {control.events} in the same moment"
                    raise MatomoDatabaseError(msg)
                return part.commit(self._learn(day, control, inputs))

    def _add_others(self, parts: Iterable[_Day], read: list[pl.DataFrame]) -> None:
        """To each day the visits of its events that end on another: out of those that were `read`, else from the database."""
        missing = {part.day: part.missing() for part in parts}
        wanted = pl.concat([pl.Series(dtype=pl.Int64), *missing.values()]).unique().sort()
        here = pl.concat([VISITS.empty(), *read]).filter(pl.col("idvisit").is_in(wanted.implode()))
        others = [here.with_columns(counted_here=pl.lit(value=False))]
        left = wanted.filter(~wanted.is_in(here["idvisit"].implode())).to_list()
        for k in range(0, len(left), VISITS_AT_A_TIME):
            query = queries.visits_of(self.columns, left[k : k + VISITS_AT_A_TIME])
            others += [self._visits(raw, counted_here=False) for raw in self.reader.stream(query, RAW_VISIT)]
        found = pl.concat(others).sort("idvisit")
        for part in parts:
            part.add_visits(found.filter(pl.col("idvisit").is_in(missing[part.day].implode())))

    def _visits(self, raw: pl.DataFrame, *, counted_here: bool) -> pl.DataFrame:
        store_ips = self.ws.settings.rules.store_ips
        return extract.visits(raw, self.site.id, store_ips=store_ips, counted_here=counted_here)

    def _wanted(self, day: date) -> Wanted:
        period = period_of(self.ws, self.site.id, day)
        return extract.wanted(self.reader, self.columns, period, self.site, self.ws.settings.matomo)

    def _learn(self, day: date, control: Control, inputs: str) -> str:
        """What the day holds now, where that is not what `day_status` saw."""
        now = hash_of(control)
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
    _heads: list[pl.DataFrame] = field(default_factory=list)
    _named: list[pl.Series] = field(default_factory=list)
    _known: list[pl.Series] = field(default_factory=list)
    _committed: bool = False

    def __post_init__(self) -> None:
        self.period = period_of(self.ws, self.site.id, self.day)
        self.tally = Tally(self.period)
        self.events = self.ws.lake.writer(EVENTS, self.site.id, self.day)
        self.visits = self.ws.lake.writer(VISITS, self.site.id, self.day)

    def __enter__(self) -> _Day:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._committed:
            self.events.discard()
            self.visits.discard()

    def add_events(self, rows: pl.DataFrame) -> None:
        """Further rows of the day's EVENTS, in their order."""
        self._named.append(rows["idvisit"].unique())
        seconds = self.ws.settings.rules.double_click_seconds
        self._heads.append(head_of(rows, self.ws.settings, self.day, seconds))
        self.tally.add_events(rows)
        self.events.append(rows)

    def add_visits(self, rows: pl.DataFrame) -> None:
        """Further rows of the day's VISITS: those that end on it first, then, all at once, the others."""
        self._known.append(rows["idvisit"])
        self.tally.add_visits(rows)
        self.visits.append(rows)

    def missing(self) -> pl.Series:
        """Ids of the visits that the events name and that are not there."""
        none = pl.Series(dtype=pl.Int64)
        named, known = pl.concat([none, *self._named]).unique(), pl.concat([none, *self._known])
        return named.filter(~named.is_in(known.implode()))

    def agrees(self, control: Control) -> bool:
        """Whether as many rows were read as the database counts."""
        return (self.events.rows, self.tally.control().visits_ended) == (control.events, control.visits_ended)

    def commit(self, inputs: str) -> Made:
        """Puts both tables in place, events last: their manifest says that both are whole."""
        ws, s, d = self.ws, self.site.id, self.day
        mark = mark_of(ws, s, inputs)
        head = head_hash(pl.concat(self._heads)) if self._heads else ""
        used = {"matomo": inputs, "identifier": self.want.identifier or "url"}
        of_visits = {"visits": self.visits.rows, "counted_here": self.tally.control().visits_ended, "robots": 0}
        of_events = {"events": self.events.rows, "robots": 0, "head_hash": head}
        visits = ws.lake.commit(self.visits, Manifest(VISITS.name, s, d, mark, inputs=used, counts=of_visits))
        events = ws.lake.commit(self.events, Manifest(EVENTS.name, s, d, mark, inputs=used, counts=of_events))
        self._committed = True
        return visits, events


def _by_day(frame: pl.DataFrame, time: str, parts: list[_Day]) -> Iterator[tuple[_Day, pl.DataFrame]]:
    """The rows, which are in the order of the time, by the day that they are of; days that follow one another."""
    cuts = [int(frame[time].search_sorted(part.period.start, "left")) for part in parts]
    for part, (start, end) in zip(parts, pairwise([*cuts, frame.height]), strict=True):
        if end > start:
            yield part, frame[start:end]


def period_of(ws: Workspace, idsite: int, day: date) -> Period:
    """The site's day, from midnight to midnight in the platform's zone."""
    return Period(idsite, ws.settings.day_start(day), ws.settings.day_start(day + timedelta(1)))


def hash_of(control: Control) -> str:
    """What the ledger keeps of a control."""
    return fingerprint(control.text)


def mark_of(ws: Workspace, idsite: int, inputs: str) -> str:
    """Over the database's control (its hash, `inputs`) and everything else that decides the rows."""
    settings, site = ws.settings, ws.settings.site(idsite)
    m = settings.matomo
    parts = (
        m.custom_variables, m.custom_dimensions, m.table_prefix, site.identifier_slot, site.country_slot,
        items_version(site), settings.platform.time_zone, settings.rules.double_click_seconds, settings.rules.store_ips,
    )  # fmt: skip
    return fingerprint(EXTRACTION_CODE, inputs, *parts)
