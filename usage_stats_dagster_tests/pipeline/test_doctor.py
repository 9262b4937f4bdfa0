"""The doctor: a ledger made anew from the lake is the one that was lost; every orphan is named, and goes when told."""

from __future__ import annotations

import gzip
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from usage_stats_dagster.lake.store import MANIFEST, PART
from usage_stats_dagster.ledger.ledger import LedgerError
from usage_stats_dagster.pipeline import doctor, status
from usage_stats_dagster.pipeline.account import account
from usage_stats_dagster.pipeline.log_import import side_file
from usage_stats_dagster.schemas import DOCUMENTS, EVENTS, HITS, METRICS_TABLE
from usage_stats_dagster_tests.platforms import DAY, HOST, PDF, Platform, line

NEXT = date(2025, 3, 2)
TABLES = ("hits", "rejects", "samples", "visits", "events", "metrics", "documents")


def world(folder: Path, **site: Any) -> Platform:
    """Two days, two servers; an empty log, a copy, broken lines; a third day of which a log is lost."""
    first = {"id": 1, "platform": "dspace", "url": f"https://{HOST}", "files_per_day": 2, "path_pattern": r"(?P<date>\d{4}-\d\d-\d\d)", **site}  # fmt: skip
    platform = Platform.make(folder, sites=[first, {"id": 2, "platform": "dspace"}])
    night = [line(datetime(2025, 3, 1, 23, 59, 50), PDF), line(datetime(2025, 3, 2, 0, 0, 5), PDF)]
    web1 = [line(f"10:0{n}:00", f"/handle/1/{n}", ip=f"192.0.2.{n}") for n in range(9)]
    platform.log("2025-03-01-web1.log", [*web1, "broken", *night])
    platform.log("2025-03-01-web2.log", [line("11:00:00"), line("11:00:00", "/x.css")])
    again = [line(datetime(2025, 3, 2, 9, n), f"/handle/1/{n}", ip=f"198.51.100.{n}") for n in range(5)]
    platform.log("2025-03-02-web1.log", again)
    platform.log("2025-03-02-web2.log", b"")
    platform.log("copy-2025-03-02.log.gz", gzip.compress("".join(f"{x}\n" for x in again).encode()))
    platform.log("2025-03-03-web1.log", [line(datetime(2025, 3, 3, 9), "/handle/1/7")])
    platform.log("a.log", [line("12:00:00", PDF), line("12:00:00", "/gone", status=404)], site=2)
    platform.run()
    status.decide(platform.ws, 1, date(2025, 3, 3), "lost", "disk died")
    platform.run()
    return platform


def rows(platform: Platform) -> list[dict[str, Any]]:
    """The days' statuses but when they were written."""
    return [{k: v for k, v in r.items() if k != "updated_at"} for r in platform.ws.ledger.statuses()]


def states(table: Any) -> dict[str, list[str]]:
    """Findings by state."""
    return {s: table.filter(state=s)["finding"].to_list() for s in table["state"].unique()}


@pytest.mark.parametrize("grain", ["day", "month"])
def test_a_lost_ledger_is_rebuilt_to_the_same_statuses_and_a_run_has_nothing_to_do(tmp_path: Path, grain: str) -> None:
    platform = world(tmp_path, grain=grain)
    before, files, table = rows(platform), platform.files(*TABLES), account(platform.ws, by="day")
    assert [r["status"] for r in before] == [5, 5, 5, 5]
    for f in platform.folder.glob("ledger.db*"):
        f.unlink()
    found = states(doctor.rebuild_ledger(platform.ws))
    assert found == {"ok": ["rebuilt: 5 logs, 4 days, 4 of them done"]}
    assert rows(platform) == before
    report = platform.run()
    assert report.imports.changed == set()
    assert report.stages == []
    again = account(platform.ws, by="day")
    assert again.closes
    assert again.table.equals(table.table)
    assert platform.files(*TABLES) == files
    assert "wrong" not in states(doctor.examine(platform.ws))


def test_a_log_whose_hits_are_not_as_they_were_is_read_again(tmp_path: Path) -> None:
    platform = world(tmp_path)
    files = platform.files(*TABLES)
    (log,) = platform.ws.ledger.logs(2)
    path = platform.ws.lake.hits_file(HITS, 2, DAY, log["identity"])
    path.write_bytes(path.read_bytes()[:-1])
    assert any(str(path) in f for f in states(doctor.examine(platform.ws))["wrong"])
    (said,) = states(doctor.fix(platform.ws))["fixed"]
    assert "the next run reads it" in said
    platform.run()
    assert platform.files(*TABLES) == files
    assert "wrong" not in states(doctor.examine(platform.ws))
    path.unlink()
    assert any(str(path) in f for f in states(doctor.rebuild_ledger(platform.ws))["note"])
    platform.run()
    assert platform.files(*TABLES) == files
    assert account(platform.ws).closes


def test_every_orphan_is_named_and_removed_only_when_told(tmp_path: Path) -> None:
    platform = world(tmp_path)
    ws, nothing = platform.ws, "0" * 32
    before, lake = platform.files(*TABLES), ws.lake
    day = lake.folder(EVENTS, 1, date(2025, 4, 1))
    day.mkdir(parents=True)
    documents = lake.scan(DOCUMENTS, [(1, DAY)]).collect()
    moved = documents["date"].dt.offset_by("40d")
    other = documents.with_columns(
        moved, moved.dt.month().cast(pl.Int32).alias("month"), moved.dt.day().cast(pl.Int32).alias("day")
    )
    ws.index.replace(1, other["date"][0], other["date"][0], other)
    stranger = documents.with_columns(documents["idsite"] + 90)
    ws.index.replace(91, DAY, DAY, stranger)
    orphans = {
        lake.hits_file(HITS, 1, DAY, nothing): True,
        side_file(lake, "imports", 1, nothing, "json"): True,
        side_file(lake, "rejects", 1, nothing, "parquet"): True,
        side_file(lake, "samples", 1, nothing, "parquet"): True,
        day / PART: True,
        lake.folder(METRICS_TABLE, 1, DAY) / "part-1.parquet": True,
        lake.root / "events" / ".part-0.parquet.1-2.tmp": True,
        lake.root / "README": False,
    }
    for path in orphans:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (lake.folder(METRICS_TABLE, 1, date(2025, 4, 1))).mkdir(parents=True)
    (lake.folder(METRICS_TABLE, 1, date(2025, 4, 1)) / MANIFEST).write_bytes(b"{}")
    named = "\n".join(states(doctor.examine(ws))["note"])
    for path in orphans:
        assert str(path if path.name != PART else day) in named
    for said in (
        "a manifest without its table",
        "a table without its manifest",
        "documents of a day that the lake has none of",
    ):
        assert said in named
    assert "site 91" in named
    assert platform.files(*TABLES) != before, "naming removes nothing"
    doctor.fix(ws)
    assert {p.exists() for p, goes in orphans.items() if goes} == {False}
    assert {p.exists() for p, goes in orphans.items() if not goes} == {True}
    assert platform.files(*TABLES) == before
    left = states(doctor.examine(platform.ws))["note"]
    assert len(left) == 2, left  # the file that is none of ours, the site that nobody knows
    assert platform.ws.index.by_site()["idsite"].to_list() == [1, 2, 91]


def test_a_rebuild_that_would_send_hits_twice_is_refused(tmp_path: Path) -> None:
    platform = Platform.make(tmp_path, matomo={"send": True, "url": "http://127.0.0.1:9"})
    with pytest.raises(LedgerError, match="they would be sent again"):
        doctor.rebuild_ledger(platform.ws)
