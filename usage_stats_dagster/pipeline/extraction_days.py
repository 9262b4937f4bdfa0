"""Days of a site from a Matomo's database into `visits` and `events`.

What belongs here: reading a stretch of days into both tables of each, and that a day's tables are of one moment. What does
not: which days are read and in which stretches (`extraction.py`), SQL and clients (`matomo/`).

connectorx opens a connection a query, so what it reads is of one moment only if its rows add up to the day's control
(`matomo/control.py`) as `day_status` saw it, or if the database says the same control once more: else the day is read
again by itself, and at last by pymysql in one transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import groupby, pairwise

import numpy as np
import numpy.typing as npt
import polars as pl

from usage_stats_dagster.items.version import version as items_version
from usage_stats_dagster.lake.store import Manifest
from usage_stats_dagster.lake.writer import TableWriter
from usage_stats_dagster.ledger.tables import DayStatus
from usage_stats_dagster.matomo import extract, queries
from usage_stats_dagster.matomo.actions import Actions
from usage_stats_dagster.matomo.columns import Columns
from usage_stats_dagster.matomo.control import Control, Tally, said
from usage_stats_dagster.matomo.database import ClientFailedError, Database, MatomoDatabaseError, Reader
from usage_stats_dagster.matomo.extract import Wanted
from usage_stats_dagster.matomo.queries import RAW_VISIT, Page, Period
from usage_stats_dagster.pipeline.stage import fingerprint
from usage_stats_dagster.pipeline.status import advance
from usage_stats_dagster.pipeline.tracking import HEAD, head_hash
from usage_stats_dagster.pipeline.workspace import Workspace
from usage_stats_dagster.schemas import EVENTS, VISITS
from usage_stats_dagster.settings import Site

EXTRACTION_CODE = "1"
"""Raised when the code makes other rows of the same database: then days are stale."""

PAGE_ROWS = 64_000
"""Rows of an answer of connectorx, which is in memory as a whole: more than a stretch has, but for one day that has more."""

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
        if self.ws.settings.matomo.client == "connectorx" and self.source.has_columns:
            try:
                for want, stretch in groupby(inputs, key=self._wanted):
                    self._by_columns(list(stretch), want, inputs, made)
                for day in [d for d in inputs if d not in made]:
                    self._by_columns([day], self._wanted(day), inputs, made)
            except ClientFailedError:
                pass  # pymysql may still read them
        return [made.get(day) or self._in_one_snapshot(day, seen) for day, seen in inputs.items()]

    def _by_columns(self, days: list[date], want: Wanted, inputs: dict[date, str], made: dict[date, Made]) -> None:
        """Adds to `made` those of the days whose rows are of one moment; puts what the others hold now into `inputs`."""
        with ExitStack() as stack:
            parts = [stack.enter_context(_Day(self.ws, self.site, d, want)) for d in days]
            whole, reading = Period(self.site.id, parts[0].period.start, parts[-1].period.end), _Stretch(parts)
            events = partial(queries.events_by_id, self.columns, whole, want.asked)
            for raw in self._pages(events, "server_time", "idlink_va"):
                reading.add_events(extract.events(self.actions.named(raw, self._asked), self.site, want))
            ended = partial(queries.visits_ended, self.columns, whole)
            for raw in self._pages(ended, "visit_last_action_time", "idvisit"):
                reading.add_ended(self._visits(raw, counted_here=True))
            self._add_others(reading)
            for part in parts:
                control, seen = part.tally.control(), inputs[part.day]
                if hash_of(control) != seen:
                    control = Control.read(self.reader, self.columns, part.period)
                    inputs[part.day] = self._learn(part.day, control, seen)
                    if hash_of(control) != seen or not part.agrees(control):
                        continue
                made[part.day] = part.commit(seen)

    def _pages(self, query: Callable[[Page], str], time: str, key: str) -> Iterator[pl.DataFrame]:
        """The rows of a query that is ordered by time and key, as many at a time as may be in memory."""
        page = Page(PAGE_ROWS)
        while (raw := self._asked(query(page))).height:
            yield raw
            if raw.height < page.rows:
                return
            page = Page(page.rows, (raw[time][-1].replace(tzinfo=UTC), int(raw[key][-1])))

    def _asked(self, query: str) -> pl.DataFrame:
        return self.source.columns(query)

    def _in_one_snapshot(self, day: date, inputs: str) -> Made:
        with self.reader.snapshot():
            want, period = self._wanted(day), period_of(self.ws, self.site.id, day)
            control = Control.read(self.reader, self.columns, period)
            with _Day(self.ws, self.site, day, want) as part:
                reading = _Stretch([part])
                for raw in self.reader.stream(queries.events(self.columns, period, want.asked), want.schema):
                    reading.add_events(extract.events(raw, self.site, want))
                for raw in self.reader.stream(queries.visits_ended(self.columns, period), RAW_VISIT):
                    reading.add_ended(self._visits(raw, counted_here=True))
                self._add_others(reading)
                if not part.agrees(control):
                    msg = f"site {self.site.id}, {day}: read {part.events.rows} events, the database counts {control.events} in the same moment"
                    raise MatomoDatabaseError(msg)
                return part.commit(self._learn(day, control, inputs))

    def _add_others(self, reading: _Stretch) -> None:
        """To each day the visits of its events that end on another: out of those that were read, else from the database."""
        left = reading.not_read()
        others = []
        for k in range(0, len(left), VISITS_AT_A_TIME):
            query = queries.visits_of(self.columns, left[k : k + VISITS_AT_A_TIME])
            others += [self._visits(raw, counted_here=False) for raw in self.reader.stream(query, RAW_VISIT)]
        reading.add_others(others)

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
        self.tally.add_events(rows)
        self.events.append(rows)
        until = self.period.start + timedelta(seconds=self.ws.settings.rules.double_click_seconds)
        first = int(np.searchsorted(_instants(rows["server_time"]), _instant(until), "right"))
        if first:
            self._heads.append(rows[:first].select(HEAD))

    def add_visits(self, rows: pl.DataFrame, said: npt.NDArray[np.int64]) -> None:
        """Further rows of the day's VISITS, with what control.said gives of them: those that end on it, then the others."""
        self.tally.add_visits(rows, said)
        self.visits.append(rows)

    def agrees(self, control: Control) -> bool:
        """Whether as many rows were read as the database counts."""
        return (self.events.rows, self.tally.visits_ended) == (control.events, control.visits_ended)

    def commit(self, inputs: str) -> Made:
        """Puts both tables in place, events last: their manifest says that both are whole."""
        ws, s, d = self.ws, self.site.id, self.day
        mark = mark_of(ws, s, inputs)
        head = head_hash(pl.concat(self._heads)) if self._heads else ""
        used = {"matomo": inputs, "identifier": self.want.identifier or "url"}
        of_visits = {"visits": self.visits.rows, "counted_here": self.tally.visits_ended, "robots": 0}
        of_events = {"events": self.events.rows, "robots": 0, "head_hash": head}
        visits = ws.lake.commit(self.visits, Manifest(VISITS.name, s, d, mark, inputs=used, counts=of_visits))
        events = ws.lake.commit(self.events, Manifest(EVENTS.name, s, d, mark, inputs=used, counts=of_events))
        self._committed = True
        return visits, events


@dataclass
class _Stretch:
    """Rows of days that follow one another, each on its way to the day that it is of."""

    days: list[_Day]
    _named: list[pl.DataFrame] = field(default_factory=list)
    """idvisit and day of the events: the place in `days`."""
    _ended: list[pl.DataFrame] = field(default_factory=list)
    """idvisit and day of the visits; all columns where there are days on which others of these visits may be missing."""

    def add_events(self, events: pl.DataFrame) -> None:
        """Further EVENTS, in the order of their time."""
        for k, start, end in self._cuts(events["server_time"]):
            self.days[k].add_events(events[start:end])
            self._named.append(_of_day(events[start:end].select("idvisit").unique(), k))

    def add_ended(self, visits: pl.DataFrame) -> None:
        """Further VISITS that end on one of the days, in the order of their last action."""
        of = said(visits)
        kept = visits if len(self.days) > 1 else visits.select("idvisit")
        for k, start, end in self._cuts(visits["visit_last_action_time"]):
            self.days[k].add_visits(visits[start:end], of[start:end])
            self._ended.append(_of_day(kept[start:end], k))

    def not_read(self) -> list[int]:
        """Ids of the visits that events name and that end on none of the days, in order."""
        missing = self._missing()
        return sorted(missing.join(self._ids_ended(), on="idvisit", how="anti")["idvisit"].unique())

    def add_others(self, read: Sequence[pl.DataFrame]) -> None:
        """To each day, in the order of their ids, the visits that its events name and that end on another day.

        `read`: VISITS of those that are `not_read`.
        """
        missing = self._missing()
        whole = [f.select([*VISITS.columns]) for f in self._ended if len(self.days) > 1]
        here = pl.concat([VISITS.empty(), *whole]).with_columns(counted_here=pl.lit(value=False))
        found = missing.join(pl.concat([here, *read]), on="idvisit").sort("day", "idvisit")
        for (k,), rows in found.partition_by("day", as_dict=True, include_key=False).items():
            others = rows.select([*VISITS.columns])
            self.days[k].add_visits(others, said(others))

    def _missing(self) -> pl.DataFrame:
        """idvisit, day: which visit's rows each day lacks."""
        named = pl.concat([_NOBODY, *self._named]).unique()
        return named.join(self._ids_ended(), on=["idvisit", "day"], how="anti")

    def _ids_ended(self) -> pl.DataFrame:
        return pl.concat([_NOBODY, *(f.select(_NOBODY.columns) for f in self._ended)])

    def _cuts(self, times: pl.Series) -> Iterator[tuple[int, int, int]]:
        """The number of each day that has rows, and from where to where; the times are in order and within the days."""
        starts = [_instant(day.period.start) for day in self.days]
        cuts = np.searchsorted(_instants(times), starts).tolist()
        return ((k, a, b) for k, (a, b) in enumerate(pairwise([*cuts, len(times)])) if b > a)


def _instant(moment: datetime) -> int:
    """Microseconds, as columns hold times."""
    return int(moment.timestamp()) * 1_000_000


def _instants(times: pl.Series) -> npt.NDArray[np.int64]:
    return times.to_physical().to_numpy()


_NOBODY = pl.DataFrame(schema={"idvisit": pl.Int64, "day": pl.Int32})


def _of_day(frame: pl.DataFrame, k: int) -> pl.DataFrame:
    return frame.with_columns(pl.lit(k, pl.Int32).alias("day"))


def period_of(ws: Workspace, idsite: int, day: date) -> Period:
    """The site's day, from midnight to midnight in the platform's zone."""
    return Period(idsite, ws.settings.day_start(day), ws.settings.day_start(ws.settings.day_after(day)))


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
