"""COUNTER R5.1's golden cases as log lines of a DSpace repository, and the figures that must come out.

What belongs here: what users did and what counts, for tests at any level (events, or the whole pipeline). The cases
are the Code of Practice's own examples (7.2 to 7.4) and its audit scenarios (appendix E). The platform's zone is UTC.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

DAY = date(2025, 3, 14)
HANDLE = "123456789"
BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:135.0) Gecko/20100101 Firefox/135.0"
USER = "192.0.2.17"

NOTHING = (0, 0, 0, 0)


@dataclass(frozen=True)
class Click:
    """One line of a log."""

    time: datetime
    url: str
    ip: str = USER
    agent: str = BROWSER
    method: str = "GET"
    status: int = 200

    def line(self) -> str:
        """In combined format."""
        stamp = self.time.strftime("%d/%b/%Y:%H:%M:%S +0000")
        return f'{self.ip} - - [{stamp}] "{self.method} {self.url} HTTP/1.1" {self.status} 51200 "-" "{self.agent}"'


@dataclass(frozen=True)
class Case:
    """Clicks, in any order of days, and each day's (TII, UII, TIR, UIR) over all items."""

    name: str
    clicks: tuple[Click, ...]
    expected: dict[date, tuple[int, int, int, int]]

    def clicks_of(self, day: date) -> list[Click]:
        """That day's clicks."""
        return [c for c in self.clicks if c.time.date() == day]


def abstract(item: int = 42) -> str:
    """The item's page: an investigation."""
    return f"/handle/{HANDLE}/{item}"


def pdf(item: int = 42) -> str:
    """The item's file: a request."""
    return f"/bitstream/handle/{HANDLE}/{item}/article.pdf?sequence=1"


def html(item: int = 42) -> str:
    """The item's text as a page: a request too, at another URL."""
    return f"/bitstream/handle/{HANDLE}/{item}/article.html?sequence=2"


def at(clock: str, day: date = DAY) -> datetime:
    """The day's moment at `HH:MM:SS`."""
    return datetime.combine(day, datetime.strptime(clock, "%H:%M:%S").time(), tzinfo=UTC)


def _case(name: str, figures: tuple[int, int, int, int], *clicks: tuple[str, str]) -> Case:
    return Case(name, tuple(Click(at(clock), url) for clock, url in clicks), {DAY: figures})


def _midnight(name: str, day: date) -> Case:
    following = day + timedelta(days=1)
    clicks = (Click(at("23:59:50", day), pdf()), Click(at("00:00:05", following), pdf()))
    return Case(name, clicks, {day: NOTHING, following: (1, 1, 1, 1)})


def _double_clicks() -> Case:
    """E.2.3: 15 pairs within 30 s and 15 pairs further apart, each pair its own session."""
    clicks = []
    for n in range(30):
        first = at("10:00:00") + timedelta(seconds=61 * n)
        gap = 2 * n if n < 15 else 31 + n
        clicks += [Click(t, pdf(), ip=f"198.51.100.{n + 1}") for t in (first, first + timedelta(seconds=gap))]
    return Case("audit E.2.3", tuple(clicks), {DAY: (45, 30, 45, 30)})


def _each_item_once(investigated: bool) -> Case:
    """E.6.1: 100 items, once each; E.6.2: with a separate investigation each. 20 users, since a hundred are a robot's."""
    clicks = []
    for n in range(100):
        moment, ip = at("09:00:00") + timedelta(seconds=200 * n), f"203.0.113.{n // 5 + 1}"
        clicks.append(Click(moment + timedelta(seconds=40), pdf(1000 + n), ip=ip))
        if investigated:
            clicks.append(Click(moment, abstract(1000 + n), ip=ip))
    if investigated:
        return Case("audit E.6.2", tuple(clicks), {DAY: (200, 100, 100, 100)})
    return Case("audit E.6.1", tuple(clicks), {DAY: (100, 100, 100, 100)})


CASES = (
    _case("A", (1, 1, 1, 1), ("10:01:00", pdf()), ("10:01:29", pdf())),
    _case("B", (2, 1, 2, 1), ("10:01:00", pdf()), ("10:01:35", pdf())),
    _case("C", (2, 1, 2, 1), *((t, pdf()) for t in ("10:01:00", "10:01:20", "10:01:40", "10:02:05", "10:02:36"))),
    _case("D", (1, 1, 1, 1), ("10:01:00", pdf()), ("10:01:30", pdf())),
    _case("E", (1, 1, 1, 1), ("10:01:00", pdf()), ("10:01:00", pdf())),
    _case("F", (2, 1, 2, 1), ("10:01:00", html()), ("10:01:10", pdf())),
    _case("G", (2, 1, 1, 1), ("10:01:00", abstract()), ("10:01:10", pdf())),
    _case("H", (1, 1, 1, 1), ("10:59:50", pdf()), ("11:00:05", pdf())),
    _midnight("I", date(2025, 3, 15)),
    _midnight("I at the month's end", date(2025, 3, 31)),
    _case("J", (3, 2, 3, 2), ("10:10:00", pdf()), ("10:50:00", pdf()), ("11:10:00", pdf())),
    _case("K", (12, 12, 12, 12), *((f"10:{n:02d}:00", pdf(100 + n)) for n in range(12))),
    _double_clicks(),
    _each_item_once(investigated=False),
    _each_item_once(investigated=True),
)
