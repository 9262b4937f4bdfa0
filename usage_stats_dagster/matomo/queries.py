"""The queries: a site's events of a day, its visits, and the control that tells whether either has changed.

What belongs here: SQL, each query on an index. What does not: running it (`database.py`), what its rows become
(`extract.py`).

Every value in the text is a number or a time that we wrote ourselves, or a column's name out of `information_schema`.
"""

# ruff: noqa: S608
from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import polars as pl

from usage_stats_dagster.matomo.columns import ACTION, EVENT, TIME_INDEX, VISIT, Columns
from usage_stats_dagster.matomo.zero_dates import safe_time

SEARCH_TYPE = 8
"""Type of a keyword in log_action; a search has it in idaction_name, and no idaction_url."""

RAW_EVENT = pl.Schema(
    {
        "idlink_va": pl.Int64(),
        "idvisit": pl.Int64(),
        "idvisitor": pl.Binary(),
        "server_time": pl.Datetime("us"),
        "action_type": pl.Int64(),
        "action_url": pl.String(),
        "action_url_prefix": pl.Int64(),
        "keyword": pl.String(),
        "keyword_type": pl.Int64(),
        "time_spent_ref_action": pl.Int64(),
    }
)
"""What `events` asks for, before the custom columns."""

RAW_VISIT = pl.Schema(
    {
        "idvisit": pl.Int64(),
        "idvisitor": pl.Binary(),
        "visit_first_action_time": pl.Datetime("us"),
        "visit_last_action_time": pl.Datetime("us"),
        "visit_total_actions": pl.Int64(),
        "visit_total_time": pl.Int64(),
        "location_country": pl.String(),
        "location_ip": pl.Binary(),
        "referer_type": pl.Int64(),
        "referer_name": pl.String(),
        "config_browser_name": pl.String(),
        "config_os": pl.String(),
        "config_device_type": pl.Int64(),
    }
)
"""What `visits_ended` and `visits_of` ask for."""


RAW_ACTION = pl.Schema({"idaction": pl.Int64(), "type": pl.Int64(), "name": pl.String(), "url_prefix": pl.Int64()})
"""What `actions` asks for."""

LATER = timedelta(hours=3)
"""A visit that ends so much after a period, at most, is watched with it: what it says of its length may still grow."""

ID_MODULUS, SECONDS_MODULUS, COUNTRY_MODULUS, ACTIONS_FACTOR, SPENT_FACTOR = 1_000_003, 86_413, 65_521, 31, 7
"""Of the sum over visits in `control`: products that stay below 2**63, whatever a day holds; two visits that swap what they
say have another sum."""


@dataclass(frozen=True)
class Period:
    """A site's stretch of time: start included, end not; both UTC."""

    idsite: int
    start: datetime
    end: datetime

    def of(self, alias: str, column: str) -> str:
        """The condition on site and time, as the indexes (idsite, time) want it."""
        return f"{alias}.idsite = {self.idsite:d} AND {alias}.{column} >= {literal(self.start)} AND {alias}.{column} < {literal(self.end)}"


@dataclass(frozen=True)
class Page:
    """Of a query's rows in the order of their time and id: at most `rows`, those after the row of that time and id."""

    rows: int
    after: tuple[datetime, int] | None = None

    def of(self, period: Period, alias: str, column: str, key: str) -> str:
        """As Period.of; `key` is the id that the index has after the time."""
        if self.after is None:
            return period.of(alias, column)
        moment, last = self.after
        rest = Period(period.idsite, moment, period.end).of(alias, column)
        return f"{rest} AND ({alias}.{column} > {literal(moment)} OR {alias}.{key} > {last:d})"


def literal(moment: datetime) -> str:
    """A moment as SQL, in UTC as Matomo stores times."""
    return f"'{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}'"


def events(columns: Columns, period: Period, custom: Sequence[str]) -> str:
    """The period's events in the order of (server_time, idlink_va), which the index has: nothing is sorted.

    `custom`: custom variables and dimensions to come along, in order; null where this Matomo has no such column.
    """
    names = (
        "a.type AS action_type, a.name AS action_url, a.url_prefix AS action_url_prefix, "
        "k.name AS keyword, k.type AS keyword_type"
    )
    joins = (
        f"LEFT JOIN {columns.table(ACTION)} a ON a.idaction = e.idaction_url "
        f"LEFT JOIN {columns.table(ACTION)} k ON k.idaction = e.idaction_name AND k.type = {SEARCH_TYPE} "
    )
    return _events(columns, custom, names, joins, period.of("e", "server_time"))


def events_by_id(columns: Columns, period: Period, custom: Sequence[str], page: Page) -> str:
    """A page of `events`, with the ids of the actions in place of what they are called (`actions`): half the server's time."""
    where = page.of(period, "e", "server_time", "idlink_va")
    return f"{_events(columns, custom, 'e.idaction_url, e.idaction_name', '', where)} LIMIT {page.rows:d}"


def _events(columns: Columns, custom: Sequence[str], names: str, joins: str, where: str) -> str:
    extra = "".join(f", {columns.text(EVENT, 'e', c)} AS {c}" for c in custom)
    index = f" FORCE INDEX ({TIME_INDEX})" if columns.has_time_index else ""
    return (
        f"SELECT e.idlink_va, e.idvisit, e.idvisitor, {safe_time('e.server_time')} AS server_time, {names}, "
        f"{columns.number(EVENT, 'e', 'time_spent_ref_action')} AS time_spent_ref_action{extra} "
        f"FROM {columns.table(EVENT)} e{index} {joins}"
        f"WHERE {where} ORDER BY e.server_time, e.idlink_va"
    )


def actions(columns: Columns, idactions: Sequence[int], *, keywords: bool) -> str:
    """What the actions of those ids are called, of any type or keywords only. At least one id."""
    only = f" AND a.type = {SEARCH_TYPE}" if keywords else ""
    return (
        f"SELECT a.idaction, a.type, a.name, a.url_prefix FROM {columns.table(ACTION)} a "
        f"WHERE a.idaction IN ({', '.join(f'{i:d}' for i in idactions)}){only}"
    )


def visits_ended(columns: Columns, period: Period, page: Page | None = None) -> str:
    """The visits whose last action is in the period, or a page of them, by the index on (idsite, visit_last_action_time)."""
    last = "visit_last_action_time"
    where = page.of(period, "v", last, "idvisit") if page else period.of("v", last)
    return f"{_visits(columns)} WHERE {where} ORDER BY v.{last}, v.idvisit{f' LIMIT {page.rows:d}' if page else ''}"


def visits_of(columns: Columns, idvisits: Iterable[int]) -> str:
    """The visits of those ids: the few with an event on a day on which they don't end."""
    return f"{_visits(columns)} WHERE v.idvisit IN ({', '.join(f'{i:d}' for i in idvisits)}) ORDER BY v.idvisit"


def control(columns: Columns, period: Period) -> tuple[str, str]:
    """Two queries of one row each whose answers change when an event or a visit of the period does (`control.py`).

    Events by their index alone: count, least, greatest and sum of idlink_va, sum of seconds. Visits that overlap the
    period and end at most so much after it: how many end in it, how many in all, and a sum over what is used of them.
    """
    later = Period(period.idsite, period.start, period.end + LATER)
    seconds = "TO_SECONDS(v.visit_last_action_time)"
    actions, spent = (columns.number(VISIT, "v", c) for c in ("visit_total_actions", "visit_total_time"))
    country = columns.text(VISIT, "v", "location_country")
    said = (
        f"{seconds} MOD {SECONDS_MODULUS} + {ACTIONS_FACTOR} * COALESCE({actions}, 0) + {SPENT_FACTOR} * COALESCE({spent}, 0)"
        f" + COALESCE(CRC32(LOWER({country})), 0) MOD {COUNTRY_MODULUS}"
    )
    return (
        "SELECT COUNT(*), COALESCE(MIN(e.idlink_va), 0), COALESCE(MAX(e.idlink_va), 0), COALESCE(SUM(e.idlink_va), 0), "
        f"COALESCE(SUM(TO_SECONDS(e.server_time)), 0) FROM {columns.table(EVENT)} e WHERE {period.of('e', 'server_time')}",
        f"SELECT COALESCE(SUM(v.visit_last_action_time < {literal(period.end)}), 0), COUNT(*), "
        f"COALESCE(SUM((v.idvisit MOD {ID_MODULUS}) * ({said})), 0) FROM {columns.table(VISIT)} v "
        f"WHERE {later.of('v', 'visit_last_action_time')} AND v.visit_first_action_time < {literal(period.end)}",
    )


def filled(columns: Columns, period: Period, column: str) -> str:
    """One row if the period has an OAI identifier in that column of its events."""
    return (
        f"SELECT 1 FROM {columns.table(EVENT)} e WHERE {period.of('e', 'server_time')} "
        f"AND e.{column} LIKE 'oai:%' LIMIT 1"
    )


def sites(columns: Columns) -> str:
    """The ids of all sites that have visits."""
    return f"SELECT DISTINCT v.idsite FROM {columns.table(VISIT)} v ORDER BY 1"


def first_and_last(columns: Columns, idsite: int) -> str:
    """The times of a site's first and last event (null for none)."""
    return f"SELECT MIN(e.server_time), MAX(e.server_time) FROM {columns.table(EVENT)} e WHERE e.idsite = {idsite:d} AND e.server_time > '1971-01-01'"


def _visits(columns: Columns) -> str:
    numbers = ("visit_total_actions", "visit_total_time", "referer_type", "config_device_type")
    times = ("visit_first_action_time", "visit_last_action_time")
    texts = [c for c in RAW_VISIT if c not in (*numbers, *times, "idvisit", "idvisitor")]
    chosen = {
        "idvisit": "v.idvisit",
        "idvisitor": "v.idvisitor",
        **{c: safe_time(f"v.{c}") for c in times},
        **{c: columns.number(VISIT, "v", c) for c in numbers},
        **{c: columns.text(VISIT, "v", c) for c in texts},
    }
    return f"SELECT {', '.join(f'{chosen[c]} AS {c}' for c in RAW_VISIT)} FROM {columns.table(VISIT)} v"
