"""What a bad network, a bad server, a killed process and a second run do to a lake in a bucket: nothing."""

from __future__ import annotations

import multiprocessing
import random
from collections import Counter
from pathlib import Path

import pytest

from usage_stats_dagster.lake import s3_client, s3_upload
from usage_stats_dagster.lake.store import Lake, LakeError
from usage_stats_dagster.pipeline.run import run
from usage_stats_dagster.pipeline.workspace import Workspace
from usage_stats_dagster.schemas import DOCUMENTS, METRICS_TABLE
from usage_stats_dagster.settings import Settings, StorageSection
from usage_stats_dagster_tests.lake_s3.lakes import DAY, PART, Bucket, commit, rows
from usage_stats_dagster_tests.pipeline.test_pure import DAYS, TABLES, world
from usage_stats_dagster_tests.platforms import Platform
from usage_stats_dagster_tests.s3_proxy import Fault, Proxy
from usage_stats_dagster_tests.s3_server import private_server

pytestmark = pytest.mark.services

SPAWN = multiprocessing.get_context("spawn")
FAULTS: list[Fault] = ["503", "429", "500", "cut", "half", "lost", "torn"]


@pytest.fixture(autouse=True)
def _one_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USAGE_STATS_SECRET", "a key for tests")


@pytest.fixture
def expected(tmp_path: Path) -> dict[str, bytes]:
    """The tables of the world's first day, made in a folder."""
    local = Platform.make(tmp_path / "local")
    local.log("access.log", world()[DAYS[0]])
    local.run()
    return local.files(*TABLES)


def third(seed: int) -> list[Fault]:
    """What becomes of each request: of three one fails, in some way."""
    chosen = random.Random(seed)
    return [fate for _ in range(10_000) for fate in chosen.sample([chosen.choice(FAULTS), None, None], 3)]


@pytest.mark.parametrize("seed", range(3))
def test_a_third_of_all_requests_failing_changes_nothing(
    bucket: Bucket, proxy: Proxy, tmp_path: Path, expected: dict[str, bytes], seed: int
) -> None:
    fates = third(seed)
    proxy.plan = lambda r: fates[r.number]
    section = {**bucket.section(), "lease_seconds": 60}
    remote = Platform.make(tmp_path / "remote", storage=section)
    remote.log("access.log", world()[DAYS[0]])
    remote.run()
    assert bucket.files(*TABLES) == expected
    assert len(proxy.faults) > 4
    assert abs(3 * sum(proxy.faults.values()) - len(proxy.seen)) <= 3


def test_connections_that_break_in_a_large_upload(
    bucket: Bucket, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_upload, "ONE_PUT", 10 << 20)
    monkeypatch.setattr(s3_upload, "PART", 5 << 20)
    fates = third(2)
    proxy.plan = lambda r: fates[r.number] if "metrics" in r.path else None
    frame = rows(300_000)
    made = commit(bucket.lake(lease_seconds=60), frame)
    other = bucket.lake(connections=2)
    assert other.scan(METRICS_TABLE, [(1, DAY)]).collect().equals(frame)
    assert other.manifest(METRICS_TABLE, 1, DAY) == made


def test_a_server_that_stays_away_is_named(bucket: Bucket, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_client, "_LONGEST_PAUSE", 0.1)
    lake = bucket.lake(lease_seconds=60)
    commit(lake, rows(3))
    proxy.plan = lambda r: "503" if r.method == "PUT" and PART in r.path else None
    with pytest.raises(
        s3_client.LakeError, match=rf"{PART}: http.* failed 12 times to put object.*ServiceUnavailable.*run again"
    ):
        commit(lake, rows(4))
    assert lake.scan(METRICS_TABLE, [(1, DAY)]).collect().equals(rows(3))


def _upload(section: dict[str, object], in_parts: bool) -> None:
    if in_parts:
        s3_upload.ONE_PUT = 5 << 20
    commit(Lake(StorageSection(**section)), rows(200_000, seed=2))


@pytest.mark.parametrize(
    ("in_parts", "stops_at"),
    [(False, "PUT"), (True, "PUT uploadId"), (True, "POST uploadId")],
    ids=["one PUT", "a part", "before it is completed"],
)
def test_a_process_killed_in_an_upload_shows_nothing_and_leaves_nothing(
    bucket: Bucket, proxy: Proxy, in_parts: bool, stops_at: str
) -> None:
    before = commit(bucket.lake(), rows(3))
    proxy.plan = lambda r: "hang" if PART in r.path and r.kind == stops_at else None
    child = SPAWN.Process(target=_upload, args=(bucket.section(), in_parts))
    child.start()
    assert proxy.hanging.wait(60)
    child.kill()
    child.join()
    proxy.plan = lambda _: None
    assert len(bucket.server.uploads(bucket.name)) == in_parts
    reader = bucket.lake(connections=2)
    assert reader.manifest(METRICS_TABLE, 1, DAY) == before
    assert reader.scan(METRICS_TABLE, [(1, DAY)]).collect().equals(rows(3))
    assert len(reader.temporaries()) == in_parts
    elsewhere = f"other/{PART}"
    bucket.server.client().create_multipart_upload(Bucket=bucket.name, Key=elsewhere)
    commit(bucket.lake(connections=3), rows(4))
    assert bucket.server.uploads(bucket.name) == [elsewhere], "only the lake's own are ended"


def _run(settings: Settings, start: object, made: object) -> None:
    start.wait()  # type: ignore[attr-defined]
    report = run(Workspace(settings))
    made.put([(s.table, str(s.day)) for s in report.stages if s.changed])  # type: ignore[attr-defined]
    made.put([p.action for p in report.imports.paths])  # type: ignore[attr-defined]


def test_two_runs_at_once_take_turns_and_make_each_day_once(
    bucket: Bucket, tmp_path: Path, expected: dict[str, bytes]
) -> None:
    platform = Platform.make(tmp_path / "remote", storage={**bucket.section(), "lease_seconds": 30})
    platform.log("access.log", world()[DAYS[0]])
    platform.ws.ledger  # noqa: B018  (made before both open it)
    start, made = SPAWN.Barrier(2), SPAWN.Queue()
    children = [SPAWN.Process(target=_run, args=(platform.settings, start, made)) for _ in range(2)]
    for c in children:
        c.start()
    said = [made.get(timeout=120) for _ in range(4)]
    for c in children:
        c.join()
    changed = Counter(tuple(x) for part in said for x in part if isinstance(x, list | tuple))
    assert changed == Counter(
        (t, str(DAYS[0])) for t in ("visits", "events", "metrics", "documents", "indexed_documents")
    )
    assert sorted(x for part in said for x in part if isinstance(x, str)) == ["imported"]
    assert bucket.files(*TABLES) == expected


def test_a_bucket_that_may_only_be_read_is_read_and_never_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with private_server(tmp_path / "s3") as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        bucket = Bucket(server, server.bucket(), server.endpoint)
        bucket.platform(tmp_path / "home").log("access-1.log", world()[DAYS[0]])
        bucket.platform(tmp_path / "home").run()
        before = bucket.objects()
    with private_server(tmp_path / "s3", "--readonly") as server:
        bucket = Bucket(server, bucket.name, server.endpoint)
        home = bucket.platform(tmp_path / "home")
        home.log("access-2.log", world()[DAYS[1]])
        with pytest.raises(LakeError, match=rf"s3://{bucket.name}/lake.*"):
            home.run()
        assert home.ws.index.totals()["documents"].item() == home.ws.lake.manifest(DOCUMENTS, 1, DAYS[0]).rows
        assert bucket.objects() == before
    with private_server(tmp_path / "s3") as server:
        bucket = Bucket(server, bucket.name, server.endpoint)
        report = bucket.platform(tmp_path / "home").run()
        assert DAYS[1] in {day for _, day in report.imports.changed}
        assert bucket.objects().keys() > before.keys()
