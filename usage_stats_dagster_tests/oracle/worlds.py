"""Little worlds: sites and what their servers logged, drawn by hypothesis.

What belongs here: a world as data, and how it is drawn: few visitors and few pages, so that clicks meet, at moments
where rules change their answer (30 s, 1,800 s, hours, midnights, month ends, switched clocks). What does not: how the
lines arrive (`delivery.py`), what they come to (`model.py`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from usage_stats_dagster_tests.oracle import known
from usage_stats_dagster_tests.oracle.formats import COMBINED, FORMATS, Click

DAYS = (
    ("UTC", date(2025, 3, 1)),
    ("UTC", date(2025, 1, 1)),
    ("UTC", date(2024, 3, 1)),
    ("Europe/Lisbon", date(2025, 3, 30)),
    ("Europe/Lisbon", date(2024, 10, 27)),
    ("America/Sao_Paulo", date(2025, 6, 1)),
    ("America/Santiago", date(2025, 9, 7)),  # the day begins at 1 o'clock
    ("America/Santiago", date(2025, 4, 5)),  # the day has its hour 23 twice
    ("America/Havana", date(2025, 3, 9)),
    ("America/Havana", date(2025, 11, 2)),
    ("Australia/Lord_Howe", date(2025, 4, 6)),  # half an hour back
    ("Asia/Kolkata", date(2025, 5, 1)),
    ("Pacific/Kiritimati", date(2025, 1, 1)),
)
"""The platform's zone, and the day around whose beginning all happens."""

STEPS = ("robots", "behaviour", "assets", "unidentified", "not_delivered", "double_click")
RULES: tuple[dict[str, Any], ...] = (
    *({},) * 6,
    {"behaviour_few_actions": 2, "behaviour_many_actions": 4},
    {"double_click_seconds": 0},
    {"visit_seconds": 60},
    {"robots_extra": ["rv:128"], "robots_allow": ["google"]},
    {"steps": ["unidentified", "double_click", "not_delivered", "assets"]},
    {"steps": ["assets", "not_delivered", "behaviour", "robots", "double_click", "unidentified"]},
)
"""What operators set otherwise, now and then."""

HOSTS = (known.HOST, f"www.{known.HOST}", "Other.example.NET")
OFFSETS = ("+0000", "-0300", "+0530", "+1400")
GAPS = (0, 0, 1, 2, 15, 29, 30, 31, 60, 600, 1799, 1800, 1801, 3600)
AROUND = (-3600, -1801, -1800, -60, -31, -30, -15, -1, 0, 1, 15, 29, 30, 31, 60, 1799)


@dataclass(frozen=True)
class Site:
    """A site as the operator set it up, and what its servers wrote, in the order of time."""

    id: int
    platform: str
    url: str | None
    level: str
    country: str | None
    grain: str
    exclude: str | None
    merges_versions: bool
    form: str
    lines: tuple[bytes, ...]

    def settings(self) -> dict[str, Any]:
        """As `[[sites]]` has it."""
        given: dict[str, Any] = {
            "id": self.id, "platform": self.platform, "url": self.url, "level": self.level, "country": self.country, "grain": self.grain,
            "exclude": [self.exclude] if self.exclude else [],
        }  # fmt: skip
        if self.platform == "generic":
            rules = known.OWN_RULES
            bare = [{k: v.replace("oai:{host}:", "") for k, v in r.items()} for r in rules]
            given["item_rules"] = rules if self.url else bare
        if self.merges_versions:
            given["identifier_map"] = {"regex": r"-v\d$", "replace": ""}
        return {k: v for k, v in given.items() if v is not None}

    def called(self, identifier: str | None) -> str | None:
        """What the identifier of a page is called: the host filled in, versions merged."""
        if identifier is None:
            return None
        host = urlsplit(self.url).hostname if self.url else None
        named = identifier.replace("{host}", host) if host else identifier.removeprefix("oai:{host}:")
        return re.sub(r"-v\d$", "", named) if self.merges_versions else named


@dataclass(frozen=True, repr=False)
class World:
    """Sites of one platform."""

    zone_name: str
    day: date
    start: date
    rules: dict[str, Any]
    sites: tuple[Site, ...]

    def __repr__(self) -> str:
        """Short: a failure tells of the world line by line."""
        return f"World({self.zone_name}, {self.day}, {[len(s.lines) for s in self.sites]} lines)"

    @property
    def zone(self) -> ZoneInfo:
        """The platform's time zone."""
        return ZoneInfo(self.zone_name)

    def settings(self) -> dict[str, Any]:
        """The sections of the settings that the world decides."""
        return {
            "platform": {"time_zone": self.zone_name, "start_date": self.start},
            "rules": {"spam_referrers": [known.SPAM], **self.rules},
            "sites": [s.settings() for s in self.sites],
        }

    @property
    def steps(self) -> tuple[str, ...]:
        """The steps in order."""
        return tuple(self.rules.get("steps", STEPS))

    def is_robot(self, agent: str | None) -> bool:
        """Whether a list or the operator says so, and no allowed pattern keeps it; a form without agents has none."""
        if agent is None or any(re.search(p, agent, re.IGNORECASE) for p in self.rules.get("robots_allow", ["CUBOT"])):
            return False
        return known.AGENTS[agent] or any(
            re.search(p, agent, re.IGNORECASE) for p in self.rules.get("robots_extra", [])
        )

    def rule(self, name: str) -> int:
        """A number among the rules."""
        defaults = {
            "double_click_seconds": 30, "visit_seconds": 1800, "behaviour_few_actions": 10, "behaviour_many_actions": 100,
            "behaviour_seconds_per_action": 2,
        }  # fmt: skip
        return int(self.rules.get(name, defaults[name]))


GARBAGE = (
    b'192.0.2.7 - - [%s] "GET /handle/123/1" 200 %d "-" "no protocol"',
    b'192.0.2.7 - - [%s] "-" 408 %d "-" "-"',
    b'192.0.2.7 - - [31/Feb/2025:10:00:00 +0000] "GET /handle/123/1 HTTP/1.1" 200 %d "-" "-"',
    b'192.0.2.7 - - [31/Feb/2025:10:00:00 +0000] "GET /handle/123/1 HTTP/1.1" 404 %d "-" "-"',
    b'192.0.2.7 - - [01/Mar/2025:24:00:00 +0000] "GET /a.css HTTP/1.1" 200 %d "-" "-"',
    b"\xff\xfe\x00 %d",
    b"# a comment %d",
    b'192.0.2.7 - - [%s] "GET /handle/123/1 HT %d',
    b'{"ip": "192.0.2.7", "length": %d}',
    b'{"ip": "192.0.2.7", "date": "2025-02-31T10:00:00.000+00:00", "path": "/handle/123/1", "method": "GET", "status": "200", "length": %d, "user_agent": "-"}',
)


@cache
def moments(zone_name: str, day: date) -> tuple[int, ...]:
    """Seconds since 1970 around which clicks are drawn: midnights, switched clocks, a full hour."""
    zone = ZoneInfo(zone_name)
    start = int(datetime.combine(day, time(), tzinfo=zone).timestamp())
    following = int(datetime.combine(day + timedelta(1), time(), tzinfo=zone).timestamp())

    def offset(second: int) -> timedelta | None:
        return datetime.fromtimestamp(second, UTC).astimezone(zone).utcoffset()

    switches = [s for s in range(start - 7200, following + 1, 1800) if offset(s - 1) != offset(s)]
    return (start, start + 11 * 3600, following, *switches)


@st.composite
def _clicks(draw: st.DrawFn, zone_name: str, day: date, platform: str) -> list[Click]:
    """A visitor's session: clicks with telling gaps, mostly on items; now and then a burst as robots make them."""
    when = 1000 * (draw(st.sampled_from(moments(zone_name, day))) + draw(st.sampled_from(AROUND)))
    ip, agent = draw(st.sampled_from(VISITORS))
    pages = known.PAGES[platform]
    if draw(st.integers(0, 11)) == 11:
        return _burst(when, ip, agent, platform, draw(st.sampled_from(BURSTS)))
    clicks: list[Click] = []
    for _ in range(draw(st.integers(1, 6))):
        where = draw(st.integers(0, 9))
        if where == 9:
            path = draw(st.sampled_from(known.OTHER_PATHS))
        elif where > 4 and clicks:
            path = clicks[-1].path
        else:
            page = draw(st.sampled_from((*pages[:3], *pages)))
            path = known.decorate(page.path, draw(st.sampled_from(("plain", "plain", "plain", *known.DECORATIONS))))
        clicks.append(
            Click(
                when, ip, agent, path,
                draw(st.sampled_from(("-", "-", "-", *known.REFERRERS))),
                draw(st.sampled_from(("GET", "GET", "GET", "GET", "HEAD", "POST"))),
                draw(st.sampled_from((200, 200, 200, 200, 304, 206, 301, 404, 500))),
                draw(st.sampled_from((known.HOST, known.HOST, *HOSTS))),
            )
        )  # fmt: skip
        when += 1000 * draw(st.sampled_from(GAPS)) + draw(st.sampled_from((0, 0, 0, 400, 700)))
    return clicks


VISITORS = (
    *((ip, agent) for ip in ("192.0.2.7", "177.32.5.6") for agent in list(known.AGENTS)[:2]),
    ("::ffff:177.32.5.6", next(iter(known.AGENTS))),
    *(("83.32.1.2", agent) for agent in known.AGENTS),
    ("2804:14c:1::1", list(known.AGENTS)[2]),
)

BURSTS = ((10, 0), (11, 21), (11, 22), (12, 23), (12, 24), (99, 400), (100, 400))
"""Actions, and seconds from the first to the last: on both sides of the rule about robots by behaviour."""


def _burst(when: int, ip: str, agent: str, platform: str, burst: tuple[int, int]) -> list[Click]:
    actions, seconds = burst
    page = known.PAGES[platform][0].path
    return [Click(when + 1000 * (seconds * n // (actions - 1)), ip, agent, page) for n in range(actions)]


@st.composite
def sites(draw: st.DrawFn, idsite: int, zone_name: str, day: date) -> Site:
    """One site with up to eight sessions and some garbage."""
    platform = draw(st.sampled_from(sorted(known.PAGES)))
    form = draw(st.sampled_from((COMBINED, COMBINED, *FORMATS)))
    offset = draw(st.sampled_from(OFFSETS))
    clicks = [c for s in draw(st.lists(_clicks(zone_name, day, platform), min_size=1, max_size=8)) for c in s]
    clicks.sort(key=lambda c: c.when)
    lines = [c.line(n, offset, form) for n, c in enumerate(clicks)]
    for n, which in enumerate(draw(st.lists(st.sampled_from(GARBAGE), max_size=3))):
        stamp = f"{day:%d/%b/%Y}:11:00:00 +0000".encode()
        bad = which % ((stamp, n) if which.count(b"%") == 2 else (n,))
        lines.insert(draw(st.integers(0, len(lines))), bad)
    return Site(
        idsite,
        platform,
        draw(st.sampled_from((f"https://{known.HOST}", f"http://www.{known.HOST}/repo", None))),
        draw(st.sampled_from("RNL")),
        draw(st.sampled_from((None, "br", "PT"))),
        draw(st.sampled_from(("day", "month"))),
        draw(st.sampled_from((None, "^/private/", r"[?&]sid="))),
        draw(st.booleans()),
        form,
        tuple(lines),
    )


@st.composite
def worlds(draw: st.DrawFn, most_sites: int = 2) -> World:
    """A world of few sites around one midnight."""
    zone_name, day = draw(st.sampled_from(DAYS))
    rules = draw(st.sampled_from(RULES))
    start = draw(st.sampled_from((date(2000, 1, 1), date(2000, 1, 1), day)))
    made = tuple(draw(sites(n, zone_name, day)) for n in range(1, 1 + draw(st.integers(1, most_sites))))
    return World(zone_name, day, start, rules, made)


def platform_settings(world: World, **more: Any) -> dict[str, Any]:
    """The world's settings as `platforms.Platform.make` takes them."""
    given = world.settings()
    given["platform"] = {"grace_seconds": 0, **given["platform"], **more}
    return given
