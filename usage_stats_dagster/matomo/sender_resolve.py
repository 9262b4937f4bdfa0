"""Which of the requests sent does Matomo have? Asked of its database, or of its Live API where there is none.

What belongs here: finding marks, counting a day's actions. What does not: what follows from the answer (`sender.py`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Protocol

import pymysql
import sqlalchemy as sa

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

    def __init__(self, url: str, prefix: str) -> None:
        self._url = sa.engine.make_url(url)
        if not re.fullmatch(r"\w*", prefix):
            msg = f"matomo.table_prefix = {prefix!r}: letters, digits and _ only"
            raise MatomoError(msg)
        self._table = f"`{prefix}log_link_visit_action`"

    def found(self, idsite: int, times: tuple[datetime, datetime], marks: Collection[str]) -> set[str]:
        """By the marks themselves, within the times."""
        wanted = sorted(marks)
        have: set[str] = set()
        for k in range(0, len(wanted), _CHUNK):
            part = wanted[k : k + _CHUNK]
            places = ", ".join(["%s"] * len(part))
            query = (
                f"SELECT DISTINCT idpageview FROM {self._table} "  # noqa: S608  (the prefix is checked above)
                f"WHERE idsite = %s AND server_time BETWEEN %s AND %s AND idpageview IN ({places})"
            )
            have |= {r[0] for r in self._rows(query, [idsite, *map(_naive, times), *part])}
        return have

    def day(self, idsite: int, start: datetime, end: datetime, day: date) -> DayInMatomo:
        """Counted over the day's range of the index."""
        del day
        query = (
            f"SELECT COUNT(*), COUNT(NULLIF(idpageview, '')), COUNT(DISTINCT NULLIF(idpageview, '')) "  # noqa: S608
            f"FROM {self._table} WHERE idsite = %s AND server_time >= %s AND server_time < %s"
        )
        total, marked, distinct = self._rows(query, [idsite, _naive(start), _naive(end)])[0]
        return DayInMatomo(total, marked - distinct)

    def _rows(self, query: str, values: Sequence[object]) -> Sequence[tuple[int | str, ...]]:
        u = self._url
        where = {"unix_socket": u.query["unix_socket"]} if "unix_socket" in u.query else {"host": u.host or "localhost"}
        try:
            connection = pymysql.connect(
                **where,  # type: ignore[arg-type]
                port=u.port or 3306,
                user=u.username,
                password=u.password or "",
                database=u.database,
                charset="utf8mb4",
                connect_timeout=15,
                read_timeout=300,
                autocommit=True,
            )
            with connection, connection.cursor() as cursor:
                cursor.execute(query, values)
                return list(cursor.fetchall())
        except pymysql.err.ProgrammingError as e:
            msg = f"Matomo's database: {e.args[-1]} (are matomo.database_url and matomo.table_prefix right?)"
            raise MatomoError(msg) from e
        except pymysql.err.Error as e:
            msg = f"Matomo's database can't be asked: {e.args[-1]}"
            raise MatomoAwayError(msg) from e


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


def _naive(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
