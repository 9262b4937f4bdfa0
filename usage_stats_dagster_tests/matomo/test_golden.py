"""Sites 5, 8 and 10 of a real Matomo 5.2 through our code: its own tables and figures, exactly."""

from __future__ import annotations

import json
from datetime import date

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from usage_stats_dagster.schemas import EVENTS, VISITS
from usage_stats_dagster_tests.matomo.reading import made, table
from usage_stats_dagster_tests.shared import shared

pytestmark = pytest.mark.services

FIRST, LAST = date(2025, 3, 1), date(2025, 3, 3)
SITES = [
    {"id": 5, "level": "L"},
    *({"id": n, "url": "https://repo.example.org", "platform": "dspace"} for n in (8, 10)),
]
TYPES = {1: "pageviews", 2: "outlinks", 3: "downloads", 8: "searches"}


@pytest.fixture(scope="module", params=["connectorx", "pymysql"])
def ws(request, mariadb, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    kept = {"custom_variables": (1, 2, 6), "custom_dimensions": (1,)}
    return made(folder, mariadb.database("matomo"), SITES, FIRST, LAST, client=request.param, **kept)


def theirs(name: str, idsite: int) -> pl.DataFrame:
    return pl.read_parquet(shared(f"fixtures/matomo/tables/site{idsite}_{name}.parquet"))


def same(ours: pl.DataFrame, golden: pl.DataFrame, key: str) -> None:
    """Equal row by row on every column that both have, types apart."""
    both = [c for c in ours.columns if c in golden.columns]
    golden = golden.select(both).with_columns(
        pl.col(c).dt.replace_time_zone("UTC") if t.is_temporal() else pl.col(c).cast(t)
        for c, t in ours.select(both).schema.items()
    )
    assert_frame_equal(ours.select(both).sort(key), golden.sort(key))


@pytest.mark.parametrize("idsite", [5, 8, 10])
def test_events_are_matomos(ws, idsite):
    golden = theirs("events", idsite)
    search = pl.col("action_title_type") == 8
    golden = golden.with_columns(
        action_name=pl.when(search).then("action_title"),
        # A page view of no URL (`OPTIONS *`) has no action.
        action_type=pl.when(search).then(8).otherwise(pl.col("action_type").fill_null(1)),
    )
    ours = table(ws, EVENTS, idsite, FIRST, LAST)
    assert {"custom_var_k1", "custom_var_v6", "custom_dimension_1"} <= set(ours.columns)
    same(ours, golden, "idlink_va")


@pytest.mark.parametrize("idsite", [5, 8, 10])
def test_visits_are_matomos_and_each_is_counted_once(ws, idsite):
    ours = table(ws, VISITS, idsite, FIRST, LAST)
    same(ours.unique("idvisit"), theirs("visits", idsite), "idvisit")
    assert ours.filter("counted_here").height == ours["idvisit"].n_unique()


@pytest.mark.parametrize("idsite", [5, 8, 10])
def test_the_figures_of_each_day_are_matomos(ws, idsite):
    golden = json.loads(shared("fixtures/matomo/golden.json").read_text())["sites"][str(idsite)]
    for text, of_day in golden["days"].items():
        day = date.fromisoformat(text)
        visits = table(ws, VISITS, idsite, day, day).filter("counted_here")
        events = table(ws, EVENTS, idsite, day, day)
        assert (visits.height, events.height) == (of_day["visits"], of_day["actions"])
        assert visits["idvisitor"].n_unique() == of_day["unique_visitors"]
        assert visits["visit_total_actions"].sum() == of_day["visit_total_actions_sum"]
        assert visits["visit_total_time"].sum() == of_day["sum_visit_length"]
        # Reports of pages are by URL: a page view of none is in no report.
        reported = events.filter(pl.col("action_url").is_not_null() | (pl.col("action_type") == 8))
        counts = dict(reported.group_by("action_type").len().iter_rows())
        assert {w: counts.get(t, 0) for t, w in TYPES.items()} == {w: of_day.get(w, 0) for w in TYPES.values()}


def test_items_come_from_the_custom_variable_or_else_from_the_address(ws):
    tracker, logs = (table(ws, EVENTS, s, FIRST, LAST) for s in (5, 10))
    told = tracker.drop_nulls("custom_var_v1")
    assert (told["identifier"] == told["custom_var_v1"].str.strip_chars()).all()
    assert told["country_item"].drop_nulls().unique().to_list() == ["BR"]
    assert tracker["item_action"].null_count() == tracker.height
    # Imported logs have the HTTP code in slot 1.
    assert set(logs["custom_var_k1"].drop_nulls()) == {"HTTP-code"}
    pages = logs.filter(pl.col("action_url").str.contains(r"/handle/123456789/62$"))
    assert set(pages["identifier"]) == {"123456789/62"} or set(pages["identifier"]) == {
        "oai:repo.example.org:123456789/62"
    }
