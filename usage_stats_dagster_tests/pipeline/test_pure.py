"""A day's figures depend on the logs' contents and on nothing else: order, names, archives, growth, retries."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from usage_stats_dagster.schemas import METRICS
from usage_stats_dagster_tests.platforms import FIREFOX, PDF, Platform, line

TABLES = ("hits", "visits", "events", "metrics", "documents")
DAYS = [date(2025, 3, 1) + timedelta(k) for k in range(3)]
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstandard.compress,
    "plain": lambda b: b,
}


@pytest.fixture(autouse=True)
def _one_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two platforms can have the same bytes in visits and events only with the same key."""
    monkeypatch.setenv("USAGE_STATS_SECRET", "a key for tests")


def world(seed: int = 1, per_day: int = 120) -> dict[date, list[str]]:
    """Three days of a few visitors, with clicks close to one another, also over midnight."""
    rng = random.Random(seed)
    days: dict[date, list[str]] = {}
    for day in DAYS:
        moments = sorted([rng.randrange(86_400) for _ in range(per_day)] + [0, 3, 12, 86_370, 86_385, 86_399])
        rows = []
        for s in moments:
            url = rng.choice(
                [
                    PDF,
                    "/handle/1/1",
                    "/handle/1/2",
                    "/discover?query=a",
                    "/handle/1/3?utm_campaign=x",
                    "/a.css",
                    "/gone",
                ]
            )
            rows.append(
                line(
                    datetime(day.year, day.month, day.day) + timedelta(seconds=s),
                    url,
                    ip=f"192.0.2.{rng.randrange(4)}",
                    agent=rng.choice([FIREFOX, FIREFOX, "Googlebot/2.1"]),
                    status=404 if url == "/gone" else 200,
                    referrer=rng.choice(["-", "https://www.google.com/", "https://other.example/"]),
                )
            )
        days[day] = rows
    return days


def data(rows: list[str]) -> bytes:
    return "".join(f"{r}\n" for r in rows).encode()


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Every file of every table when all logs are there at once."""
    with pytest.MonkeyPatch.context() as m:
        m.setenv("USAGE_STATS_SECRET", "a key for tests")
        platform = Platform.make(tmp_path_factory.mktemp("batch"))
        for day, rows in world().items():
            platform.log(f"access-{day}.log", rows)
        platform.run()
        return platform.files(*TABLES)


def test_any_order_of_days_and_twice(batch: dict[str, bytes], tmp_path: Path) -> None:
    platform = Platform.make(tmp_path)
    for day in (DAYS[2], DAYS[0], DAYS[1]):
        platform.log(f"access-{day}.log", world()[day])
        platform.run()
    assert platform.files(*TABLES) == batch
    again = platform.run()
    assert again.stages == []
    assert [p.action for p in again.imports.paths] == []
    platform.run(DAYS[0], DAYS[-1])
    assert platform.files(*TABLES) == batch


def test_day_by_day_or_as_one_range(batch: dict[str, bytes], tmp_path: Path) -> None:
    platform = Platform.make(tmp_path)
    for day, rows in world().items():
        platform.log(f"access-{day}.log", rows)
    for day in reversed(DAYS):
        platform.run(day)
    assert platform.files(*TABLES) == batch


@pytest.mark.parametrize("packer", PACKERS)
def test_compression_and_names(packer: str, batch: dict[str, bytes], tmp_path: Path) -> None:
    platform = Platform.make(tmp_path)
    for n, rows in enumerate(world().values()):
        platform.log(f"whatever{n}.{'gz' if packer == 'plain' else packer}", PACKERS[packer](data(rows)))
    platform.run()
    assert platform.files(*TABLES) == batch


def test_rotated_recompressed_and_copied_after_import_changes_nothing(batch: dict[str, bytes], tmp_path: Path) -> None:
    platform = Platform.make(tmp_path)
    paths = [platform.log(f"access-{day}.log", rows) for day, rows in world().items()]
    platform.run()
    packed = paths[0].with_suffix(".log.1.gz")
    packed.write_bytes(gzip.compress(paths[0].read_bytes()))
    paths[0].unlink()
    paths[1].rename(paths[1].with_name("renamed"))
    (paths[2].parent / "copy").write_bytes(paths[2].read_bytes())
    again = platform.run()
    assert {p.action for p in again.imports.paths} == {"same"}
    assert again.stages == []
    assert platform.files(*TABLES) == batch


@pytest.mark.parametrize("steps", [[3, 40, 90, 126], [1, 126], [5, 6, 7, 126]])
def test_growth(steps: list[int], batch: dict[str, bytes], tmp_path: Path) -> None:
    """A log imported while it grows, first when it has less than 1 KiB, ends as if imported whole."""
    platform = Platform.make(tmp_path)
    for n in steps:
        for day, rows in world().items():
            platform.log(f"access-{day}.log", rows[:n])
        platform.run()
    assert platform.files(*TABLES) == batch


def test_half_a_line_waits_for_its_other_half(batch: dict[str, bytes], tmp_path: Path) -> None:
    platform = Platform.make(tmp_path, platform={"grace_seconds": 3600})
    for cut in (100, 1500, 9000, None):
        for day, rows in world().items():
            platform.log(f"access-{day}.log", data(rows)[:cut])
        platform.run()
    assert platform.files(*TABLES) == batch


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), parts=st.integers(2, 4))
def test_split_logs_have_the_same_figures(
    seed: int, parts: int, batch: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    rng = random.Random(seed)
    platform = Platform.make(
        tmp_path_factory.mktemp("split"), sites=[{"id": 1, "platform": "dspace", "url": "https://repo.example.org"}]
    )
    for day, rows in world().items():
        split: list[list[str]] = [[] for _ in range(parts)]
        for row in rows:
            split[rng.randrange(parts)].append(row)
        for n, part in enumerate(split):
            if part:
                platform.log(f"web{n}-{day}.log", part)
    order = list(range(1))
    del order
    platform.run()
    whole = {k: v for k, v in batch.items() if k.startswith(("metrics", "documents"))}
    assert platform.files("metrics", "documents") == whole


def test_an_overlapping_copy_is_held_back_until_somebody_decides(tmp_path: Path) -> None:
    rows = world()[DAYS[0]]
    platform = Platform.make(tmp_path)
    platform.log("a.log", rows)
    platform.run()
    before = platform.files(*TABLES)
    overlap = platform.log("b.log", rows[30:])
    report = platform.run().imports
    assert [(p.action, Path(p.path).name) for p in report.paths] == [("held", "b.log")]
    assert "a.log" in str(report.paths[0].message)
    assert platform.files(*TABLES) == before
    assert platform.run().imports.paths == []
    with platform.ws.ledger.write() as c:
        platform.ws.ledger.put_path(c, 1, str(overlap), decision="accept")
    assert [p.action for p in platform.run().imports.paths] == ["imported"]
    assert platform.documents().select(pl.sum_horizontal(METRICS)).sum().item() > 0


def test_a_merged_log_that_holds_two_imported_ones_is_held_back_too(tmp_path: Path) -> None:
    rows = world()[DAYS[0]]
    platform = Platform.make(tmp_path)
    platform.log("a.log", rows[::2])
    platform.log("b.log", rows[1::2])
    platform.run()
    platform.log("merged.log", rows)
    assert [p.action for p in platform.run().imports.paths] == ["held"]


def test_a_log_that_shrank_or_diverged_is_an_error_that_names_both(tmp_path: Path) -> None:
    rows = world()[DAYS[0]]
    platform = Platform.make(tmp_path)
    platform.log("a.log", rows)
    platform.run()
    before = platform.files(*TABLES)
    platform.log("a.log", rows[:50])
    (shrank,) = platform.run().imports.paths
    assert shrank.action == "failed"
    assert "is shorter than what was imported" in str(shrank.message)
    platform.log("c.log", rows[:50] + world(2)[DAYS[0]][50:])
    (diverged,) = platform.run().imports.paths
    assert diverged.action == "failed"
    assert "a.log" in str(diverged.message)
    assert "c.log" in str(diverged.message)
    assert platform.files(*TABLES) == before


def test_threads_open_a_platform_once(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    platform = Platform.make(tmp_path)
    for _ in range(5):
        ws = platform.ws
        with ThreadPoolExecutor(8) as pool:
            opened = list(pool.map(lambda _, ws=ws: (id(ws.lake), id(ws.ledger), id(ws.index), ws.key), range(16)))
        assert len(set(opened)) == 1


def test_a_double_click_over_a_day_that_a_zone_skipped(tmp_path: Path) -> None:
    """In Apia the 29th of December 2011 was followed by the 31st, at 10:00 UTC."""
    platform = Platform.make(tmp_path, platform={"time_zone": "Pacific/Apia"})
    assert [platform.settings.has_day(date(2011, 12, d)) for d in (29, 30, 31)] == [True, False, True]
    platform.log("a.log", [line(datetime(2011, 12, 30, 9, 59, 50)), line(datetime(2011, 12, 30, 9, 0))])
    platform.run()
    assert platform.figures("total_item_investigations") == {date(2011, 12, 29): (2,)}
    platform.log("late.log", [line(datetime(2011, 12, 30, 10, 0, 5)), line(datetime(2011, 12, 30, 12), PDF)])
    platform.run()
    assert platform.figures("total_item_investigations") == {date(2011, 12, 29): (1,), date(2011, 12, 31): (2,)}
