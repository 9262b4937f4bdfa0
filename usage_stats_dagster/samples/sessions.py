"""Who asks the sample's sites for what, and when: crowds, their sessions, and the requests of each session.

What belongs here: rhythm, choice of items, statuses, referrers; columns of requests without any log format. What does
not: the addresses that a site has (`catalogues.py`), and writing lines (`lines.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus

import numpy as np
import numpy.typing as npt
import polars as pl

from usage_stats_dagster.samples import agents
from usage_stats_dagster.samples.addresses import UTC_OFFSET, draw_addresses, draw_countries
from usage_stats_dagster.samples.catalogues import WORDS, Catalogue

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Column = npt.NDArray[Any]

DAY = 86_400
VIEW, FILE, SEARCH, BROWSE, MACHINE, MISSING, MOVED = range(7)
SPAM_HOST = "free-traffic-offers.example"

# Share of a day's sessions by local hour: quiet at night, a dip at noon, a second peak in the evening.
_HOURS = np.array([8, 5, 3, 2, 2, 3, 6, 12, 22, 32, 38, 38, 30, 34, 40, 42, 40, 36, 30, 28, 30, 30, 24, 15], float)
_WEEKEND = 0.6
_PROBES = (
    "/wp-login.php", "/.env", "/xmlrpc.php", "/admin/config.php", "/.git/HEAD", "/vendor/phpunit/phpunit/src/Util/PHP/eval-stdin.php",
    "/cgi-bin/luci", "/actuator/health", "/bitstream/123456789/1/old.pdf", "/article/view/0",
)  # fmt: skip
_SEARCH_ENGINES = (
    "https://www.google.com/", "https://www.google.com/", "https://scholar.google.com/", "https://www.google.com.br/", "https://www.bing.com/",
    "https://duckduckgo.com/", "https://www.google.es/", r'https://www.google.com/search?q=\"educa%C3%A7%C3%A3o\"',
)  # fmt: skip
_SOCIAL = ("https://www.facebook.com/", "https://l.instagram.com/", "https://t.co/Qw3rTy7", "https://www.linkedin.com/")
_WEBSITES = (
    "https://pt.wikipedia.org/",
    "https://www.university.example/biblioteca",
    "https://blog.library.example/2025/novas-teses",
)
_CAMPAIGNS = (
    "utm_source=newsletter&utm_medium=email&utm_campaign=boletim", "utm_source=facebook&utm_medium=social&utm_campaign=open-week",
)  # fmt: skip


@dataclass(frozen=True)
class Crowd:
    """Visitors of a kind: sessions a weekday, mean actions and median pause (seconds), what they ask for (shares by kind)."""

    name: str
    sessions: float
    actions: float
    pause: float
    agents: tuple[tuple[str, float], ...]
    mix: tuple[float, ...]
    person: bool = False
    addresses: int = 8
    head: float = 0.0


def crowds(scale: float) -> tuple[Crowd, ...]:
    """The crowds of a site with `scale` sessions of people a weekday."""
    people = tuple(agents.browsers())
    machine_mix = (0.55, 0.2, 0.02, 0.13, 0.05, 0.04, 0.01)
    return (
        Crowd("people", scale, 3.1, 38, people, (0.47, 0.29, 0.08, 0.125, 0, 0.015, 0.02), person=True,
              addresses=int(scale * 4)),
        Crowd("listed robots", scale * 0.06, 9, 8, agents.LISTED_ROBOTS, machine_mix, addresses=24),
        Crowd("AI agents", scale * 0.03, 14, 3, agents.AI_AGENTS, (0.5, 0.4, 0, 0.05, 0.02, 0.03, 0), addresses=10),
        Crowd("scripts", scale * 0.02, 9, 2, agents.SCRIPTS, (0.2, 0.3, 0, 0.1, 0.37, 0.02, 0.01), head=0.1),
        Crowd("scanners", scale * 0.006, 9, 1, agents.SCANNERS, (0, 0, 0, 0.05, 0, 0.95, 0), addresses=5),
        # Looks like a person, behaves like none: hundreds of files, a second or so apart.
        Crowd("behaviour robot", 1, 130, 0.8, people[:3], (0.25, 0.75, 0, 0, 0, 0, 0), addresses=1),
    )  # fmt: skip


def draw_requests(
    rng: np.random.Generator, crowd: Crowd, catalogue: Catalogue, url: str, *, days: int, first_weekday: int, countries: Mapping[str, float],
    popularity: Floats,
) -> pl.DataFrame:  # fmt: skip
    """The crowd's requests over the days.

    Columns: time (seconds since the first midnight, UTC), seconds (it took), visitor (a number within the crowd), address, agent, referrer, method, path,
    status, size. `popularity` is the cumulative share of the items. Requests before or after the days are left out.
    """
    visitors = max(1, crowd.addresses)
    homes = draw_countries(rng, countries if crowd.person else {"us": 6, "de": 2, "cn": 1, "in": 1}, visitors)
    addresses = draw_addresses(rng, homes, ipv6=0.12 if crowd.person else 0.0)
    agent_texts, agent_share = np.array([a for a, _ in crowd.agents]), np.array([w for _, w in crowd.agents], float)
    agent_of = rng.choice(len(agent_texts), visitors, p=agent_share / agent_share.sum())

    day_share = np.array([_WEEKEND if (first_weekday + d) % 7 >= 5 else 1.0 for d in range(days)])
    n = max(days, round(crowd.sessions * day_share.sum()))
    visitor = rng.integers(0, visitors, n)
    start = _starts(rng, n, day_share, np.array([UTC_OFFSET[str(c)] for c in homes])[visitor] if crowd.person else None)
    actions = np.minimum(rng.geometric(1 / crowd.actions, n), 600)
    if crowd.name == "behaviour robot":
        actions = actions + 110
    session = np.repeat(np.arange(n), actions)
    opening = np.zeros(len(session), bool)
    opening[np.cumsum(actions) - actions] = True
    time = start[session] + _elapsed(rng, opening, crowd.pause, 1.1 if crowd.person else 0.5)

    kind = rng.choice(len(crowd.mix), len(session), p=np.array(crowd.mix) / sum(crowd.mix))
    item = _items(rng, opening, kind, popularity)
    path = _paths(rng, kind, item, catalogue)
    path, referrer = _referrers(rng, path, opening, url, person=crowd.person)
    agent = agent_of[visitor[session]]
    if not crowd.person:  # one address runs one robot, but robots come by many addresses
        agent = np.repeat(rng.choice(len(agent_texts), n, p=agent_share / agent_share.sum()), actions)
    rows = {
        "time": time, "visitor": visitor[session], "agent": agent, "kind": kind, "item": item, "path": path, "referrer": referrer,
    }  # fmt: skip
    if crowd.person:
        rows = _with_double_clicks(rng, rows)
    rows |= _answers(rng, rows["kind"], person=crowd.person, head=crowd.head)
    if crowd.person:
        rows = _with_static(rng, rows, catalogue, url)
    frame = pl.DataFrame(
        {
            "time": rows["time"],
            "seconds": rng.exponential(0.12, len(rows["time"])) + rows["size"] / _speeds(rng, len(rows["time"])),
            "visitor": rows["visitor"],
            "address": pl.Series(addresses).gather(rows["visitor"]),
            "agent": pl.Series(agent_texts).gather(rows["agent"]),
            "referrer": pl.Series(rows["referrer"], dtype=pl.String),
            "method": pl.Series(rows["method"].astype(object), dtype=pl.String),
            "path": pl.Series(rows["path"], dtype=pl.String),
            "status": rows["status"],
            "size": rows["size"],
        }
    )
    return frame.filter(pl.col("time") >= 0, pl.col("time") + pl.col("seconds") < days * DAY)


def _speeds(rng: np.random.Generator, n: int) -> Floats:
    """Bytes a second at which clients take an answer: slow ones keep a request open over midnight."""
    return np.asarray(2e5 * np.exp(0.8 * rng.standard_normal(n)), dtype=float)


def _starts(rng: np.random.Generator, n: int, day_share: Floats, offset_hours: Ints | None) -> Floats:
    day = rng.choice(len(day_share), n, p=day_share / day_share.sum())
    if offset_hours is None:
        return day * float(DAY) + rng.random(n) * DAY
    local = rng.choice(24, n, p=_HOURS / _HOURS.sum()) * 3600 + rng.random(n) * 3600
    return np.asarray(day * DAY + (local - offset_hours * 3600) % DAY, dtype=float)


def _elapsed(rng: np.random.Generator, opening: npt.NDArray[np.bool_], median: float, spread: float) -> Floats:
    pause = np.where(opening, 0.0, median * np.exp(spread * rng.standard_normal(len(opening))))
    total = np.cumsum(pause)
    base = np.where(opening, total, 0.0)
    return np.asarray(total - np.maximum.accumulate(base), dtype=float)


def _items(rng: np.random.Generator, opening: npt.NDArray[np.bool_], kind: Column, popularity: Floats) -> Ints:
    """The item of each action: half the time the one that the session looked at last."""
    drawn = np.minimum(np.searchsorted(popularity, rng.random(len(kind))), len(popularity) - 1)
    fresh = opening | (rng.random(len(kind)) < 0.5)
    last = np.maximum.accumulate(np.where(fresh, np.arange(len(kind)), 0))
    return np.asarray(drawn[last], dtype=np.int64)


def _paths(rng: np.random.Generator, kind: Column, item: Ints, catalogue: Catalogue) -> Column:
    path = np.empty(len(kind), dtype=object)
    for k, texts in ((VIEW, catalogue.view), (FILE, catalogue.file)):
        path[kind == k] = texts[item[kind == k]].astype(object)
    words = [catalogue.search.replace("{words}", quote_plus(w)) for w in WORDS]
    for k, choices in (
        (SEARCH, words), (BROWSE, catalogue.browse), (MACHINE, catalogue.machine), (MISSING, _PROBES), (MOVED, catalogue.moved),
    ):  # fmt: skip
        at = np.flatnonzero(kind == k)
        path[at] = np.array(choices, dtype=object)[(rng.random(len(at)) ** 1.5 * len(choices)).astype(int)]
    return path


def _referrers(
    rng: np.random.Generator, path: Column, opening: npt.NDArray[np.bool_], url: str, *, person: bool
) -> tuple[Column, Column]:
    """Where each request came from; campaigns also change the path that opens the session."""
    referrer = np.full(len(path), "-", dtype=object)
    if not person:
        return path, referrer
    inner = np.flatnonzero(~opening)
    referrer[inner] = url + path[inner - 1]
    first = np.flatnonzero(opening)
    source = rng.choice(6, len(first), p=[0.3, 0.47, 0.07, 0.1, 0.05, 0.01])
    for k, choices in ((1, _SEARCH_ENGINES), (2, _SOCIAL), (3, _WEBSITES), (5, (f"http://{SPAM_HOST}/win",))):
        at = first[source == k]
        referrer[at] = np.array(choices, dtype=object)[rng.integers(0, len(choices), len(at))]
    path = path.copy()
    for i in first[source == 4]:
        tag = _CAMPAIGNS[rng.integers(0, len(_CAMPAIGNS))]
        path[i] = f"{path[i]}{'&' if '?' in path[i] else '?'}{tag}"
    return path, referrer


def _with_double_clicks(rng: np.random.Generator, rows: dict[str, Column]) -> dict[str, Column]:
    """Some pages and files are asked for again, from one second later to just past the thirty that count as one."""
    again = np.flatnonzero((rows["kind"] <= FILE) & (rng.random(len(rows["kind"])) < 0.05))
    more = {name: column[again] for name, column in rows.items()}
    more["time"] = more["time"] + np.array([1.0, 2, 5, 12, 20, 29, 30, 31, 34])[rng.integers(0, 9, len(again))]
    return {name: np.concatenate([column, more[name]]) for name, column in rows.items()}


def _answers(rng: np.random.Generator, kind: Column, *, person: bool, head: float) -> dict[str, Column]:
    """Method, status and size of the answers: mostly 200, some 304 and 206, an error now and then."""
    luck = rng.random(len(kind))
    status = np.full(len(kind), 200)
    if person:
        status[luck < 0.04] = 304
        status[(kind == FILE) & (luck > 0.975)] = 206
    status[luck > 0.997] = 500
    status[(kind == SEARCH) & (luck > 0.99)] = 503
    status[kind == MISSING] = 404
    status[kind == MOVED] = np.array([301, 302, 303, 307])[rng.integers(0, 4, int((kind == MOVED).sum()))]
    median = np.where(kind == FILE, 900_000, np.where(kind >= MISSING, 350, 14_000))
    size = (median * np.exp(0.8 * rng.standard_normal(len(kind)))).astype(np.int64)
    size[status == 304] = 0
    method = np.full(len(kind), "GET", dtype="U7")
    if person:
        method[(kind == SEARCH) & (luck < 0.02)] = "POST"
    if head:
        heads = rng.random(len(kind)) < head
        method[heads] = "HEAD"
        size[heads] = 0
    return {"status": status, "size": size, "method": method}


def _with_static(
    rng: np.random.Generator, rows: dict[str, Column], catalogue: Catalogue, url: str
) -> dict[str, Column]:
    """A browser also fetches what a page is made of: more on a page of no item, thumbnails with an item's."""
    pages = np.flatnonzero((rows["status"] == 200) & np.isin(rows["kind"], (VIEW, SEARCH, BROWSE)))
    page = np.repeat(pages, rng.poisson(2.1, len(pages)))
    more = {name: column[page] for name, column in rows.items()}
    more["time"] = more["time"] + 0.2 + 1.5 * rng.random(len(page))
    path = np.array(catalogue.static, dtype=object)[rng.integers(0, len(catalogue.static), len(page))]
    thumbs = catalogue.thumbnail[more["item"]]
    shown = (more["kind"] == VIEW) & (thumbs != "") & (rng.random(len(page)) < 0.2)
    path[shown] = thumbs[shown].astype(object)
    more["referrer"] = url + more["path"]
    more["path"] = path
    cached = rng.random(len(page)) < 0.25
    more["status"] = np.where(cached, 304, 200)
    more["size"] = np.where(cached, 0, (9_000 * np.exp(rng.standard_normal(len(page)))).astype(np.int64))
    more["method"] = np.full(len(page), "GET", dtype="U7")
    return {name: np.concatenate([column, more[name]]) for name, column in rows.items()}
