"""Which of the requests sent does Matomo have? Asked of its database, or of its Live API where there is none.

What belongs here: finding marks, counting a day's actions. What does not: what follows from the answer (`sender.py`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Protocol

from usage_stats_dagster.matomo.database import Database, MatomoDatabaseError
from usage_stats_dagster.matomo.http import MatomoAwayError, MatomoError
from usage_stats_dagster.matomo.live_api import LiveApi, details, missing_details

_CHUNK = 1_000
_MARK = re.compile(r"^[0-9a-z]{6}$")


@dataclass(frozen=True)
class DayInMatomo:
    """Actions that Matomo has of a site's day; `twice`: marks that it has more than once (None: can't be said)."""

    stored: int
    twice: int | None


class StoredActions(Protocol):
    """What Matomo has. Both raise MatomoAwayError for what may pass, MatomoError for what won't."""

    def found(self, idsite: int, times: tuple[datetime, datetime], marks: Collection[str]) -> set[str]:
        """The marks that an action of the site within the times (UTC, both ends included) has."""
        ...

    def day(self, idsite: int, start: datetime, end: datetime, day: date) -> DayInMatomo:
        """What there is of a day: from `start` (UTC) to before `end`."""
        ...


class DatabaseActions:
    """Asks log_link_visit_action, by the index on (idsite, server_time). SELECT is the only right that it needs.

    It has to be the database that Matomo writes to: a replica that lags says "not there" of what is.
    """

    def __init__(self, database: Database, prefix: str) -> None:
        self._database = database
        if not re.fullmatch(r"\w*", prefix):
            msg = f"matomo.table_prefix = {prefix!r}: letters, digits and _ only"
            raise MatomoError(msg)
        self._table = f"`{prefix}log_link_visit_action`"

    def found(self, idsite: int, times: tuple[datetime, datetime], marks: Collection[str]) -> set[str]:
        """By the marks themselves, within the times."""
        wanted = sorted(m for m in marks if _MARK.match(m))
        first, last = map(_text, times)
        have: set[str] = set()
        for k in range(0, len(wanted), _CHUNK):
            listed = "', '".join(wanted[k : k + _CHUNK])
            query = (
                f"SELECT DISTINCT idpageview FROM {self._table} WHERE idsite = {int(idsite)} "  # noqa: S608
                f"AND server_time BETWEEN '{first}' AND '{last}' AND idpageview IN ('{listed}')"
            )
            have |= {str(r[0]) for r in self._rows(query)}
        return have

    def day(self, idsite: int, start: datetime, end: datetime, day: date) -> DayInMatomo:
        """Counted over the day's range of the index."""
        del day
        query = (
            f"SELECT COUNT(*), COUNT(NULLIF(idpageview, '')), COUNT(DISTINCT NULLIF(idpageview, '')) FROM {self._table} "  # noqa: S608
            f"WHERE idsite = {int(idsite)} AND server_time >= '{_text(start)}' AND server_time < '{_text(end)}'"
        )
        total, marked, distinct = self._rows(query)[0]
        return DayInMatomo(int(total), int(marked) - int(distinct))

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        """Over a connection of its own: what is committed now, and no older snapshot."""
        try:
            with self._database.connection() as reader:
                return reader.rows(query)
        except MatomoDatabaseError as e:
            raise MatomoAwayError(str(e)) from e


class ApiActions:
    """Asks the Live API: slower, since it lists whole visits, and no help where Matomo leaves actions of a visit out."""

    def __init__(self, api: LiveApi) -> None:
        self._api = api

    def found(self, idsite: int, times: tuple[datetime, datetime], marks: Collection[str]) -> set[str]:
        """By the actions' idpageview. Raises MatomoError when a visit of that time is listed in part and marks are missing."""
        first, last = times
        wanted = set(marks)
        have: set[str] = set()
        hidden = 0
        for page in self._api.pages(idsite, first, last + timedelta(seconds=1)):
            for visit in page:
                have |= wanted & {str(a.get("idpageview") or "") for a in details(visit)}
                hidden += missing_details(visit)
        if hidden and have != wanted:
            msg = (
                f"site {idsite}: the Live API leaves out {hidden} actions of long visits, so it can't say what was stored "
                "of a batch whose answer was lost: set matomo.database_url, or raise Matomo's [General] "
                "visitor_log_maximum_actions_per_visit; the batch is kept until then"
            )
            raise MatomoError(msg)
        return have

    def day(self, idsite: int, start: datetime, end: datetime, day: date) -> DayInMatomo:
        """Actions of the day as the Live API lists them (those that it leaves out of a visit count on the visit's last day)."""
        del day
        seen: Counter[str] = Counter()
        stored = 0
        for page in self._api.pages(idsite, start, end):
            for visit in page:
                inside = [a for a in details(visit) if start.timestamp() <= a["timestamp"] < end.timestamp()]
                last = datetime.fromtimestamp(visit["lastActionTimestamp"], UTC)
                stored += len(inside) + (missing_details(visit) if start <= last < end else 0)
                seen.update(m for a in inside if _MARK.match(m := str(a.get("idpageview") or "")))
        return DayInMatomo(stored, sum(n - 1 for n in seen.values()))


def _text(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
