"""Stale days: exactly those that a change touches, told why; the diff says what the re-run then does."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from usage_stats_dagster.lookups import all as lookups
from usage_stats_dagster.lookups import robots
from usage_stats_dagster.pipeline.diff import Diff, DiffError, diff, top_items
from usage_stats_dagster.pipeline.rerun import run_stale
from usage_stats_dagster.pipeline.stale import reasons_in_words, stale_days, stretches
from usage_stats_dagster.schemas import METRICS
from usage_stats_dagster_tests.pipeline.test_pure import DAYS, world
from usage_stats_dagster_tests.platforms import HOST, Platform, settings

ONE = {"id": 1, "platform": "dspace", "url": f"https://{HOST}", "identifier_map": {"file": "pairs.csv"}}
TWO = {"id": 2, "platform": "dspace", "url": "https://other.example.org", "country": "br"}
BOTH = [ONE, TWO]
STEPS = ("behaviour", "assets", "unidentified", "not_delivered", "double_click")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sites of three days each, made under the rules that every test starts from."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as m:
        m.setenv("USAGE_STATS_SECRET", "a key for tests")
        m.chdir(folder)
        (folder / "pairs.csv").write_text(f"oai:{HOST}:1/3,oai:{HOST}:1/30\n")
        platform = Platform.make(folder, sites=BOTH)
        for site, seed in ((1, 1), (2, 2)):
            for day, rows in world(seed).items():
                platform.log(f"access-{day}.log", rows, site)
        platform.run()
        assert not stale_days(platform.ws).height
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, as the working folder."""
    monkeypatch.setenv("USAGE_STATS_SECRET", "a key for tests")
    copy = tmp_path / "copy"
    shutil.copytree(made, copy)
    moved = Platform.make(copy, sites=BOTH).ws.ledger  # the ledger knows logs by their paths
    with moved.write() as c:
        for table in ("log_file", "log_path"):
            c.exec_driver_sql(f"UPDATE {table} SET path = replace(path, '{made}', '{copy}')")
    monkeypatch.chdir(copy)
    return copy


def newer_list(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next release of COUNTER's list calls every Firefox a robot."""
    known = robots._list_bytes
    monkeypatch.setattr(robots, "_list_bytes", lambda n: known(n) + b"\nFirefox" if n == "counter" else known(n))
    monkeypatch.setattr(lookups, "_robots", robots.Robots)


def other_pairs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "pairs.csv").write_text(f"oai:{HOST}:1/3,oai:{HOST}:1/2\n")


Prepare = Callable[[Path, pytest.MonkeyPatch], None]
CHANGES: dict[str, tuple[dict[str, Any], Prepare | None, tuple[int, ...], str]] = {
    "robots list": ({}, newer_list, (1, 2), "robots list counter"),
    "robots by the operator": ({"rules": {"robots_extra": ["Firefox"]}}, None, (1, 2), 'rules.robots_extra: [] → ["Firefox"]'),
    "step": ({"rules": {"steps": STEPS}}, None, (1, 2), "rules.steps"),
    "step parameter": ({"rules": {"double_click_seconds": 3}}, None, (1, 2), "rules.double_click_seconds: 30 → 3"),
    "visit's end": ({"rules": {"visit_seconds": 60}}, None, (1, 2), "rules.visit_seconds: 1800 → 60"),
    "item rule": (
        {"sites": [ONE, {**TWO, "item_rules": [{"pattern": "/(?P<id>gone|a.css|discover)", "action": "request"}]}]},
        None, (2,), "item rules (site.platform, item_rules, identifier, url) changed",
    ),
    "identifier mapping": ({}, other_pairs, (1,), "site.identifier_map changed"),
    "country": ({"sites": [ONE, {**TWO, "country": "pt"}]}, None, (2,), "site.country: br → pt"),
    "grain": ({"sites": [{**ONE, "grain": "month"}, TWO]}, None, (1,), "site.grain: day → month"),
    "time zone": ({"platform": {"time_zone": "America/Bogota"}}, None, (1, 2), "platform.time_zone: UTC → America/Bogota"),
    "excluded paths": ({"sites": [{**ONE, "exclude": ["^/discover", "1/1$"]}, TWO]}, None, (1,), "site.exclude: [] → "),
}  # fmt: skip


def changed(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Platform, tuple[int, ...], str]:
    """The platform after the change, the sites that it touches, and what is said of it."""
    sections, prepare, sites, said = CHANGES[name]
    if prepare is not None:
        prepare(folder, monkeypatch)
    return Platform(folder, settings(folder, **{"sites": BOTH, **sections})), sites, said


def figures(platform: Platform) -> dict[tuple[int, str], int]:
    """Sums over all documents by site and metric."""
    by_site = platform.documents().group_by("idsite").agg(pl.len().alias("documents"), pl.col(METRICS).sum())
    return {(r["idsite"], m): r[m] for r in by_site.iter_rows(named=True) for m in ("documents", *METRICS)}


def items(platform: Platform) -> dict[tuple[int, str], int]:
    """Investigations by site and item."""
    sums = platform.documents().group_by("idsite", "identifier").agg(pl.col("total_item_investigations").sum())
    return {(s, i): n for s, i, n in sums.iter_rows()}


def told(result: Diff, column: str) -> dict[tuple[int, str], int]:
    """The diff's sums by site and metric."""
    sums = (
        result.months.filter(pl.col("metric") != "documents changed").group_by("idsite", "metric").agg(pl.sum(column))
    )
    return {(s, m): n for s, m, n in sums.iter_rows() if n}


def everything(folder: Path) -> dict[str, bytes]:
    """Each file below lake, ledger and index, but what SQLite keeps for readers."""
    kept = [p for p in folder.rglob("*") if p.is_file() and not p.name.endswith((".db-wal", ".db-shm", ".lock"))]
    return {str(p): p.read_bytes() for p in kept}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_makes_its_days_stale_and_the_diff_says_what_the_rerun_does(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform, sites, said = changed(folder, name, monkeypatch)
    stale = stale_days(platform.ws)
    assert stale.select("idsite", "day").rows() == [(s, d) for s in sites for d in DAYS]
    assert all(said in r for r in stale["reason"]), stale["reason"].unique().to_list()
    assert stale["gone"].null_count() == stale.height

    before, items_before, files = figures(platform), items(platform), everything(folder)
    result = diff(platform.ws, folder=folder.parent)
    assert everything(folder) == files
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]

    made = run_stale(platform.ws)
    assert set(DAYS) <= set(made)
    after, items_after = figures(platform), items(platform)
    assert told(result, "anew") == {k: n for k, n in after.items() if n and k[0] in sites}
    assert told(result, "stored") == {k: n for k, n in before.items() if n and k[0] in sites}
    top = top_items(result, "total_item_investigations", None)
    really = {k: items_after.get(k, 0) - items_before.get(k, 0) for k in {*items_before, *items_after}}
    assert {(s, i): n for s, i, n in top.select("idsite", "identifier", "change").iter_rows()} == {
        k: n for k, n in really.items() if n
    }
    assert result.changes
    assert not stale_days(platform.ws).height
    assert not diff(platform.ws).changes
    assert platform.run().stages == []


def test_the_window_is_that_of_the_rerun(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new list changes the first seconds of the 2nd too, so that a re-run of the 2nd alone moves the 1st as well."""
    platform, _, _ = changed(folder, "robots by the operator", monkeypatch)
    before = figures(platform)
    result = diff(platform.ws, [1], DAYS[1], DAYS[1])
    assert result.stale.select("idsite", "day").rows() == [(1, DAYS[1])]
    run_stale(platform.ws, first=DAYS[1], last=DAYS[1], sites=[1])
    after = figures(platform)
    assert told(result, "anew") == {k: n for k, n in after.items() if n and k[0] == 1}
    assert {k: n for k, n in after.items() if k[0] == 2} == {k: n for k, n in before.items() if k[0] == 2}
    left = stale_days(platform.ws)
    assert left.select("idsite", "day").rows() == [(1, DAYS[2]), *((2, d) for d in DAYS)]
    assert stretches(left).select("idsite", "first", "last", "days").rows() == [
        (1, DAYS[2], DAYS[2], 1),
        (2, DAYS[0], DAYS[2], 3),
    ]
    assert reasons_in_words(left).startswith("4 site-days are stale: 4 by rules.robots_extra")


def test_a_site_that_the_settings_have_left_out_is_left_alone(folder: Path) -> None:
    assert not stale_days(Platform(folder, settings(folder, sites=[ONE])).ws).height


def test_logs_that_are_gone_are_named_and_renamed_ones_are_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, _ = (folder / "logs" / "1" / f"access-{d}.log" for d in DAYS)
    first.rename(first.with_name("old.log"))
    Platform(folder, settings(folder, sites=BOTH)).run()  # notices the rotation, under the old settings
    second.unlink()
    platform, _, _ = changed(folder, "excluded paths", monkeypatch)
    stale = stale_days(platform.ws)
    assert stale["gone"].to_list() == [None, str(second), None]
    before = platform.documents()
    result = diff(platform.ws)
    run_stale(platform.ws)
    after = platform.documents()
    assert told(result, "anew") == {k: n for k, n in figures(platform).items() if n and k[0] == 1}
    same = [
        before.filter(idsite=1, date=d)
        .drop("rules_version")
        .equals(after.filter(idsite=1, date=d).drop("rules_version"))
        for d in DAYS
    ]
    assert same == [False, True, False]
    assert stale_days(platform.ws)["day"].to_list() == [DAYS[1]]


def test_hits_that_are_gone_are_a_polite_refusal(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    platform, _, _ = changed(folder, "robots by the operator", monkeypatch)
    day = DAYS[2]
    for file in (folder / "lake/hits/idsite=1/year=2025/month=3" / f"day={day.day}").iterdir():
        file.unlink()
    files = everything(folder)
    with pytest.raises(DiffError, match=rf"(?s)^{folder}/lake/hits.*is gone.*nothing was changed. Leave the day out"):
        diff(platform.ws)
    assert everything(folder) == files
    assert diff(platform.ws, [2]).changes
    assert diff(platform.ws, [1], last=DAYS[0]).changes


def test_days_that_wait_are_not_stale(folder: Path) -> None:
    platform = Platform(folder, settings(folder, sites=BOTH, rules={"double_click_seconds": 3}))
    platform.log("late.log", world(5)[DAYS[0]][:1], 1)
    assert date(2025, 3, 4) not in stale_days(platform.ws)["day"]
