"""The table of the accounting: rows of counts, sums that must close, what is said beside them.

What belongs here: collecting, ordering, the words for each drop. What does not: what is counted (`days.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from typing import Literal

import polars as pl

from usage_stats_dagster.logs.outcomes import OUTCOMES
from usage_stats_dagster.schemas import METRICS
from usage_stats_dagster.settings import Settings

By = Literal["site", "day"]

STAGES = (
    "lines", "hits", "matomo", "events", "robots", "steps: counter", "steps: lareferencia", "figures", "documents",
)  # fmt: skip

SCHEMA = pl.Schema(
    {
        "idsite": pl.Int32,
        "day": pl.Date,
        "stage": pl.String,
        "what": pl.String,
        "count": pl.Int64,
        "reason": pl.String,
    }
)
"""One row a site, day, stage and thing counted. `day`: null where the lines of a log have no date; of documents the first
day of their period. `reason`: why these are no more among what is counted next; null for what goes on."""

_FIRST = {
    "lines": ("read", *OUTCOMES),
    "events": ("human", "robot"),
    "figures": (*METRICS, "searches"),
    "documents": ("in the lake", "wait to be indexed", "in the index"),
}


@dataclass
class Account:
    """The table (SCHEMA, without `day` by site) and every sum that does not close, in words."""

    table: pl.DataFrame
    open_sums: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    sums: int = 0

    @property
    def closes(self) -> bool:
        """Whether every sum closes."""
        return not self.open_sums


class Book:
    """Counts and sums as they are collected, by site and day or by site alone."""

    def __init__(self, settings: Settings, by: By) -> None:
        self._by = by
        self._settings = settings
        self._counts: dict[tuple[int, date | None, str, str], int] = {}
        self._open: list[str] = []
        self._notes: dict[tuple[int, str], tuple[int, list[date]]] = {}
        self._words: list[str] = []
        self._sums = 0

    def add(self, idsite: int, day: date | None, stage: str, what: str, count: int) -> None:
        """Adds to a row."""
        key = (idsite, day if self._by == "day" else None, stage, what)
        self._counts[key] = self._counts.get(key, 0) + count

    def close(self, where: str, what: str, n: int, other: str, k: int) -> None:
        """Two counts that must be equal."""
        self._sums += 1
        if n != k:
            self._open.append(f"{where}: {what} ({n:,}) are not {other} ({k:,})")

    def hold(self, where: str, what: str, *, holds: bool) -> None:
        """Something that must be so, told as `what` where it is not."""
        self._sums += 1
        if not holds:
            self._open.append(f"{where}: {what}")

    def note(self, idsite: int, day: date, what: str, count: int) -> None:
        """`what` holds {n} and {days}: said once a site, over all its days."""
        n, days = self._notes.get((idsite, what), (0, []))
        self._notes[idsite, what] = (n + count, [*days, day])

    def say(self, text: str) -> None:
        """Says something beside the table."""
        self._words.append(text)

    def account(self) -> Account:
        """What was collected."""
        rows = [
            (*key, count, reason(key[2], key[3], self._settings, key[0]))
            for key, count in sorted(self._counts.items(), key=lambda item: _place(*item[0]))
        ]
        table = pl.DataFrame(rows, schema=SCHEMA, orient="row")
        notes = [
            f"site {s}: {what.format(n=f'{n:,}', days=_days(days))}" for (s, what), (n, days) in self._notes.items()
        ]
        return Account(
            table if self._by == "day" else table.drop("day"), self._open, [*notes, *self._words], self._sums
        )


def _place(idsite: int, day: date | None, stage: str, what: str) -> tuple[object, ...]:
    first = _FIRST.get(stage, ("kept",))
    at = first.index(what) if what in first else len(first)
    return idsite, day or date.max, STAGES.index(stage) if stage in STAGES else len(STAGES), at


def _days(days: Iterable[date]) -> str:
    every = sorted(set(days))
    return f"{every[0]}" if len(every) == 1 else f"{len(every)} days from {every[0]}"


def reason(stage: str, what: str, settings: Settings, idsite: int) -> str | None:
    """Why what a row counts goes no further; None for what does."""
    rules = settings.rules
    few, many, pace = rules.behaviour_few_actions, rules.behaviour_many_actions, rules.behaviour_seconds_per_action
    words = {
        ("lines", "invalid"): "no format reads the line, or its date is none",
        ("lines", "http_error"): "status 400 to 599",
        ("lines", "http_redirect"): "status 300 to 399, without 304",
        ("lines", "excluded"): f"the site's exclude: {', '.join(settings.site(idsite).exclude) or 'of another time'}",
        ("lines", "static"): "a page's image, style, script or font, by its extension; robots.txt",
        ("lines", "spam_referrer"): "the referrer's host is on the list of referrer spam",
        ("lines", "outside_day"): f"dated before platform.start_date, {settings.platform.start_date}",
        ("steps", "robots"): f"the agent is on a list of robots: {', '.join(rules.robots)}",
        ("steps", "behaviour"): (
            f"a visit of more than {few} actions that has {many} or more, or spends {pace} s an action or less"
        ),
        ("steps", "assets"): f"a file that comes with a page: {rules.assets}",
        ("steps", "unidentified"): "no item: no rule of the site's platform gives the URL an identifier",
        ("steps", "not_delivered"): (
            f"not {' or '.join(rules.delivered_methods)} with {' or '.join(map(str, rules.delivered_statuses))}"
        ),
        ("steps", "double_click"): f"the same user asked for the same again within {rules.double_click_seconds} s",
        ("matomo", "kept back"): "robots, and times that Matomo would not take: not sent",
        ("matomo", "refused"): "Matomo called the request invalid",
        ("matomo", "dropped"): "sent and acknowledged, but Matomo has no action of it",
        ("matomo", "left out by the API"): "actions of long visits beyond visitor_log_maximum_actions_per_visit",
    }
    return words.get((stage.split(":", maxsplit=1)[0], what))
