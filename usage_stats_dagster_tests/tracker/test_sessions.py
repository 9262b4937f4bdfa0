"""Where visits begin: against the plain model, and each rule by example."""

from __future__ import annotations

from datetime import date
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings

from usage_stats_dagster import engine
from usage_stats_dagster.engine import wrap
from usage_stats_dagster.tracker.sessions import BY, ORDER, day_offset, sessions
from usage_stats_dagster.tracker.visits import visits
from usage_stats_dagster_tests.tracker.worlds import CLIENTS, DAY, REFERRERS, frame, hit, model, worlds

DIRECT, _, SEARCH, SITE, MAIL, MAIL_SPRING, POSTERS = REFERRERS


def grouped(hits: pl.DataFrame, **parameters: int) -> list[list[int]]:
    """The lines of each visit, visits and lines in order."""
    found = engine.collect(sessions(wrap(hits.lazy()), DAY, **parameters)).sort(BY, *ORDER)
    return found.group_by("idvisit", maintain_order=True).agg("line")["line"].to_list()


@given(worlds())
@settings(max_examples=60, deadline=None)
def test_visits_are_those_of_the_model(hits: pl.DataFrame) -> None:
    """Same hits together, same referrer, same times, whatever the order in which the rows come."""
    found = engine.collect(sessions(wrap(hits.lazy()), DAY))
    expected = model(hits)
    assert grouped(hits) == [[h["line"] for h in v.hits] for v in expected]
    table = engine.collect(visits(wrap(found.lazy()), wrap(CLIENTS.lazy()), 4)).sort("idvisit")
    by_id = {row["idvisit"]: row for row in table.to_dicts()}
    number: dict[int, int] = {}
    for v in expected:
        visitor = v.hits[0]["visitor"]
        number[visitor] = number.get(visitor, 0) + 1
        row = by_id.pop(visitor + number[visitor] + day_offset(DAY))
        first, last = v.hits[0], v.hits[-1]
        assert (row["visit_first_action_time"], row["visit_last_action_time"]) == (first["time"], last["time"])
        assert row["visit_total_actions"] == len(v.hits)
        assert row["visit_total_time"] == (0 if len(v.hits) == 1 else 1 + last["t"] // 1000 - first["t"] // 1000)
        assert row["referer_type"] == (v.referrer["ref_type"] if v.referrer else 1)
        assert row["referer_name"] == (v.referrer["ref_name"] if v.referrer else None)
        assert row["idvisitor"] == f"{visitor:016x}"
        assert row["robot"] == first["robot"]
    assert not by_id


@pytest.mark.parametrize(
    ("hits", "expected"),
    [
        pytest.param([hit(1, 0), hit(1, 1799, line=2)], [[1, 2]], id="1799 s: the same visit"),
        pytest.param([hit(1, 0), hit(1, 1800, line=2)], [[1], [2]], id="1800 s: a new one"),
        pytest.param([hit(1, 0.9), hit(1, 1800.1, line=2)], [[1], [2]], id="whole seconds count, 0 to 1800"),
        pytest.param([hit(1, 0), hit(1, 1700, line=2), hit(1, 3400, line=3)], [[1, 2, 3]], id="the window slides"),
        pytest.param([hit(1, 0), hit(2, 0, line=2)], [[1], [2]], id="another visitor"),
        pytest.param([hit(1, 5, tie=1), hit(1, 5, tie=-1, line=2)], [[2, 1]], id="a second's hits by content"),
        pytest.param([hit(1, 0), hit(1, 9, referrer=MAIL, line=2)], [[1, 2]], id="direct, then a campaign"),
        pytest.param(
            [hit(1, 0, referrer=SEARCH), hit(1, 9, referrer=MAIL, line=2)], [[1], [2]], id="found, then a campaign"
        ),
        pytest.param(
            [hit(1, 0, referrer=MAIL), hit(1, 9, referrer=SITE, line=2)], [[1, 2]], id="a campaign, then a site"
        ),
        pytest.param([hit(1, 0, referrer=MAIL), hit(1, 9, referrer=POSTERS, line=2)], [[1], [2]], id="two campaigns"),
        pytest.param(
            [hit(1, 0, referrer=MAIL), hit(1, 9, referrer=MAIL_SPRING, line=2)], [[1], [2]], id="two keywords"
        ),
        pytest.param(
            [
                hit(1, 0, referrer=MAIL),
                hit(1, 9, line=2),
                hit(1, 20, referrer=SITE, line=3),
                hit(1, 30, referrer=MAIL, line=4),
            ],
            [[1, 2, 3, 4]],
            id="the same campaign again",
        ),
    ],
)
def test_rules(hits: list[dict[str, Any]], expected: list[list[int]]) -> None:
    """Each rule by example: the lines of the visits that come out."""
    assert grouped(frame(hits)) == expected


def test_a_visit_has_at_most_so_many_actions() -> None:
    """The hit after the last that a visit may have opens the next, and so on; a gap starts the count anew."""
    seconds = [0, 1, 2, 3, 4, 5, 6, 4000, 4001, 4002, 4003]
    hits = frame([hit(1, s, line=i) for i, s in enumerate(seconds, 1)])
    assert grouped(hits, max_actions=3) == [[1, 2, 3], [4, 5, 6], [7], [8, 9, 10], [11]]


def test_ids_stay_in_bounds_and_apart() -> None:
    """Ids of the largest visitor fit 63 bits for centuries, and no two days' ids of one visitor meet."""
    last = day_offset(date(2327, 12, 31))
    assert 2**60 - 1 + 10**9 + last < 2**62
    assert day_offset(date(2025, 3, 2)) - day_offset(DAY) > 10**9
