"""Readers of a day that is made anew see it as it was or as it is, in every table and in the index."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from usage_stats_dagster_tests.crash.cases import prepare
from usage_stats_dagster_tests.crash.commands import environment
from usage_stats_dagster_tests.crash.workers import Helpers

TIMES = 10


def test_a_reader_sees_the_old_day_or_the_new_one(workers: Helpers, tmp_path: Path) -> None:
    made = prepare(workers, "other_rules", tmp_path)
    world = tmp_path / "flipped" / "world"
    with_two_states = workers.do("flip", folder=str(world), start=str(made.start), times=0)
    first, second = (dict(s["lake"]) for s in with_two_states["states"])
    assert first.keys() == second.keys()
    assert {k.split("/")[0] for k in first if first[k] != second[k]} >= {"hits", "visits", "metrics", "documents"}
    reader = subprocess.Popen(
        [sys.executable, "-m", "usage_stats_dagster_tests.crash.reader", str(world)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip
    workers.do("flip", folder=str(world), start=None, times=TIMES)
    out, _ = reader.communicate("")
    assert reader.returncode == 0
    seen = json.loads(out)
    assert {"visits", "events", "metrics", "documents", "index", "index's sums"} < seen.keys()
    assert any(what.startswith("hits") for what in seen)
    assert not {what: found for what, found in seen.items() if len(found) > 2}
    assert min(sum(found.values()) for found in seen.values()) >= TIMES
    print({what: list(found.values()) for what, found in seen.items()})
