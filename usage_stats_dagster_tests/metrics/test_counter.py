"""COUNTER's golden table at the level of events; the pipeline's own tests run the same cases from log lines."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from usage_stats_dagster import engine
from usage_stats_dagster.metrics.double_click import followed
from usage_stats_dagster.schemas import COUNTER_METRICS
from usage_stats_dagster.settings import Settings
from usage_stats_dagster_tests.counter_cases import CASES, DAY, Case, Click, at, pdf
from usage_stats_dagster_tests.metrics.frames import clicks_bucket, day_metrics

SETTINGS = Settings()
MOMENT = datetime(2025, 3, 1, 12, tzinfo=UTC)


def figures(case: Case, day) -> tuple[int, ...]:
    table = day_metrics([clicks_bucket(case.clicks, day, SETTINGS)], SETTINGS, day).table
    return table.select(COUNTER_METRICS).sum().row(0)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_golden_table(case):
    assert {day: figures(case, day) for day in case.expected} == case.expected


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_order_of_lines_does_not_matter(case):
    backwards = replace(case, clicks=case.clicks[::-1])
    assert {day: figures(backwards, day) for day in case.expected} == case.expected


def test_a_click_just_after_midnight_is_seen_only_as_the_later_one():
    """30 s after a click at 23:59:50 count; the tail's own figures belong to the next day."""
    late = Click(at("23:59:50"), pdf())
    for seconds, kept in ((30, 0), (31, 1)):
        case = Case("", (late, Click(late.time + timedelta(seconds=seconds), pdf())), {})
        assert figures(case, DAY) == (kept,) * 4


@pytest.mark.parametrize(
    ("method", "status", "counts"), [("GET", 304, 1), ("HEAD", 200, 0), ("GET", 206, 0), ("POST", 200, 0)]
)
def test_only_what_was_delivered_counts(method, status, counts):
    click = Click(at("10:00:00"), pdf(), method=method, status=status)
    assert figures(Case("", (click,), {}), DAY) == (counts,) * 4


def test_what_was_not_delivered_makes_no_double_click():
    clicks = (Click(at("10:00:00"), pdf()), Click(at("10:00:10"), pdf(), status=206))
    assert figures(Case("", clicks, {}), DAY) == (1, 1, 1, 1)


def test_the_hour_is_the_platforms():
    """Clocks 5:45 ahead of UTC: 10:10 and 10:20 UTC are 15:55 and 16:05, two sessions; 10:20 and 10:50 are one."""
    settings = Settings(platform={"time_zone": "Asia/Kathmandu"})
    for clock, sessions in (("10:10:00", 2), ("10:50:00", 1)):
        clicks = [Click(at(clock), pdf()), Click(at("10:20:00"), pdf())]
        table = day_metrics([clicks_bucket(clicks, DAY, settings)], settings, DAY).table
        assert table["unique_item_requests"].to_list() == [sessions]


def test_the_hour_that_comes_twice_is_one_session():
    """Berlin, 26 October 2025: 00:30 and 01:30 UTC are both 02:30 on the clock; 02:30 UTC is 03:30."""
    settings = Settings(platform={"time_zone": "Europe/Berlin"})
    day = at("00:00:00").replace(month=10, day=26).date()
    clicks = [Click(at(clock, day), pdf()) for clock in ("00:30:00", "01:30:00", "02:30:00")]
    table = day_metrics([clicks_bucket(clicks, day, settings)], settings, day).table
    assert table.select("total_item_requests", "unique_item_requests").row(0) == (3, 2)


@pytest.mark.parametrize("places", [(1, 2), (2, 1)])
def test_clicks_of_one_moment_are_told_by_what_they_are(places):
    """Whichever log, and line, each stood in: the one of the lower status is kept, so that splitting a log moves nothing."""
    rows = [
        {"idlink_va": place, "idvisitor": "01", "action_url": "e.org/1", "action_type": 3, "server_time": MOMENT,
         "http_method": method, "http_status": status}
        for place, (method, status) in zip(places, [("GET", 200), ("POST", 304)], strict=True)
    ]  # fmt: skip
    earlier = engine.collect(followed(engine.wrap(pl.DataFrame(rows).lazy()), 30))
    assert earlier["idlink_va"].to_list() == [places[1]]
