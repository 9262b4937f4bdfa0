"""Scratch folders: their own process's while it lives, nobody's when it is dead."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
from pathlib import Path

import pytest

from usage_stats_dagster.lake import scratch


def _make_and_die(parent: str) -> None:
    scratch.scratch_folder(parent)
    os._exit(9)  # as a killed process: nothing is tidied up


def test_a_dead_process_s_folder_is_removed_a_live_one_s_is_not(tmp_path: Path) -> None:
    mine = scratch.scratch_folder(str(tmp_path))
    child = multiprocessing.get_context("spawn").Process(target=_make_and_die, args=(str(tmp_path),))
    child.start()
    child.join()
    assert len(list(tmp_path.iterdir())) == 2
    another = scratch.scratch_folder(str(tmp_path))
    assert set(tmp_path.iterdir()) == {mine, another}


def test_a_folder_that_another_process_sees_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes that start in the same moment: one looks for the dead between the other's making a lock and holding it."""
    lock, seen = fcntl.flock, list[Path]()

    def after_another_looked(fd: int, how: int) -> None:
        if how == fcntl.LOCK_EX and not seen:
            seen.extend(tmp_path.glob("*/alive"))
            scratch._remove_dead(seen[0])
        lock(fd, how)

    monkeypatch.setattr(fcntl, "flock", after_another_looked)
    folder = scratch.scratch_folder(str(tmp_path))
    assert len(seen) == 1
    assert list(tmp_path.iterdir()) == [folder]
    assert (folder / "alive").exists()
