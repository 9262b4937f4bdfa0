"""The sensor on the log folders, on a real instance: every day gets its run, and no run is wasted."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from usage_stats_dagster_tests.platforms import Platform, line

TABLES = ("hits", "visits", "events", "metrics", "documents")
FIRST = date(2025, 3, 1)


@pytest.fixture
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Platform:
    """A platform that the code location sees through the environment, as in production."""
    made = Platform.make(tmp_path)
    config = tmp_path / "usage_stats.toml"
    config.write_text(
        f"""
        logs_dir = "{tmp_path}/logs"
        platform.grace_seconds = 0
        storage.root = "{tmp_path}/lake"
        ledger.url = "sqlite:///{tmp_path}/ledger.db"
        index.path = "{tmp_path}/index.db"
        [[sites]]
        id = 1
        platform = "dspace"
        url = "https://repo.example.org"
        """
    )
    monkeypatch.setenv("USAGE_STATS_CONFIG", str(config))
    monkeypatch.setenv("USAGE_STATS_SECRET", "a key for tests")
    return made


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def day_lines(day: date, n: int = 12) -> list[str]:
    """A day that begins and ends with clicks by one visitor: double clicks with its neighbours."""
    start = datetime(day.year, day.month, day.day)
    edges = [line(start + timedelta(seconds=s), "/bitstream/handle/1/1/a.pdf") for s in (5, 86_390)]
    others = [line(start + timedelta(hours=h), f"/handle/1/{h}", ip=f"192.0.2.{h + 10}") for h in range(1, n)]
    return [edges[0], *others, edges[1]]


class Daemon:
    """Ticks the sensor and runs what it asks for, as Dagster's daemon does: a run key counts once."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        from usage_stats_dagster.definitions import defs
        from usage_stats_dagster.defs.sensors import log_folder_sensor

        self.instance = instance
        self.job = defs.resolve_job_def("daily_figures")
        self.sensor = log_folder_sensor
        self.keys: set[str] = set()
        self.runs: list[tuple[str, bool]] = []

    def tick(self) -> str:
        """One look; returns the skip message, if any."""
        from usage_stats_dagster.resources.platform import PlatformResource

        context = dg.build_sensor_context(instance=self.instance, resources={"platform": PlatformResource()})
        result = self.sensor(context)
        if isinstance(result, dg.SkipReason):
            return str(result.skip_message)
        for request in result.run_requests or []:
            assert request.run_key not in self.keys
            self.keys.add(str(request.run_key))
            done = self.job.execute_in_process(
                instance=self.instance,
                partition_key=request.partition_key,
                tags=request.tags,
                raise_on_error=False,
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            )
            self.runs.append(
                (request.partition_key or request.tags["dagster/asset_partition_range_start"], done.success)
            )
        return ""

    def settle(self, ticks: int = 6) -> str:
        """Ticks until there is nothing to do; returns what the last tick said."""
        for _ in range(ticks):
            said = self.tick()
            if said:
                return said
        raise AssertionError(self.runs)


@pytest.mark.slow
def test_a_month_dropped_file_by_file(platform: Platform, instance: dg.DagsterInstance, tmp_path: Path) -> None:
    days = [FIRST + timedelta(k) for k in range(30)]
    daemon = Daemon(instance)
    for day in days:
        platform.log(f"access-{day}.log", day_lines(day))
        daemon.tick()
    daemon.settle()
    assert all(ok for _, ok in daemon.runs)
    # Each day once for its log, and once more (all but the last) when the next day's first seconds were known.
    assert len(daemon.runs) <= 59
    assert [r["status"] for r in platform.ws.ledger.statuses()] == [5] * 30
    said, runs = daemon.tick(), len(daemon.runs)
    assert "0 days need a run" in said
    assert len(daemon.runs) == runs
    batch = Platform.make(tmp_path / "batch")
    for day in days:
        batch.log(f"access-{day}.log", day_lines(day))
    batch.run()
    assert platform.files(*TABLES) == batch.files(*TABLES)


def test_history_is_asked_for_as_one_range(platform: Platform, instance: dg.DagsterInstance) -> None:
    lines = [x for k in range(20) for x in day_lines(FIRST + timedelta(k), 3)]
    platform.log("all.log", lines)
    daemon = Daemon(instance)
    daemon.settle()
    # The first day, which imports the log; all others; the first again, now that the second's first seconds are known.
    assert [day for day, _ in daemon.runs] == ["2025-03-01", "2025-03-02", "2025-03-01"]
    assert {r["status"] for r in platform.ws.ledger.statuses()} == {5}


def test_renamed_and_recompressed_logs_need_no_run(platform: Platform, instance: dg.DagsterInstance) -> None:
    path = platform.log("access.log", day_lines(FIRST))
    daemon = Daemon(instance)
    daemon.settle()
    runs = len(daemon.runs)
    path.with_suffix(".log.1.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    assert "1 copies" in daemon.tick()
    assert "0 copies" in daemon.tick()
    assert len(daemon.runs) == runs


def test_a_grown_and_a_late_log_open_their_day_again(platform: Platform, instance: dg.DagsterInstance) -> None:
    daemon = Daemon(instance)
    platform.log("web1.log", day_lines(FIRST))
    daemon.settle()
    platform.log("web1.log", [*day_lines(FIRST), line("23:59:59", "/handle/1/77", ip="198.51.100.1")])
    daemon.settle()
    platform.log(
        "web2.log",
        [line("12:00:00", "/handle/1/78", ip="198.51.100.2"), line("13:00:00", "/handle/1/79", ip="198.51.100.3")],
    )
    said = daemon.settle()
    assert [day for day, _ in daemon.runs] == [str(FIRST)] * 3
    assert "0 days need a run" in said
    assert platform.figures("total_item_investigations")[FIRST] == (16,)


def test_a_broken_log_is_seen_and_does_not_run_for_ever(platform: Platform, instance: dg.DagsterInstance) -> None:
    platform.log("access-2025-03-01.log", b"no log at all\n" * 10)
    platform.log("access-2025-03-02.log", day_lines(FIRST + timedelta(1)))
    daemon = Daemon(instance)
    daemon.settle()
    assert {day for day, _ in daemon.runs} == {"2025-03-01", "2025-03-02"}
    runs = len(daemon.runs)
    daemon.tick()
    assert len(daemon.runs) == runs
    statuses = {r["day"].day: r for r in platform.ws.ledger.statuses()}
    assert statuses[2]["status"] == 5
    assert "can't be imported" in statuses[1]["message"]


def test_a_failing_day_is_tried_three_times_and_then_named(platform: Platform, instance: dg.DagsterInstance) -> None:
    platform.log("access.log", day_lines(FIRST))
    index = platform.folder / "index.db"
    index.write_bytes(b"not an index" * 100)
    daemon = Daemon(instance)
    said = daemon.settle()
    # Once for the new log, which is imported by it, and three times for the day whose log is imported.
    assert daemon.runs == [(str(FIRST), False)] * 4
    assert "failed 3 times, given up until something changes" in said
    index.unlink()
    platform.log("access.log", [*day_lines(FIRST), line("23:59:59", "/handle/1/77", ip="198.51.100.1")])
    daemon.settle()
    assert daemon.runs[-1] == (str(FIRST), True)


def test_days_in_the_future_wait(platform: Platform, instance: dg.DagsterInstance) -> None:
    ahead = date.today() + timedelta(400)
    platform.log("access.log", [*day_lines(FIRST), *day_lines(ahead)])
    daemon = Daemon(instance)
    said = daemon.settle()
    assert [day for day, _ in daemon.runs] == [str(FIRST)]
    assert "1 day of the logs lie in the future" in said


def test_a_log_that_is_being_written_waits(
    platform: Platform, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USAGE_STATS_PLATFORM__GRACE_SECONDS", "3600")
    platform.log("access.log", day_lines(FIRST))
    assert "1 still being written" in Daemon(instance).tick()
