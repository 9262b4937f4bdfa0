"""Two at once: runs of the same day, runs of neighbouring days, a ledger that somebody else holds."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from usage_stats_dagster_tests.crash.cases import prepare
from usage_stats_dagster_tests.crash.commands import usage_stats
from usage_stats_dagster_tests.crash.places import replace_tree
from usage_stats_dagster_tests.crash.states import LEDGER, state_of
from usage_stats_dagster_tests.crash.two_runs import run_at_once, two_runs
from usage_stats_dagster_tests.crash.workers import Helpers


@pytest.mark.parametrize("plain", [True, False], ids=["plain", "dagster"])
@two_runs
def test_two_runs_at_once_make_what_one_makes(
    world: str, days: tuple, plain: bool, workers: Helpers, tmp_path: Path
) -> None:
    made = prepare(workers, world, tmp_path)
    folder = tmp_path / "world"
    replace_tree(made.start, folder)
    run_at_once(folder, days, *(["--plain"] if plain else []))
    assert not state_of(folder).differences(made.new)


def test_a_ledger_that_somebody_holds_is_waited_for_and_then_named(workers: Helpers, tmp_path: Path) -> None:
    made = prepare(workers, "late_log", tmp_path)
    folder = tmp_path / "world"
    replace_tree(made.start, folder)
    url = f"sqlite:///{LEDGER}?timeout=0.5"
    with closing(sqlite3.connect(folder / LEDGER, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for how in (["--plain"], []):
            done = usage_stats(folder, "run", *how, USAGE_STATS_LEDGER__URL=url)
            assert done.returncode == 1
            assert "Traceback" not in done.stderr
            assert LEDGER in done.stderr
            assert (
                "another program has been writing to it for more than 0.5 s: run again when it is done" in done.stderr
            )
        for read in ("status", "items", "account"):
            assert usage_stats(folder, read, USAGE_STATS_LEDGER__URL=url).returncode == 0
        other.execute("ROLLBACK")
    assert usage_stats(folder, "run", "--plain").returncode == 0
    assert not state_of(folder).differences(made.new)
