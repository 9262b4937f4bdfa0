"""Whole little worlds through the pipeline: what comes out is what the oracle says, however the lines arrived.

A failure tells the smallest world found: settings, lines, how they arrived, and the rows that differ. `make soak` tries
fresh worlds for as long as asked.
"""

from datetime import date

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from usage_stats_dagster_tests.oracle import properties
from usage_stats_dagster_tests.oracle.formats import COMBINED, HOSTED, JSON
from usage_stats_dagster_tests.oracle.telling import telling_delivery, telling_world, tireless_world
from usage_stats_dagster_tests.oracle.worlds import World, worlds

BOUNDED = {
    "deadline": None,
    "derandomize": True,
    "report_multiple_bugs": False,
    "suppress_health_check": list(HealthCheck),
}


@pytest.mark.parametrize(
    ("zone", "day", "grain", "form"),
    [
        ("UTC", date(2025, 3, 1), "month", COMBINED),
        ("Europe/Lisbon", date(2024, 10, 27), "day", COMBINED),
        ("America/Santiago", date(2025, 9, 7), "day", HOSTED),
        ("Australia/Lord_Howe", date(2025, 4, 6), "day", JSON),
    ],
)
def test_every_limit_of_every_rule(zone: str, day: date, grain: str, form: str) -> None:
    properties.every_table_is_the_oracles(telling_world(zone, day, grain, form))


def test_two_sites_with_the_same_visitors_don_t_meet() -> None:
    properties.every_table_is_the_oracles(telling_world("Asia/Kolkata", date(2025, 5, 1), twins=2))


def test_small_pieces_make_the_same_bytes() -> None:
    properties.any_cut_comes_to_the_same(telling_world("Pacific/Kiritimati", date(2025, 1, 1)))


def test_a_visit_of_10_000_actions_is_full() -> None:
    properties.every_table_is_the_oracles(tireless_world())


def test_days_one_after_another_with_all_that_happens_to_files() -> None:
    world = telling_world("America/Sao_Paulo", date(2025, 6, 1))
    properties.comes_to_the_same(world, telling_delivery(world))


@settings(max_examples=40, **BOUNDED)
@given(worlds())
def test_every_table_is_the_oracles(world: World) -> None:
    properties.every_table_is_the_oracles(world)


@settings(max_examples=8, **BOUNDED)
@given(worlds(), st.data())
def test_any_delivery_comes_to_the_same(world: World, data: st.DataObject) -> None:
    properties.any_delivery_comes_to_the_same(world, data)
