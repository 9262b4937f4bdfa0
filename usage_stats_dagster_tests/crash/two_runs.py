"""Two runs that are begun together, of the same day or of neighbours.

What belongs here: their worlds and starting them. What does not: what is left afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import pytest

from usage_stats_dagster_tests.crash.commands import ended, start
from usage_stats_dagster_tests.crash.worlds import FIRST, SECOND

two_runs = pytest.mark.parametrize(
    ("world", "days"),
    [
        ("first_import", (FIRST, FIRST)),  # where ledger, bucket and indices have to be begun first
        ("two_sites_anew", (FIRST, SECOND)),  # double clicks between them
    ],
    ids=["same_day", "neighbours"],
)


def run_at_once(folder: Path, days: Sequence[date], *how: str, **more: str) -> None:
    """A run of each of the days; both end well."""
    for done in [ended(p) for p in [start(folder, "run", "--day", str(d), *how, **more) for d in days]]:
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
