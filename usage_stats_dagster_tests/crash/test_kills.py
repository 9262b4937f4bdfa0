"""Processes that are really killed, by SIGKILL: at calls chosen by a seed, at moments chosen by it, and again while recovering."""

from __future__ import annotations

from pathlib import Path

import pytest

from usage_stats_dagster_tests.crash.random_kills import kill_at_calls, kill_at_moments
from usage_stats_dagster_tests.crash.workers import Helpers


@pytest.mark.parametrize("seed", range(3))
def test_killed_twice_at_random_calls(seed: int, workers: Helpers, tmp_path: Path) -> None:
    assert not kill_at_calls(workers, tmp_path, seed, {})


@pytest.mark.parametrize("seed", range(2))
def test_killed_at_random_moments(seed: int, workers: Helpers, tmp_path: Path) -> None:
    assert not kill_at_moments(workers, tmp_path, seed, {})
