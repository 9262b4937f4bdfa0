"""Logs → S3 → OpenSearch → the read API in one piece: the same figures as on a laptop, from line to widget."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from usage_stats_dagster.api.app import make_app
from usage_stats_dagster.defs.run import run_graph
from usage_stats_dagster.index.open import open_index
from usage_stats_dagster.pipeline.account import account
from usage_stats_dagster.pipeline.doctor import examine
from usage_stats_dagster.samples.world import make_sample
from usage_stats_dagster.schemas import LAREFERENCIA_METRICS
from usage_stats_dagster_tests.api.server import Client, serving
from usage_stats_dagster_tests.opensearch_server import removed, section
from usage_stats_dagster_tests.pipeline.test_pure import TABLES
from usage_stats_dagster_tests.platforms import Platform
from usage_stats_dagster_tests.s3_server import S3Server

pytestmark = pytest.mark.services

FIRST, DAYS = date(2025, 3, 1), 2
SPAN = {"start_date": "2025-03", "end_date": "2025-03"}
SOURCES = [
    {"id": "region", "site": 3, "level": "L"},
    {"id": "country", "site": 3, "level": "N", "country": "br"},
    {"id": "repository", "site": 1, "level": "R", "identifier_prefix": "oai:repositorio.universidade.example"},
]
COLLECTIONS = [
    {"id": "both", "sites": [1, 2]},
    {"id": "prefix", "identifier_prefixes": ["oai:revistas.academia.example"]},
]


@pytest.fixture
def platforms(
    s3: S3Server, opensearch: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Platform, Platform, str]]:
    """Two platforms over the same logs, on local files and on the services, and the bucket; nothing is run yet."""
    monkeypatch.setenv("USAGE_STATS_SECRET", "a key for tests")
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    sample = tomllib.loads(make_sample(tmp_path, days=DAYS, seed=5, first_day=FIRST).settings.read_text())
    both = {
        "logs_dir": str(tmp_path / "logs"), "sites": sample["sites"], "rules": sample["rules"], "collections": COLLECTIONS,
        "api": {"sources": SOURCES},
    }  # fmt: skip
    bucket, index = s3.bucket(), section(opensearch)
    remote = Platform.make(
        tmp_path / "remote", storage={"root": f"s3://{bucket}/lake", "endpoint": s3.endpoint},
        index={"kind": "opensearch", "url": index.url, "prefix": index.prefix, "replicas": 0}, **both,
    )  # fmt: skip
    yield Platform.make(tmp_path / "local", **both), remote, bucket
    removed(index)


@pytest.fixture
def answers(platforms: tuple[Platform, Platform, str]) -> Iterator[list[Client]]:
    """A read API over each platform's index, the local one first."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(serving(make_app(p.settings, lambda p=p: open_index(p.settings))))
            for p in platforms[:2]
        ]


def sums(answer: Any) -> dict[str, float]:
    return {m: answer[m]["value"] for m in LAREFERENCIA_METRICS}


def test_from_logs_to_widgets(
    platforms: tuple[Platform, Platform, str], answers: list[Client], s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    local, remote, bucket = platforms
    local.run()
    monkeypatch.setattr("usage_stats_dagster.resources.platform.current_settings", lambda: remote.settings)
    made = run_graph(remote.ws, first=None, last=None, sites=None)  # fails where a blocking check does
    assert made[:DAYS] == [FIRST, date(2025, 3, 2)]
    stored = {k.removeprefix("lake/"): v for k, v in s3.objects(bucket, "lake/").items()}
    parquet = {k: v for k, v in stored.items() if k.split("/")[0] in TABLES and k.endswith(".parquet")}
    assert parquet == local.files(*TABLES)
    assert remote.ws.index.sources().equals(local.ws.index.sources())

    documents = local.documents()
    item = documents.group_by("identifier").agg(pl.col("views").sum()).sort("views", "identifier")["identifier"][-1]
    direct = {
        "region": documents,
        "country": documents.filter(pl.col("idsite").is_in([1, 3]) & (pl.col("country") == "BR")),
        "repository": documents.filter(
            pl.col("idsite").is_in([1, 3]),
            pl.col("identifier").str.starts_with("oai:repositorio.universidade.example:"),
        ),
        "siteid::2": documents.filter(pl.col("idsite") == 2),
        item: documents.filter(pl.col("identifier") == item),
    }
    for name, rows in direct.items():
        widget, key = ("itemWidget", "identifier") if name == item else ("repositoryWidget", "source_id")
        for path, more in ((widget, {"time_unit": "day"}), (f"{widget}ByCountry", {"limit": 5, "order": "usage"})):
            here, there = (a.ok(f"/report/{path}", **{key: name}, **SPAN, **more) for a in answers)
            assert there == here
            assert sums(there) == rows.select(LAREFERENCIA_METRICS).sum().row(0, named=True)
        assert rows["views"].sum() > 0
    for kind in ("search", "api"):
        here, there = (a.ok(f"/v2/summary/stats/{kind}", dateInterval="day", maxDate="2025-03-31") for a in answers)
        assert there == here
        assert set(there["dates"]["2025-03-02"]) == {"both", "prefix"}

    assert run_graph(remote.ws, first=None, last=None, sites=None) == []
    assert remote.ws.index.totals().equals(local.ws.index.totals())
    assert account(remote.ws).open_sums == []
    assert set(examine(remote.ws)["state"]) == {"ok"}


def test_doctor_says_soon_that_the_index_is_away(tmp_path: Path) -> None:
    platform = Platform.make(tmp_path, index={"kind": "opensearch", "url": "http://127.0.0.1:1"})
    found = {what: (state, finding) for what, state, finding in examine(platform.ws).rows()}
    assert found["index"][0] == "wrong"
    assert "127.0.0.1:1 does not answer" in found["index"][1]
    assert found["days"] == ("ok", "0 done days compared with lake")
