"""The same with the lake in a real bucket and the index in a real OpenSearch: killed at every request that changes something.

Here a sample of the points, spread over each run; `make soak-crash` takes all of them, of every world.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from usage_stats_dagster_tests.crash.cases import killed_everywhere, prepare
from usage_stats_dagster_tests.crash.random_kills import kill_at_calls, kill_at_moments, kill_under_readers
from usage_stats_dagster_tests.crash.two_runs import run_at_once, two_runs
from usage_stats_dagster_tests.crash.worker import state_from
from usage_stats_dagster_tests.crash.workers import Helpers, helper_at

pytestmark = pytest.mark.services

SAMPLES = {"two_sites": 12, "late_log": 11, "day_to_month": 9}


@pytest.mark.parametrize("world", SAMPLES)
def test_killed_at_points_of_the_run_and_run_again(world: str, service_workers: Helpers, tmp_path: Path) -> None:
    made = prepare(service_workers, world, tmp_path)
    tried = dict(killed_everywhere(service_workers, made, tmp_path, sample=SAMPLES[world]))
    assert not {where: faults for where, faults in tried.items() if faults}
    assert len(tried) == SAMPLES[world] + 1


def test_killed_twice_at_random_calls(service_workers: Helpers, place: dict[str, str], tmp_path: Path) -> None:
    assert not kill_at_calls(service_workers, tmp_path, 0, place)


def test_killed_at_random_moments(service_workers: Helpers, place: dict[str, str], tmp_path: Path) -> None:
    assert not kill_at_moments(service_workers, tmp_path, 1, place)


def test_readers_see_whole_days_while_runs_are_killed(
    service_workers: Helpers, place: dict[str, str], tmp_path: Path
) -> None:
    assert not kill_under_readers(service_workers, tmp_path, 2, place)


@two_runs
def test_two_runs_at_once_make_what_one_makes(
    world: str, days: tuple, service_workers: Helpers, place: dict[str, str], tmp_path: Path
) -> None:
    made = prepare(service_workers, world, tmp_path)
    folder = tmp_path / "world"
    with helper_at(tmp_path / "witness", place) as witness:
        witness.do("put_back", copy=str(made.start), folder=str(folder))
        run_at_once(folder, days, "--plain", **place)
        assert not state_from(witness.do("look", folder=str(folder))).differences(made.new)
