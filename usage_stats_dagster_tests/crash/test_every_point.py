"""Killed before every call that changes a file, and in the middle of every write: then run again, as if nothing had been.

The state of every such moment is copied out of one run (`points.py`), read as a reader would, and run to its end.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from usage_stats_dagster_tests.crash.cases import killed_everywhere, prepare
from usage_stats_dagster_tests.crash.workers import Helpers
from usage_stats_dagster_tests.crash.worlds import WORLDS

LEAST = {"day_to_month": 15, "new_index": 10}
LARGE = {"two_sites_anew", "lost_tables"}
"""Of the same kinds of calls as others, and many: left to `make soak-crash`."""


@pytest.mark.parametrize("world", [w for w in WORLDS if w not in LARGE])
def test_killed_at_every_point_and_run_again(world: str, workers: Helpers, tmp_path: Path) -> None:
    made = prepare(workers, world, tmp_path)
    assert made.old.differences(made.new), "the run has nothing to do"
    tried, wrong = 0, {}
    for where, faults in killed_everywhere(workers, made, tmp_path):
        tried += 1
        if faults:
            wrong[where] = faults
    assert not wrong
    assert tried >= LEAST.get(world, 40)
    print(f"{world}: {tried} states that a kill leaves")
