"""A disk that is full, or read-only, from any point on: one clear error with the way out, and nothing lost by it."""

from __future__ import annotations

import errno
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from usage_stats_dagster_tests.crash.cases import faults_of, prepare
from usage_stats_dagster_tests.crash.commands import usage_stats
from usage_stats_dagster_tests.crash.places import replace_tree
from usage_stats_dagster_tests.crash.states import state_of
from usage_stats_dagster_tests.crash.workers import Helpers

POINTS = 58
"""Of the world `late_log`: from there on every call of its run has been made."""

WAY_OUT = re.compile(r"make room|is there room|writable")


def test_a_disk_that_is_full_from_any_point_on(workers: Helpers, tmp_path: Path) -> None:
    made = prepare(workers, "late_log", tmp_path)
    orders = [
        {"world": made.world, "start": str(made.start), "at": at, "code": errno.ENOSPC, "half": at % 2 == 0}
        for at in range(1, POINTS)
    ]
    failures, wrong = [], {}
    for order, found in zip(orders, workers.each("full_disk", orders), strict=True):
        failures.append(found["failure"])
        if faults := faults_of(found, made):
            wrong[order["at"]] = faults
    assert not wrong
    unexplained = [f for f in failures if f is not None and not WAY_OUT.search(f)]
    assert not unexplained
    assert sum(f is not None for f in failures) > 0.9 * len(failures)


def test_a_log_is_not_given_up_because_the_disk_was_full(workers: Helpers, tmp_path: Path) -> None:
    """A log that can't be read is tried three times; a lake that can't be written is not the log's fault."""
    made = prepare(workers, "late_log", tmp_path)
    found = workers.do("full_disk", world=made.world, start=str(made.start), at=5, code=errno.ENOSPC, runs=4)
    assert "make room" in found["failure"]
    assert not faults_of(found, made)


@contextmanager
def mounted(folder: Path, size: str) -> Iterator[None]:
    """A small disk of its own at the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"can't mount a small disk here: {done.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(path: Path) -> None:
    """Writes until there is no room left."""
    with path.open("wb", buffering=0) as f, suppress(OSError):
        while f.write(b"\0" * 4096):
            pass


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_the_command_on_a_real_full_disk(workers: Helpers, tmp_path: Path) -> None:
    made = prepare(workers, "late_log", tmp_path)
    world = tmp_path / "disk/world"
    with mounted(world.parent, "4m"):
        replace_tree(made.start, world)
        fill(world / "ballast")
        for arguments in (["run", "--plain"], ["run"]):
            done = usage_stats(world, *arguments)
            assert done.returncode == 1
            assert "Traceback" not in done.stderr
            assert WAY_OUT.search(done.stderr)
        (world / "ballast").unlink()
        assert usage_stats(world, "run", "--plain").returncode == 0
        assert not state_of(world).differences(made.new)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a disk")
def test_a_read_only_lake_can_be_read_and_says_why_it_is_not_written(workers: Helpers, tmp_path: Path) -> None:
    made = prepare(workers, "late_log", tmp_path)
    world = tmp_path / "world"
    lake = world / "data/lake"
    with mounted(lake, "8m"):
        for part in ("logs", "usage_stats.toml"):
            subprocess.run(["cp", "-a", str(made.start / part), str(world)], check=True)
        subprocess.run(["cp", "-a", f"{made.start}/data/.", f"{world}/data/"], check=True)
        remount(lake, "ro")
        done = usage_stats(world, "run", "--plain")
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert "data/lake" in done.stderr
        assert "writable" in done.stderr
        for read in (["items"], ["status"], ["account"], ["doctor"]):
            done = usage_stats(world, *read)
            assert done.returncode == 0, (read, done.stderr)
        remount(lake, "rw")
        assert usage_stats(world, "run", "--plain").returncode == 0
        assert not state_of(world).differences(made.new)
