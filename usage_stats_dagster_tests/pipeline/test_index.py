"""The graph over either index: logs in, the same answers out; an index lost is made anew from the lake."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path

import pytest
from polars.testing import assert_frame_equal

from usage_stats_dagster.lake.store import MANIFEST, LakeError
from usage_stats_dagster.pipeline.account import account
from usage_stats_dagster.pipeline.indexing import ReconciliationError
from usage_stats_dagster.pipeline.reindexing import Reindexed, reindex
from usage_stats_dagster.schemas import DOCUMENTS, METRICS
from usage_stats_dagster_tests.platforms import Platform, line


@pytest.fixture(params=["embedded", pytest.param("opensearch", marks=pytest.mark.services)])
def platform(request: pytest.FixtureRequest, tmp_path: Path) -> Platform:
    """Three days of one site, run."""
    from usage_stats_dagster_tests.opensearch_server import removed, section

    index = {}
    if request.param == "opensearch":
        options = section(request.getfixturevalue("opensearch"))
        index = {"kind": "opensearch", "url": options.url, "prefix": options.prefix, "replicas": 0}
        request.addfinalizer(lambda: removed(options))  # noqa: PT021
    made = Platform.make(tmp_path, index=index)
    for day in (1, 2, 3):
        hits = [line(datetime(2025, 3, day, 10), f"/handle/1/{n}", ip=f"192.0.2.{n}") for n in range(1, day + 2)]
        made.log(f"{day}.log", hits)
    made.run()
    return made


def figures(platform: Platform) -> list[int]:
    return list(platform.ws.index.totals().row(0))


def test_the_index_has_what_the_lake_has(platform: Platform) -> None:
    documents = platform.documents()
    assert figures(platform) == [documents.height, *(documents[m].sum() for m in METRICS)]
    assert documents.height == 9
    assert account(platform.ws).open_sums == []
    indexed = platform.ws.index.by_site(by="day")
    assert indexed["documents"].to_list() == [2, 3, 4]


def test_an_index_is_made_anew_from_the_lake(platform: Platform) -> None:
    before = platform.ws.index.sources()
    day = platform.documents()["date"][0]
    platform.ws.index.replace(1, day, day, platform.documents().clear())
    assert platform.ws.index.totals()["documents"].item() == 7
    assert list(reindex(platform.ws)) == [Reindexed(1, 3, 9)]
    assert_frame_equal(platform.ws.index.sources(), before)
    assert list(reindex(platform.ws, [7])) == [Reindexed(7, 0, 0)]


def test_a_lake_that_is_not_whole_leaves_the_index(platform: Platform) -> None:
    before = figures(platform)
    next((platform.folder / "lake" / "documents").rglob(MANIFEST)).unlink()
    with pytest.raises(LakeError, match=r"usage-stats run --day 2025-03-0\d"):
        list(reindex(platform.ws))
    assert figures(platform) == before


def test_documents_that_are_not_the_manifest_s_are_noticed(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    ws = platform.ws
    day = platform.documents()["date"][0]
    monkeypatch.setattr(ws.index, "replace_together", lambda *_, **__: ws.index.rebuild(1, [platform.documents()[1:]]))
    from usage_stats_dagster.pipeline.indexing import index_documents

    with pytest.raises(ReconciliationError, match="documents: 1 for 2"):
        list(index_documents(ws, [(1, day)]))


def test_documents_whose_manifest_was_not_written_yet_stay_while_another_day_is_made(tmp_path: Path) -> None:
    """A run was killed between the first of the month's documents and their manifest: they are no other grain's."""
    platform = Platform.make(tmp_path)
    first, second = date(2025, 3, 1), date(2025, 3, 2)
    for day in (first, second):
        platform.log(f"{day}.log", [line(datetime(2025, 3, day.day, 10))])
    platform.run()
    folder = platform.ws.lake.folder(DOCUMENTS, 1, first)
    before, manifest = platform.files("documents"), folder / "_manifest.json"
    manifest.write_text(manifest.read_text().replace('"size": ', '"size": 1'))
    platform.log("late.log", [line(datetime(2025, 3, 2, 11), "/handle/1/2", ip="192.0.2.8")])
    platform.run(second)
    after = platform.files("documents")
    assert after.keys() == before.keys()
    assert [k for k in after if after[k] != before[k]] == ["documents/idsite=1/year=2025/month=3/day=2/part-0.parquet"]
    platform.run(first)
    assert platform.ws.lake.manifest(DOCUMENTS, 1, first) is not None
