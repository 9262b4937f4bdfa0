"""What always holds: the oracle's figures, whatever the order, the buckets of visitors and the engine."""

from datetime import UTC, date, datetime, timedelta

import duckdb
import narwhals as nw
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from usage_stats_dagster import engine
from usage_stats_dagster.metrics.aggregate import partial
from usage_stats_dagster.metrics.table import metrics_rows
from usage_stats_dagster.schemas import EVENTS, METRICS, VISITS
from usage_stats_dagster.settings import Settings
from usage_stats_dagster_tests.metrics import oracle
from usage_stats_dagster_tests.metrics.frames import bucket, day_metrics, table

DAY = date(2025, 3, 30)
"""Clocks go forward in Berlin."""
SETTINGS = Settings(
    platform={"time_zone": "Europe/Berlin"}, rules={"behaviour_few_actions": 2, "behaviour_many_actions": 4}
)
START = SETTINGS.day_start(DAY).astimezone(UTC)
MIDNIGHT = SETTINGS.day_start(DAY + timedelta(days=1)).astimezone(UTC)

URLS = ("host/handle/1/1", "host/bitstream/1/1/a.pdf", "host/bitstream/1/1/a.pdf.jpg", "host/handle/1/2", None)
VISITORS = ("0000000000000001", "0000000000000002", "0000000000000003")


@st.composite
def site_days(draw):
    """Events, visits and tail of a site's day: bursts of clicks around hours and midnight by three visitors."""
    visits = [
        {
            "idvisit": n,
            "idvisitor": draw(st.sampled_from(VISITORS)),
            "visit_total_actions": draw(st.integers(1, 5)),
            "visit_total_time": draw(st.integers(0, 12)),
            "location_country": draw(st.sampled_from(["br", "ar", None])),
        }
        for n in range(draw(st.integers(1, 5)))
    ]
    moments = st.builds(
        lambda base, seconds: base + timedelta(seconds=seconds),
        st.sampled_from([START + timedelta(hours=1), MIDNIGHT - timedelta(seconds=40)]),
        st.sampled_from([-31, -30, -1, 0, 1, 29, 30, 31, 40, 45, 59, 70]),
    )
    rows = []
    for n in range(draw(st.integers(0, 25))):
        visit = draw(st.sampled_from(visits))
        rows.append(
            {
                "idlink_va": n,
                "idvisit": visit["idvisit"],
                "idvisitor": visit["idvisitor"],
                "server_time": draw(moments),
                "action_type": draw(st.sampled_from([1, 3, 2, 8])),
                "action_url": draw(st.sampled_from(URLS)),
                "http_method": draw(st.sampled_from(["GET", "GET", None, "HEAD"])),
                "http_status": draw(st.sampled_from([200, 200, 304, None, 206])),
                "identifier": draw(st.sampled_from(["oai:host:1/1", "oai:host:1/1", "oai:host:1/2", None])),
                "item_action": draw(st.sampled_from([None, "investigation", "request", "search", "outlink"])),
                "country_item": draw(st.sampled_from([None, "AR", "BR"])),
                "robot": draw(st.sampled_from([None, None, None, "list: bot"])),
            }
        )
    inside = [r for r in rows if START <= r["server_time"] < MIDNIGHT]
    tail = [r for r in rows if MIDNIGHT <= r["server_time"] <= MIDNIGHT + timedelta(seconds=30)]
    return inside, visits, tail


def as_figures(frame: pl.DataFrame) -> dict:
    names = (*METRICS, "searches")
    rows = frame.iter_rows(named=True)
    return {(r["identifier"], r["country"]): {m: r[m] for m in names if r[m]} for r in rows}


@settings(max_examples=80, deadline=None)
@given(site_days())
def test_figures_and_reasons_are_the_oracles(site_day):
    made = day_metrics([bucket(*site_day)], SETTINGS, DAY)
    figures, reasons = oracle.figures(*site_day, SETTINGS)
    assert as_figures(made.table) == figures
    assert {(v, s): n for v, s, n in made.step_counts.iter_rows() if n} == dict(reasons)


@settings(max_examples=25, deadline=None)
@given(site_days(), st.randoms(use_true_random=False))
def test_neither_row_order_nor_buckets_change_a_byte(site_day, random):
    whole = day_metrics([bucket(*site_day)], SETTINGS, DAY)
    split = []
    for visitors in (VISITORS[:1], VISITORS[1:], ("nobody",)):
        parts = [[r for r in rows if r["idvisitor"] in visitors] for rows in site_day]
        for rows in parts:
            random.shuffle(rows)
        split.append(bucket(*parts))
    bucketed = day_metrics(split, SETTINGS, DAY)
    assert_frame_equal(bucketed.table, whole.table)
    assert_frame_equal(bucketed.step_counts, whole.step_counts)


@settings(max_examples=25, deadline=None)
@given(site_days())
def test_the_sums_close_and_the_counter_validators_inequalities_hold(site_day):
    made = day_metrics([bucket(*site_day)], SETTINGS, DAY)
    assert (
        made.step_counts.group_by("vocabulary").agg(pl.col("events").sum())["events"].to_list()
        == [len(site_day[0])] * 2
    )
    for r in made.table.iter_rows(named=True):
        investigations, unique_investigations, requests, unique_requests = (r[m] for m in METRICS[4:])
        assert investigations >= unique_investigations >= unique_requests
        assert investigations >= requests >= unique_requests
        assert (unique_requests > 0) == (requests > 0)
        assert r["conversions"] <= min(r["views"], r["downloads"] + r["outlinks"])


@settings(max_examples=5, deadline=None)
@given(site_day=site_days())
def test_duckdb_gives_the_same_rows(connection, site_day):
    tables = [table(t, rows) for t, rows in zip((EVENTS, VISITS, EVENTS), site_day, strict=True)]
    on_duckdb = _rows(*(connection.from_arrow(t.to_arrow()) for t in tables))
    assert_frame_equal(on_duckdb, _rows(*(t.lazy() for t in tables)))


@pytest.mark.parametrize("step", SETTINGS.rules.steps)
def test_a_step_that_is_left_out_drops_nothing(step):
    steps = tuple(s for s in SETTINGS.rules.steps if s != step)
    without = Settings(rules={"steps": steps})
    moment = datetime(2025, 3, 30, 12, tzinfo=UTC)
    event = {
        "idlink_va": 1,
        "idvisit": 1,
        "idvisitor": "1",
        "server_time": moment,
        "action_type": 1,
        "robot": "list: x",
    }
    visit = {"idvisit": 1, "visit_total_actions": 500, "visit_total_time": 0}
    counts = day_metrics([bucket([event], [visit])], without, DAY).step_counts
    assert step not in counts["step"]
    assert counts["events"].sum() == 2


@pytest.fixture(scope="module")
def connection():
    connection = duckdb.connect(config={"threads": 1})
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def _rows(*natives) -> pl.DataFrame:
    frames = (nw.from_native(n).lazy() for n in natives)
    made = partial(*frames, rules=SETTINGS.rules, zone=SETTINGS.zone, days=(DAY, DAY))
    rows = metrics_rows(made, idsite=7, day=DAY, level="R", rules_version="v1")
    return engine.collect(rows).sort("identifier", "country")
