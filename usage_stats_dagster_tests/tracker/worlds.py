"""Small worlds of prepared hits, and a slow, plain model of Matomo's visits over them: row by row, on purpose unlike the code."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import polars as pl
from hypothesis import strategies as st

from usage_stats_dagster.schemas import UTC_TIME

DAY = date(2025, 3, 1)
MIDNIGHT = int(datetime(2025, 3, 1, tzinfo=UTC).timestamp())

SCHEMA = {
    "visitor": pl.Int64, "t": pl.Int64, "tie": pl.Int64, "idlink_va": pl.Int64, "time": UTC_TIME,
    "ref_type": pl.Int8, "ref_name": pl.String, "campaign": pl.String,
    "location_ip": pl.String, "location_country": pl.String, "user_agent": pl.String, "robot": pl.String,
    "url_referrer": pl.String, "action_type": pl.Int8, "action_name": pl.String, "action_url": pl.String,
    "action_url_prefix": pl.Int8, "http_method": pl.String, "http_status": pl.Int16, "identifier": pl.String,
    "item_action": pl.String, "country_item": pl.String, "log_identity": pl.String, "line": pl.Int64,
}  # fmt: skip

CLIENTS = pl.DataFrame(
    [("Firefox", "FF", "LIN", 0), ("curl", None, None, None)],
    schema={
        "user_agent": pl.String,
        "config_browser_name": pl.String,
        "config_os": pl.String,
        "config_device_type": pl.Int8,
    },
    orient="row",
)

REFERRERS: list[tuple[int, str | None, str | None]] = [
    (1, None, None),
    (1, None, None),
    (2, "Google", None),
    (3, "example.org", None),
    (6, "mail", "mail"),
    (6, "mail", "mail/spring"),
    (6, "posters", "posters"),
]


def hit(
    visitor: int,
    second: float,
    *,
    referrer: tuple[int, str | None, str | None] = REFERRERS[0],
    tie: int = 0,
    line: int = 1,
) -> dict[str, Any]:
    """One prepared hit, `second` seconds after midnight."""
    t = round((MIDNIGHT + second) * 1000)
    agent = ["Firefox", "curl", None][visitor % 3]
    return {
        "visitor": visitor, "t": t, "tie": tie, "idlink_va": 7 + line, "time": datetime.fromtimestamp(t / 1000, UTC),
        "ref_type": referrer[0], "ref_name": referrer[1], "campaign": referrer[2],
        "location_ip": "192.0.0.0", "location_country": "br", "user_agent": agent, "robot": "list: curl" if agent == "curl" else None,
        "url_referrer": None, "action_type": 1, "action_name": None, "action_url": f"example.org/{line}", "action_url_prefix": 2,
        "http_method": "GET", "http_status": 200, "identifier": None, "item_action": None, "country_item": None,
        "log_identity": "0" * 32, "line": line,
    }  # fmt: skip


def frame(hits: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(hits, schema=SCHEMA, orient="row")


@st.composite
def worlds(draw: st.DrawFn) -> pl.DataFrame:
    """A few visitors' hits, close together and far apart, often in the same second, in any order."""
    gaps = st.sampled_from([0, 0, 1, 0.4, 0.7, 30, 1799, 1799.5, 1800, 1800.3, 1801, 9000])
    rows = []
    for visitor in draw(st.lists(st.sampled_from([0, 10**6 + 1, 2 * 10**9 + 2, 2**60 - 1]), unique=True, max_size=4)):
        second = 0.0
        for gap in draw(st.lists(gaps, max_size=9)):
            second += gap
            tie = draw(st.integers(-2, 2))
            rows.append((visitor, second, draw(st.sampled_from(REFERRERS)), tie))
    rows = draw(st.permutations(rows))
    return frame([hit(v, s, referrer=r, tie=t, line=i) for i, (v, s, r, t) in enumerate(rows, 1)])


class Visit:
    """A visit as a tracker holds it while hits come in."""

    def __init__(self, first: dict[str, Any]) -> None:
        self.hits: list[dict[str, Any]] = []
        self.referrer: dict[str, Any] | None = None
        self.add(first)

    def add(self, hit: dict[str, Any]) -> None:
        self.hits.append(hit)
        if self.referrer is None and hit["ref_type"] != 1:
            self.referrer = hit

    def takes(self, hit: dict[str, Any]) -> bool:
        if hit["t"] // 1000 - self.hits[-1]["t"] // 1000 >= 1800:
            return False
        if hit["ref_type"] != 6 or self.referrer is None:
            return True
        return self.referrer["ref_type"] == 6 and self.referrer["campaign"] == hit["campaign"]


def model(hits: pl.DataFrame) -> list[Visit]:
    """The visits, hit by hit: visitors in order, each one's visits in order."""
    made: list[Visit] = []
    for row in sorted(hits.to_dicts(), key=lambda r: (r["visitor"], r["t"], r["tie"], r["idlink_va"])):
        if made and made[-1].hits[0]["visitor"] == row["visitor"] and made[-1].takes(row):
            made[-1].add(row)
        else:
            made.append(Visit(row))
    return made
