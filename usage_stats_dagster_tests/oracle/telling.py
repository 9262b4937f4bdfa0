"""Worlds in which every rule is at its limit at least once, on both sides: what random worlds may miss in few examples.

What belongs here: visitors whose clicks tell one rule from its neighbour. What does not: what must come out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from usage_stats_dagster_tests.oracle import known
from usage_stats_dagster_tests.oracle.delivery import PACKED, Delivery, Step
from usage_stats_dagster_tests.oracle.formats import COMBINED, Click
from usage_stats_dagster_tests.oracle.reading import read
from usage_stats_dagster_tests.oracle.worlds import BURSTS, GARBAGE, Site, World, moments

PEOPLE, ROBOTS = list(known.AGENTS)[:4], list(known.AGENTS)[4:]
RARE = known.PAGES["dspace"][-1].path
PAGE, PDF, HTML = (p.path for p in known.PAGES["dspace"][:3])
CAMPAIGNS = [
    f"{PAGE}?utm_campaign=Mailing",
    f"{PAGE}?utm_campaign=mailing&utm_term=Spring",
    f"{PAGE}?pk_campaign=poster",
]
WEBSITE, ENGINE = "https://other.example.net/page?q=1", "https://www.google.com/"
HOUR = 3600

Plan = list[tuple[int, str, dict[str, object]]]
"""A visitor's clicks: second after the plan's beginning, path, what else is special."""


def _plans() -> Iterator[Plan]:
    for gap in (0, 29, 30, 31):
        yield [(0, PDF, {}), (gap, PDF, {})]
        yield [(0, PAGE, {}), (gap, PDF, {}), (gap, f"{PAGE}?query=fish", {}), (gap + 1, f"{PAGE}?query=fish", {})]
    yield [(0, PDF, {}), (20, PDF, {}), (40, PDF, {}), (65, PDF, {}), (96, PDF, {})]
    yield [(0, HTML, {}), (10, PDF, {})]
    for gap in (1799, 1800, 1801):
        yield [(0, PAGE, {}), (gap, PDF, {})]
    yield [(600, PAGE, {}), (3000, PAGE, {}), (4200, PAGE, {})]  # :10, :50 and :10 of the next hour
    yield [(HOUR - 10, PDF, {}), (HOUR + 5, PDF, {})]
    for first, second in [(c, d) for c in (None, WEBSITE, *CAMPAIGNS) for d in CAMPAIGNS]:
        start = (PAGE, {"referrer": first or "-"}) if first in (None, WEBSITE) else (str(first), {})
        yield [(0, *start), (60, PDF, {}), (120, second, {}), (120, PAGE, {"referrer": ENGINE})]
    yield [(0, PAGE, {}), (5, PAGE, {"referrer": WEBSITE}), (10, PAGE, {"referrer": ENGINE})]
    for a, b in ((CAMPAIGNS[0], CAMPAIGNS[2]), (CAMPAIGNS[2], CAMPAIGNS[0])):  # within a second their content decides
        yield [(0, PAGE, {"referrer": WEBSITE}), (60, a, {}), (60, b, {})]
    for method in ("HEAD", "POST"):
        yield [(0, PAGE, {"method": method}), (100, PDF, {}), (110, PDF, {"method": method})]
    for status in (304, 206, 301, 302, 404, 500):
        yield [(0, PAGE, {"status": status}), (100, PDF, {"status": status})]
    for page in known.PAGES["dspace"][:-1]:
        yield [(0, known.decorate(page.path, how), {}) for how in known.DECORATIONS]
    yield [(n, path, {}) for n, path in enumerate((*known.OTHER_PATHS, "/private/style.css"))]
    yield [(0, PAGE, {"referrer": r}) for r in known.REFERRERS]


def telling_world(zone_name: str, day: date, grain: str = "day", form: str = COMBINED, twins: int = 1) -> World:
    """All plans at 11 o'clock, bursts and robots after them, and clicks over the midnights of the day."""
    start, noon, following, *switches = moments(zone_name, day)
    clicks: list[Click] = []
    addresses = (ip for ip in known.ADDRESSES if ip.startswith("83.32.2."))
    for n, plan in enumerate(_plans()):
        ip = next(addresses)
        clicks += [Click(noon + at, ip, PEOPLE[n % 3], path, **more) for at, path, more in plan]  # type: ignore[arg-type]
    for n, (actions, seconds) in enumerate(BURSTS):
        ip, agent = next(addresses), PEOPLE[n % 3]
        clicks += [Click(noon + seconds * k // (actions - 1), ip, agent, PAGE) for k in range(actions)]
    clicks += [Click(noon + k, "83.32.1.2", agent, PAGE) for agent in ROBOTS for k in range(12)]
    clicks += [
        Click(noon, ip, agent, PDF) for ip in ("192.0.2.7", "177.32.5.6", "::ffff:177.32.5.6") for agent in PEOPLE
    ]
    for moment in (start, following, *switches):
        for before, after in ((10, 5), (15, 15), (15, 16), (1, 30), (1, 29), (0, 30)):
            ip = next(addresses)
            clicks += [Click(moment + s, ip, PEOPLE[0], PDF) for s in (-before, after)]
        ip = next(addresses)
        clicks += [Click(moment + s, ip, PEOPLE[1], PAGE) for s in (-1700, -60, -59, 0, 1700, 1860)]
    hasty = next(addresses)  # nobody else asks for the item: with the eleventh action it is nobody's at all
    clicks += [Click(noon + s, hasty, PEOPLE[0], RARE) for s in range(15)]
    local = datetime.combine(day + timedelta(1), time(), tzinfo=ZoneInfo(zone_name)).timestamp()
    hasty = next(addresses)  # tomorrow's visit is a robot's, which today can't know
    clicks += [Click(int(local) + s, hasty, PEOPLE[0], PDF) for s in (-20, *range(12))]
    stamp = f"{day:%d/%b/%Y}:11:00:00 +0000".encode()
    made = []
    for idsite in range(1, 1 + twins):  # the same visitors clicked the same a little later on the other site
        in_seconds = sorted((replace(c, when=1000 * (c.when + 7 * (idsite - 1))) for c in clicks), key=lambda c: c.when)
        lines = [c.line(n, "+0000", form) for n, c in enumerate(in_seconds)]
        lines += [g % ((stamp, n) if g.count(b"%") == 2 else (n,)) for n, g in enumerate(GARBAGE)]
        made.append(
            Site(
                idsite,
                "dspace",
                f"https://{known.HOST}",
                "RN"[idsite - 1],
                "br",
                grain,
                "^/private/",
                True,
                form,
                tuple(lines),
            )
        )
    return World(zone_name, day, day - timedelta(1), {}, tuple(made))


def tireless_world() -> World:
    """One visitor whose 10,000th action ends a visit."""
    midnight = int(datetime(2025, 3, 1, tzinfo=UTC).timestamp())
    clicks = [Click(1000 * (midnight + n), "192.0.2.7", PEOPLE[0], PDF) for n in range(10_002)]
    lines = tuple(c.line(n, "+0000") for n, c in enumerate(clicks))
    site = Site(1, "dspace", None, "N", None, "day", None, False, COMBINED, lines)
    return World("UTC", date(2025, 3, 1), date(2025, 3, 1), {}, (site,))


def telling_delivery(world: World) -> Delivery:
    """Day by day, so that each changes the one before; short first, grown, rotated, packed, copied, old copies left."""
    (site,) = world.sites
    by_day: dict[date | None, list[int]] = {}
    for place, line in enumerate(site.lines):
        by_day.setdefault(read(line, site, world).day, []).append(place)
    undated = by_day.pop(None, [])
    steps: list[Step] = []
    for n, (day, places) in enumerate(sorted(by_day.items(), key=lambda item: str(item[0]))):
        name, lines = f"access{n}.log", tuple(places + (undated if n == 0 else []))
        rare = [k for k, place in enumerate(lines) if f"{RARE} ".encode() in site.lines[place]]
        cut = rare[5] if rare else len(lines) // 2
        steps += [
            Step(1, name, lines[:2], 60, lines[2], run="all"),
            Step(1, name, lines[:cut], run="day" if day == world.day else "range"),
            Step(1, name, lines, run="all"),
            Step(1, f"{name}.1{PACKED[n % len(PACKED)]}", lines, instead_of=name),
            Step(1, f"copy{n}", lines),
            Step(1, f"older{n}", lines[: len(lines) // 3], run="again"),
        ]
    return Delivery(tuple(steps))
