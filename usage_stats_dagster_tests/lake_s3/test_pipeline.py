"""Logs to documents with the lake in a bucket: the same bytes as in a folder, in a bounded number of requests."""

from __future__ import annotations

import shutil
from collections import Counter
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from usage_stats_dagster.defs.run import run_graph
from usage_stats_dagster.pipeline.doctor import examine
from usage_stats_dagster_tests.lake_s3.lakes import Bucket
from usage_stats_dagster_tests.pipeline.test_pure import DAYS, TABLES, world
from usage_stats_dagster_tests.platforms import Platform, line
from usage_stats_dagster_tests.s3_proxy import Proxy

pytestmark = pytest.mark.services


@pytest.fixture(autouse=True)
def _one_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USAGE_STATS_SECRET", "a key for tests")


def feed(platform: Platform, days: list[date] = DAYS, lines: int | None = None) -> None:
    for day in days:
        platform.log(f"access-{day}.log", world()[day][:lines])


def test_the_same_bytes_as_in_a_folder(bucket: Bucket, tmp_path: Path) -> None:
    """Whole at once in the folder; grown, in another order and under other names in the bucket."""
    local = Platform.make(tmp_path / "local")
    feed(local)
    local.run()
    remote = bucket.platform(tmp_path / "remote")
    feed(remote, [DAYS[2], DAYS[0]], 40)
    remote.run()
    feed(remote, DAYS[::-1])
    remote.run()
    assert bucket.files(*TABLES) == local.files(*TABLES)
    again = remote.run()
    assert (again.stages, again.imports.paths) == ([], [])
    assert bucket.server.uploads(bucket.name) == []


def test_a_month_as_grain_and_back(bucket: Bucket, tmp_path: Path) -> None:
    """The documents of the other grain are removed."""
    site = {"id": 1, "platform": "dspace", "url": "https://repo.example.org"}
    found = {}
    for grain in ("day", "month", "day"):
        local = Platform.make(tmp_path / "local", sites=[{**site, "grain": grain}])
        remote = bucket.platform(tmp_path / "remote", sites=[{**site, "grain": grain}])
        for platform in (local, remote):
            feed(platform, DAYS[:2], 30)
            platform.run(DAYS[0], DAYS[1])
        found[grain] = bucket.files("documents")
        assert found[grain] == local.files("documents")
    assert {k: len(v) for k, v in found.items()} == {"day": 2, "month": 1}


def test_doctor_compares_what_is_stored_with_the_ledger(bucket: Bucket, tmp_path: Path) -> None:
    platform = bucket.platform(tmp_path)
    feed(platform, DAYS[:1])
    platform.run()
    assert set(examine(platform.ws)["state"]) == {"ok"}
    client, (hits, events) = bucket.server.client(), (next(k for k in bucket.files(t)) for t in ("hits", "events"))
    client.delete_object(Bucket=bucket.name, Key=f"lake/{hits}")
    client.put_object(Bucket=bucket.name, Key=f"lake/{events}", Body=b"not what it was")
    client.create_multipart_upload(Bucket=bucket.name, Key=f"lake/{events}")
    findings = [f for what, _, f in examine(platform.ws).rows() if what == "lake"]
    assert f"s3://{bucket.name}/lake/{hits}: gone" in "\n".join(findings)
    assert "events is missing or changed" in "\n".join(findings)
    assert "left by a killed writer" in "\n".join(findings)


def noon(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 12)


def requests_of_a_day(
    bucket: Bucket, proxy: Proxy, tmp_path: Path, history: int, patch: pytest.MonkeyPatch
) -> tuple[Counter[str], Counter[str]]:
    """How often each kind of request is made for a new day after so many days, by the stages and by Dagster's graph."""
    first, folder = date(2025, 1, 1), tmp_path / str(history)
    local = Platform.make(folder)
    *past, plain, graph = [first + timedelta(k) for k in range(history + 2)]
    for day in past:
        local.log(f"{day}.log", [line(noon(day), "/handle/1/1", ip="192.0.2.9")])
    local.run()
    client = bucket.server.client()
    for file in (folder / "lake").rglob("*.*"):
        client.upload_file(str(file), bucket.name, f"lake{history}/{file.relative_to(folder / 'lake')}")
    shutil.rmtree(folder / "lake")
    remote = bucket.platform(folder)
    # A lease of an hour: how often one is renewed hangs on how slow the machine is.
    section = remote.settings.storage.model_copy(
        update={"root": f"s3://{bucket.name}/lake{history}", "lease_seconds": 3600}
    )
    remote = Platform(folder, remote.settings.model_copy(update={"storage": section}))
    remote.log(f"{plain}.log", [line(noon(plain), "/handle/1/1", ip="192.0.2.9")])
    proxy.forget()
    report = remote.run()
    assert {s.day for s in report.stages if s.changed} == {plain}
    by_stages = Counter(r.kind for r in proxy.seen)
    remote.log(f"{graph}.log", [line(noon(graph), "/handle/1/1", ip="192.0.2.9")])
    patch.setattr("usage_stats_dagster.resources.platform.current_settings", lambda: remote.settings)
    proxy.forget()
    assert run_graph(remote.ws, first=graph, last=graph, sites=None) == [graph]
    return by_stages, Counter(r.kind for r in proxy.seen)


def test_a_days_run_does_as_many_requests_with_60_days_of_history_as_with_one(
    bucket: Bucket, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few, many = (requests_of_a_day(bucket, proxy, tmp_path, n, monkeypatch) for n in (1, 60))
    assert many == few
    stages, graph = (sum(f.values()) for f in few)
    assert stages < 80
    assert graph < 240  # each asset and each check looks anew
