"""The whole pipeline, log lines in and figures out, against figures that nobody here computed."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from usage_stats_dagster.pipeline.account import account
from usage_stats_dagster_tests.counter_cases import CASES, Case
from usage_stats_dagster_tests.platforms import Platform
from usage_stats_dagster_tests.shared import shared


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_counter_cases(case: Case, tmp_path: Path) -> None:
    platform = Platform.make(tmp_path)
    for day in case.expected:
        platform.log(f"access-{day}.log", [c.line() for c in sorted(case.clicks_of(day), key=lambda c: c.time)])
    platform.run()
    assert {d: platform.figures().get(d, (0, 0, 0, 0)) for d in case.expected} == case.expected
    assert account(platform.ws).open_sums == []


def test_a_midnight_double_click_counts_once_whichever_day_comes_first(tmp_path: Path) -> None:
    case = next(c for c in CASES if c.name == "I")
    first, second = sorted(case.expected)
    for name, order in (("forth", (first, second)), ("back", (second, first))):
        platform = Platform.make(tmp_path / name)
        for day in order:
            platform.log(f"access-{day}.log", [c.line() for c in case.clicks_of(day)])
            platform.run()
        assert platform.figures().get(first, (0, 0, 0, 0)) == (0, 0, 0, 0), name
        assert platform.figures()[second] == (1, 1, 1, 1), name


def test_the_fixture_logs_are_counted_as_the_upstream_importer_counts_them(tmp_path: Path) -> None:
    platform = Platform.make(tmp_path)
    for path in sorted(shared("fixtures/matomo/logs").glob("*.gz")):
        platform.log(path.name, path.read_bytes())
    platform.run()
    result = account(platform.ws)
    lines = dict(result.table.filter(pl.col("stage") == "lines").select("what", "count").iter_rows())
    upstream = {"http_error": 787, "http_redirect": 414, "static": 9536, "invalid": 28}
    assert {k: lines[k] for k in upstream} == upstream
    assert lines["read"] == 19_990 == sum(v for k, v in lines.items() if k != "read")
    # What upstream sent or dropped as its own robots: our hits, and the spam that only Matomo's tracker drops.
    assert lines["hit"] + lines["spam_referrer"] == 7904 + 1321
    assert result.open_sums == []


def test_days_are_days_of_the_platform_s_zone(tmp_path: Path) -> None:
    from usage_stats_dagster_tests.platforms import line

    platform = Platform.make(tmp_path, platform={"time_zone": "America/Sao_Paulo"})
    platform.log("a.log", [line("02:59:59"), line("03:00:00", ip="192.0.2.8")])  # UTC; midnight there is 03:00
    platform.run()
    figures = platform.figures()
    assert figures[date(2025, 2, 28)] == figures[date(2025, 3, 1)] == (1, 1, 0, 0)
    assert sorted(figures) == [date(2025, 2, 28), date(2025, 2, 28) + timedelta(1)]


def test_daylight_saving_makes_days_of_23_and_25_hours(tmp_path: Path) -> None:
    from datetime import datetime

    from usage_stats_dagster_tests.platforms import line

    platform = Platform.make(tmp_path, platform={"time_zone": "Europe/Lisbon"})
    start = datetime(2025, 3, 29, 0, 30)
    hours = [line(start + timedelta(hours=h), f"/handle/1/{h}", ip=f"192.0.2.{h + 1}") for h in range(72)]
    platform.log("spring.log", hours)
    platform.run()
    assert {d: f[0] for d, f in platform.figures().items()} == {
        date(2025, 3, 29): 24,
        date(2025, 3, 30): 23,
        date(2025, 3, 31): 24,
        date(2025, 4, 1): 1,
    }


def test_month_grain_sums_the_days_and_a_change_of_grain_leaves_one(tmp_path: Path) -> None:
    from datetime import datetime

    from usage_stats_dagster_tests.platforms import line

    by_day = Platform.make(tmp_path)
    for day in (1, 2, 3):
        by_day.log(
            f"{day}.log", [line(datetime(2025, 3, day, 10), f"/handle/1/{n}", ip=f"192.0.2.{n}") for n in range(day)]
        )
    by_day.run()
    total = by_day.documents()["total_item_investigations"].sum()
    site = {**by_day.settings.sites[0].model_dump(), "grain": "month"}
    by_month = Platform.make(tmp_path, sites=[site])
    by_month.run(date(2025, 3, 1), date(2025, 3, 3))
    documents = by_month.documents()
    assert documents["date"].unique().to_list() == [date(2025, 3, 1)]
    assert documents["total_item_investigations"].sum() == total == 6
    assert account(by_month.ws).open_sums == []
    by_day.run(date(2025, 3, 1), date(2025, 3, 3))
    assert by_day.documents()["date"].n_unique() == 3
    assert by_day.documents()["total_item_investigations"].sum() == total
    assert by_day.ws.index.totals()["total_item_investigations"].item() == total
