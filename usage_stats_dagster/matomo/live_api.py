"""Matomo's reporting API: calls, tries again, and every visit of a stretch of time through `Live.getLastVisitsDetails`.

What belongs here: reading without losing or doubling a visit, and telling what the API leaves out. What does not: the
lake's tables (`live_api_tables.py`).

**Paging.** Matomo's own (filter_offset) skips visits when others arrive or grow meanwhile. So no offset is used: visits
come in the order of their last action (`filter_sort_order=asc`), and each page begins where the one before ended
(`minTimestamp`, one second back, so that visits of the same second are not lost). A visit that grows meanwhile comes
again, later: the later one is the whole one. What Matomo loses within a page can't be seen here: `visits_of_day` counts.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

from usage_stats_dagster.matomo.http import (
    Answer,
    LostAnswerError,
    MatomoAwayError,
    MatomoError,
    MatomoHttp,
    NotSentError,
)

Visit = dict[str, Any]

ACTION_TYPES = {"action": 1, "outlink": 2, "download": 3, "search": 8, "event": 10}
"""Matomo's numbers of the kinds of `actionDetails` that are actions; goals, orders and media are none."""

OVERHANG = timedelta(days=1)
"""A visit with an action before this much earlier may still be going on: Matomo ends visits at the site's midnight."""

PAGE = 500
_PAGE_MOST = 20_000
_LASTING = ("access", "token", "permission", "website id", "doesn't exist", "does not exist", "not found", "plugin")


def details(visit: Visit) -> list[dict[str, Any]]:
    """The visit's entries that are actions."""
    return [a for a in visit.get("actionDetails") or [] if a.get("type") in ACTION_TYPES]


def missing_details(visit: Visit) -> int:
    """Actions of the visit that the API does not list: it stops at visitor_log_maximum_actions_per_visit (99 in old ones)."""
    return max(0, int(visit["actions"]) - len(details(visit)))


class LiveApi:
    """The API of one Matomo, for one token."""

    def __init__(self, http: MatomoHttp, page: int = PAGE, *, tries: int = 6, first_wait: float = 1.0) -> None:
        self._http = http
        self._page = page
        self._tries = tries
        self._first_wait = first_wait
        self._zones: dict[int, str] = {}

    def call(self, method: str, **parameters: str | int) -> Any:  # noqa: ANN401
        """The answer to a call. Raises MatomoError for what Matomo refuses, MatomoAwayError after the last try."""
        why = ""
        for k in range(self._tries):
            asked = None
            try:
                answer = self._http.api({"method": method, **parameters})
            except (NotSentError, LostAnswerError) as e:
                why = str(e)
            else:
                asked, why = answer.retry_after, _fault(answer)
                if not why:
                    return answer.json
                if _lasts(answer):
                    msg = f"Matomo refuses {method}: {why}"
                    raise MatomoError(msg)
            if k + 1 < self._tries:
                time.sleep(min(max(self._first_wait * 2**k, asked or 0.0), 60.0))
        msg = f"{method}: {why}; tried {self._tries} times"
        raise MatomoAwayError(msg)

    def time_zone(self, idsite: int) -> str:
        """The site's time zone, which decides its days in Matomo."""
        if idsite not in self._zones:
            site = self.call("SitesManager.getSiteFromId", idSite=idsite)
            site = site[0] if isinstance(site, list) else site  # Matomo 3
            self._zones[idsite] = str(site["timezone"])
        return self._zones[idsite]

    def summary(self, idsite: int, day: date) -> tuple[int, int]:
        """Visits and actions of a day of the site's time zone, by Matomo's reports."""
        said = self.call("VisitsSummary.get", idSite=idsite, period="day", date=day.isoformat())
        said = said if isinstance(said, dict) else {}  # [] for no visits
        return int(said.get("nb_visits") or 0), int(said.get("nb_actions") or 0)

    def pages(self, idsite: int, start: datetime, end: datetime, *, limit: int | None = None) -> Iterator[list[Visit]]:
        """Every visit that can have an action from `start` to before `end` (UTC), by last action; a visit that comes
        again has grown, and replaces the one before.
        """
        limit = limit or self._page
        first, last = start - OVERHANG, end + 2 * OVERHANG  # the site's days, in whatever zone
        within = f"{first.astimezone(UTC):%Y-%m-%d},{last.astimezone(UTC):%Y-%m-%d}"
        after = int(start.timestamp()) - 1
        until = (end + OVERHANG).timestamp()
        seen: dict[int, tuple[int, int]] = {}
        while True:
            page: list[Visit] = self.call(
                "Live.getLastVisitsDetails", idSite=idsite, period="range", date=within, minTimestamp=after,
                filter_limit=limit, filter_offset=0, filter_sort_order="asc",
            )  # fmt: skip
            ends = [int(v["lastActionTimestamp"]) for v in page]
            if ends != sorted(ends):
                msg = "the Live API does not sort visits by their last action (filter_sort_order=asc): this Matomo can be read by matomo.mode = 'database' only"
                raise MatomoError(msg)
            fresh = [v for v in page if seen.get(int(v["idVisit"])) != _state(v)]
            seen.update((int(v["idVisit"]), _state(v)) for v in fresh)
            if fresh:
                yield fresh
            if not page or ends[-1] >= until:
                return
            if ends[-1] - 1 > after:
                after = ends[-1] - 1
            elif fresh or len(page) >= limit:  # a second with more visits than a page holds
                if limit >= _PAGE_MOST:
                    msg = f"site {idsite}: more than {limit} visits end in one second: the Live API can't be paged through"
                    raise MatomoError(msg)
                limit *= 2
            else:
                return


def _state(visit: Visit) -> tuple[int, int]:
    return int(visit["lastActionTimestamp"]), int(visit["actions"])


def _fault(answer: Answer) -> str:
    """What is wrong with an answer, or the empty string. Matomo sends its errors with status 200."""
    told = answer.json
    if isinstance(told, dict) and told.get("result") == "error":
        return str(told.get("message", "error"))
    if answer.status == 200 and told is not None:
        return ""
    return f"HTTP {answer.status}: {answer.head}"


def _lasts(answer: Answer) -> bool:
    """Whether an error will still be there a minute later."""
    if answer.status in (400, 401, 403, 404):
        return True
    told = answer.json
    text = str(told.get("message", "")).lower() if isinstance(told, dict) else ""
    return any(word in text for word in _LASTING)
