"""Small site-days are computed several at a time: every file has the bytes that it has when its site-day is computed alone."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from usage_stats_dagster.index.interface import EVERYTHING
from usage_stats_dagster.pipeline import stage
from usage_stats_dagster.pipeline.stage import batches
from usage_stats_dagster_tests.platforms import FIREFOX, PDF, Platform, line

DAYS = [date(2025, 3, 30) + timedelta(k) for k in range(3)]
"""Over the end of a month, and the day on which Europe's clocks go forward."""

TABLES = ("visits", "events", "metrics", "documents")
SITES: list[dict[str, Any]] = [
    {"id": 1, "platform": "dspace", "url": "https://repo.example.org"},
    {"id": 2, "platform": "dspace", "url": "https://www.other.example.org", "country": "pt", "grain": "month"},
    {"id": 3, "platform": "dspace", "level": "L"},
    {"id": 4, "platform": "ojs", "url": "http://journal.example.org", "country": "br"},
    {"id": 5, "platform": "dspace", "url": "https://repo.example.org", "identifier_map": {"regex": "/2$", "replace": "/1"}},
    {
        "id": 6,
        "url": "https://google.com",  # whose own pages are no search engine's to it
        "platform": "generic",
        "identifier": "{host}/{id}",
        "item_rules": [
            {"pattern": "^/handle/1/(?P<id>[0-9]+)", "action": "investigation"},
            {"pattern": "^/bitstream/(?P<host>[a-z]+)/1/(?P<id>[0-9]+)", "action": "request"},
            {"pattern": "^/about", "action": "investigation", "identifier": "{host}"},
        ],
    },
]  # fmt: skip
URLS = (
    PDF, "/handle/1/1", "/handle/1/2", "/handle/1/2?utm_campaign=x", "/discover?query=a+b", "/article/view/7",
    "/article/download/7/8", "/about", "/search?query=c", "/handle/1/%31", "*", "/a;jsessionid=3?q=%20",
)  # fmt: skip
REFERRERS = (
    "-", "https://www.google.com/search?q=a", "https://repo.example.org/x", "https://www.other.example.org/y",
    "http://other.example.org/", "https://google.com/", "https://facebook.com/", "no url",
)  # fmt: skip
AGENTS = (FIREFOX, "Googlebot/2.1", "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) Safari/604.1", "")


def logs(seed: int) -> dict[tuple[int, date], list[str]]:
    """Site-days of up to 40 lines, many of the same few visitors at all sites, with clicks close to midnight; some have none."""
    rng = random.Random(seed)
    made = {}
    for site in SITES:
        for day in DAYS:
            moments = sorted(
                rng.choice((rng.randrange(86_400), rng.randrange(40), 86_399 - rng.randrange(40)))
                for _ in range(rng.randrange(40))
            )
            # One site's format has virtual hosts, on one day for all lines: its own, another, www.
            hosts = ("journal.example.org:80 ", "WWW.other.org:443 ") if (site["id"], day) == (4, DAYS[1]) else ("",)
            made[site["id"], day] = [
                rng.choice(hosts)
                + line(
                    datetime(day.year, day.month, day.day) + timedelta(seconds=s),
                    rng.choice(URLS),
                    ip=f"192.0.2.{rng.randrange(3)}",
                    agent=rng.choice(AGENTS),
                    method=rng.choice(("GET", "GET", "HEAD")),
                    referrer=rng.choice(REFERRERS),
                )
                for s in moments
            ]
    return made  # fmt: skip


@contextmanager
def together(keys: int) -> Iterator[None]:
    """At most so many site-days at a time."""
    with pytest.MonkeyPatch.context() as m:
        m.setenv("USAGE_STATS_SECRET", "a key for tests")
        m.setattr(stage, "BATCH_KEYS", keys)
        yield


def run(folder: Path, written: dict[tuple[int, date], list[str]], keys: int, zone: str) -> tuple[dict[str, bytes], Any]:
    """Every file of the tables, manifests included, and all that the index holds."""
    platform = Platform.make(folder, sites=SITES, platform={"grace_seconds": 0, "time_zone": zone})
    for (site, day), rows in written.items():
        if rows:
            platform.log(f"access-{day}.log", rows, site)
    with together(keys):
        platform.run()
        manifests = {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("_manifest.json"))}
        return platform.files(*TABLES) | manifests, platform.ws.index.sources(EVERYTHING).rows()


@settings(max_examples=5, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), keys=st.integers(2, 20), zone=st.sampled_from(("UTC", "Europe/Berlin")))
def test_together_is_as_alone(seed: int, keys: int, zone: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    written = logs(seed)
    files, indexed = run(tmp_path_factory.mktemp("alone"), written, 1, zone)
    assert run(tmp_path_factory.mktemp("together"), written, keys, zone) == (files, indexed)
    assert any(orjson.loads(f)["rows"] for name, f in files.items() if name.endswith(".json") and "documents" in name)


def test_a_day_made_again_among_others_leaves_them(tmp_path: Path) -> None:
    """One site's new log: what was made stays, byte for byte and unwritten, and is told as unchanged."""
    written = logs(1)
    before, _ = run(tmp_path, written, 400, "UTC")
    platform = Platform.make(tmp_path, sites=SITES)
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "lake" / "events").rglob("*.parquet")}
    platform.log("more.log", [line(datetime(2025, 3, 31, 12), ip="198.51.100.9")], 1)
    with together(400):
        report = platform.run(DAYS[0], DAYS[-1])
    changed = {(r.table, r.idsite, r.day) for r in report.stages if r.changed}
    assert {(i, d) for _, i, d in changed} == {(1, DAYS[1])}
    assert {p for p, t in times.items() if p.stat().st_mtime_ns != t} == {
        p for p in times if "idsite=1/year=2025/month=3/day=31" in str(p)
    }
    after = platform.files(*TABLES)
    assert {k for k, v in after.items() if before.get(k) != v} == {
        k for k in after if "idsite=1/year=2025/month=3/day=31" in k
    }


def test_batches_hold_what_is_small_and_keep_the_order() -> None:
    keys = [(s, d) for d in DAYS for s in range(4)]
    rows = dict.fromkeys(keys, 10) | {(2, DAYS[0]): stage.SMALL_ROWS, (1, DAYS[2]): 10 * stage.BATCH_ROWS}
    made = list(batches(keys, rows.__getitem__))
    assert [k for b in made for k in b] == keys
    assert [len(b) for b in made] == [2, 1, 6, 1, 2]
