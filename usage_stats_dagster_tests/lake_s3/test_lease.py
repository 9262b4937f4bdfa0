"""One writer of a bucket's lake at a time: turns, takeover from the dead, and what a writer does that lost its turn."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from multiprocessing.synchronize import Event
from pathlib import Path

import orjson
import pytest

from usage_stats_dagster.lake.lock import LockedError
from usage_stats_dagster.lake.s3 import LEASE
from usage_stats_dagster.lake.s3_client import Bucket as Client
from usage_stats_dagster.lake.s3_client import Timeouts
from usage_stats_dagster.lake.s3_lease import Lease, LeaseLostError
from usage_stats_dagster.lake.store import Lake, LakeError
from usage_stats_dagster.schemas import METRICS_TABLE
from usage_stats_dagster.settings import StorageSection
from usage_stats_dagster_tests.lake_s3 import lakes
from usage_stats_dagster_tests.lake_s3.lakes import DAY, LOCK, Bucket, rows, write
from usage_stats_dagster_tests.s3_proxy import Proxy, Request

pytestmark = pytest.mark.services

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture(autouse=True)
def _no_child_stays() -> Iterator[None]:
    """Not even one that stands still."""
    yield
    for child in multiprocessing.active_children():
        child.kill()
        child.join()


def lease(bucket: Bucket, seconds: float = lakes.LEASE) -> Lease:
    """As another machine has it: a lease object of its own."""
    section = StorageSection(**bucket.section())
    return Lease(Client(section, bucket.name, timeouts=Timeouts(all_tries=seconds / 2)), f"lake/{LEASE}", seconds)


def _hold(section: dict[str, object], ready: Event, go_on: Event, said: object) -> None:
    lake = Lake(StorageSection(**section))
    try:
        with lake.writing(LOCK):
            ready.set()
            go_on.wait(60)
            write(lake, rows(9), "the first")
    except LakeError as e:
        said.put(str(e))  # type: ignore[attr-defined]
    else:
        said.put("written")  # type: ignore[attr-defined]


def held_by_another(bucket: Bucket) -> tuple[multiprocessing.Process, Event, object]:
    """A process that holds the lease until it is told to write."""
    ready, go_on, said = SPAWN.Event(), SPAWN.Event(), SPAWN.Queue()
    child = SPAWN.Process(target=_hold, args=(bucket.section(), ready, go_on, said))
    child.start()
    assert ready.wait(30)
    return child, go_on, said


def test_a_live_holder_keeps_it_beyond_its_seconds_and_is_named(bucket: Bucket) -> None:
    child, go_on, said = held_by_another(bucket)
    time.sleep(1.5 * lakes.LEASE)
    with pytest.raises(LockedError, match=f":{child.pid}:.*renewed . s ago"), lease(bucket).held(lambda: None, 0.5):
        pass
    go_on.set()
    assert said.get(timeout=30) == "written"
    child.join()
    started = time.monotonic()
    with lease(bucket).held(lambda: None):
        assert time.monotonic() - started < lakes.LEASE / 2, "it was given back, so nobody waits for it to run out"


def test_a_dead_holders_turn_ends(bucket: Bucket) -> None:
    child, *_ = held_by_another(bucket)
    child.kill()
    child.join()
    started = time.monotonic()
    with lease(bucket).held(lambda: None):
        assert time.monotonic() - started < 2 * lakes.LEASE


def test_a_holder_that_stood_still_must_not_write_on(bucket: Bucket) -> None:
    child, go_on, said = held_by_another(bucket)
    os.kill(child.pid or 0, signal.SIGSTOP)
    lake = bucket.lake()
    with lake.writing(LOCK):
        made = write(lake, rows(3), "the second")
        os.kill(child.pid or 0, signal.SIGCONT)
        go_on.set()
        assert "lost its turn to write" in said.get(timeout=30)
    child.join()
    assert lake.manifest(METRICS_TABLE, 1, DAY) == made


def test_it_is_lost_when_the_server_is_away_for_too_long(bucket: Bucket, proxy: Proxy) -> None:
    one = lease(bucket)

    def work() -> None:
        with one.held(lambda: None):
            one.check()
            proxy.plan = lambda _: "503"
            time.sleep(lakes.LEASE)
            one.check()

    with pytest.raises(LeaseLostError, match=r"longer than storage\.lease_seconds = 5"):
        work()
    proxy.plan = lambda _: None
    with lease(bucket).held(lambda: None):
        pass


@pytest.mark.parametrize("fault", ["lost", "503"])
def test_answers_that_get_lost_cost_nobody_the_lease(bucket: Bucket, proxy: Proxy, fault: str) -> None:
    """Every second write of it: the server has done it, and refuses the next try of the same."""
    proxy.plan = lambda r: fault if r.method == "PUT" and r.number % 2 else None
    one = lease(bucket)
    with one.held(lambda: None):
        time.sleep(lakes.LEASE)
        one.check()
    said = orjson.loads(bucket.objects()[LEASE])
    assert said["free"]


def test_a_server_that_ignores_conditions_is_refused(bucket: Bucket, proxy: Proxy) -> None:
    def forget_the_object(r: Request) -> None:
        if r.method == "PUT":  # so that "only if there is none" always holds, as if it were ignored
            bucket.server.client().delete_object(Bucket=bucket.name, Key=f"lake/{LEASE}")

    proxy.plan = forget_the_object
    with (
        pytest.raises(LakeError, match=r"ignores If-None-Match.*Use a server that has"),
        lease(bucket).held(lambda: None),
    ):
        pass


def _count_up(section: dict[str, object], path: str, times: int) -> None:
    lake = Lake(StorageSection(**section))
    for _ in range(times):
        with lake.writing(LOCK):
            n = int(Path(path).read_text())
            time.sleep(0.01)
            Path(path).write_text(str(n + 1))


def test_many_take_turns(bucket: Bucket, tmp_path: Path) -> None:
    """What each reads and writes back is never between another's two."""
    counter = tmp_path / "n"
    counter.write_text("0")
    children = [
        SPAWN.Process(target=_count_up, args=(bucket.section(lease_seconds=20), str(counter), 6)) for _ in range(2)
    ]
    for c in children:
        c.start()
    for c in children:
        c.join()
    assert counter.read_text() == "12"
