"""Bad input: a clear word about each, nothing lost, and everything else goes on."""

from __future__ import annotations

import gzip
import os
import stat
from datetime import date, datetime
from pathlib import Path

import polars as pl
import pytest

from usage_stats_dagster.pipeline.account import account
from usage_stats_dagster.pipeline.imports import ImportReport
from usage_stats_dagster_tests.platforms import DAY, Platform, line


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    return Platform.make(tmp_path)


def good(n: int = 40, day: date = DAY) -> list[str]:
    return [
        line(datetime(day.year, day.month, day.day, 10, n // 60, n % 60), f"/handle/1/{n}", ip=f"192.0.2.{n}")
        for n in range(n)
    ]


def actions(report: ImportReport) -> dict[str, str]:
    return {Path(p.path).name: p.action for p in report.paths}


def outcomes(platform: Platform) -> dict[str, int]:
    table = account(platform.ws).table.filter(pl.col("stage") == "lines")
    return dict(table.select("what", "count").iter_rows())


def test_one_broken_file_of_each_kind_stops_nothing(platform: Platform) -> None:
    platform.log("a-empty.log", b"")
    platform.log("b-binary.log", bytes(range(256)) * 64)
    platform.log("c-truncated.log.gz", gzip.compress("".join(f"{x}\n" for x in good(300)).encode())[:-600])
    (platform.folder / "logs/1/d-folder.log").mkdir()
    platform.log("e-nonsense.log", b"this is\nno log\n")
    platform.log("z-good.log", good(day=date(2025, 3, 2)))
    report = platform.run()
    assert actions(report.imports) == {
        "a-empty.log": "empty",
        "b-binary.log": "invalid",
        "c-truncated.log.gz": "imported",
        "e-nonsense.log": "invalid",
        "z-good.log": "imported",
    }
    messages = {Path(p.path).name: str(p.message) for p in report.imports.paths}
    assert "this is" in messages["e-nonsense.log"]
    assert "truncated" in messages["c-truncated.log.gz"] or "ends" in messages["c-truncated.log.gz"]
    assert platform.figures()[date(2025, 3, 2)][0] == 40
    assert account(platform.ws).open_sums == []


def test_a_truncated_archive_is_partial_until_the_whole_file_comes(platform: Platform, tmp_path: Path) -> None:
    whole = "".join(f"{x}\n" for x in good(300)).encode()
    platform.log("a.log.gz", gzip.compress(whole)[:-600])
    platform.run()
    (row,) = platform.ws.ledger.statuses()
    assert row["status"] == 1, "partial: its figures would be too low"
    assert 0 < outcomes(platform)["read"] < 300
    platform.log("a.log.gz", gzip.compress(whole))
    platform.run()
    assert outcomes(platform)["read"] == 300
    other = Platform.make(tmp_path / "other")
    other.log("a.log", whole)
    other.run()
    assert platform.files("metrics", "documents") == other.files("metrics", "documents")


def test_an_unreadable_file_is_tried_three_times_and_then_waits_for_a_change(platform: Platform) -> None:
    if os.geteuid() == 0:
        pytest.skip("root can read everything: an unreadable file can't be made")
    path = platform.log("a.log", good())
    path.chmod(0)
    for _ in range(3):
        (p,) = platform.run().imports.paths
        assert p.action == "failed"
        assert "is it readable" in str(p.message)
    assert platform.run().imports.paths == []
    path.chmod(stat.S_IRUSR)
    os.utime(path)
    assert actions(platform.run().imports) == {"a.log": "imported"}


def test_a_file_that_fails_while_it_is_read(platform: Platform) -> None:
    platform.log("z.log", good())
    (platform.folder / "logs/1/a.log").symlink_to(
        "/proc/self/mem"
    )  # there, and reading it is an I/O error, for root too
    for _ in range(3):
        (failed, *_rest) = platform.run().imports.paths
        assert failed.action == "failed"
        assert "can't be read: Input/output error" in str(failed.message)
    assert platform.run().imports.paths == []
    assert platform.figures()[DAY][0] == 40


def test_odd_lines_are_counted_and_kept_with_their_numbers(platform: Platform) -> None:
    rows: list[bytes] = [x.encode() for x in good(6)]
    rows[1] = b"garbage"
    rows[2] = line("10:00:02", "/handle/1/caf\u00e9").encode("latin-1")
    rows[3] = b"\x00\x00" + rows[3]
    rows[4] = line("10:00:04", "/handle/1/" + "x" * 2_000_000).encode()
    platform.log("a.log", b"\r\n".join(rows) + b"\r\n")
    platform.run()
    assert outcomes(platform)["read"] == 6
    rejects = pl.concat([pl.read_parquet(p) for p in (platform.folder / "lake/rejects").rglob("*.parquet")])
    by_line = dict(rejects.select("line", "reason").iter_rows())
    assert by_line[2] == "no_match"
    assert by_line[5] == "too_long"
    assert "192.0.2" not in " ".join(rejects["head"].to_list())


def test_a_wrong_forced_format_shows_the_first_line_and_what_was_tried(tmp_path: Path) -> None:
    platform = Platform.make(tmp_path, sites=[{"id": 1, "format": "elb"}])
    platform.log("a.log", good())
    (p,) = platform.run().imports.paths
    assert p.action == "invalid"
    assert "GET /handle/1/0" in str(p.message)
    assert "elb" in str(p.message)
    assert "192.0.2" not in str(p.message)


def test_lines_of_other_years_belong_to_their_days_and_none_before_the_start(tmp_path: Path) -> None:
    platform = Platform.make(tmp_path, platform={"start_date": date(2020, 1, 1)})
    rows = [line(datetime(y, 3, 1, 10), ip=f"192.0.2.{y % 100}") for y in (2025, 2024, 2019)]
    platform.log("a.log", rows)
    platform.run()
    assert outcomes(platform) == {"read": 3, "hit": 2, "outside_day": 1}
    assert {d.year for d in platform.figures()} == {2024, 2025}


def test_a_clock_that_jumps_back_changes_no_figure(platform: Platform, tmp_path: Path) -> None:
    platform.log("a.log", good())
    platform.run()
    other = Platform.make(tmp_path / "other")
    other.log("a.log", good()[20:] + good()[:20])
    other.run()
    assert platform.files("metrics", "documents") == other.files("metrics", "documents")


def test_addresses_behind_proxies_and_ipv6(platform: Platform) -> None:
    ips = ("2001:db8::7", "203.0.113.9, 10.0.0.1", "unknown, 203.0.113.10")
    platform.log("a.log", [line(f"10:00:0{n}", f"/handle/1/{n}", ip=ip) for n, ip in enumerate(ips)])
    platform.run()
    visits = pl.read_parquet(next((platform.folder / "lake/visits").rglob("*.parquet")), hive_partitioning=False)
    assert visits["idvisitor"].n_unique() == 3
    assert set(visits["location_ip"].to_list()) == {"2001:db8::", "203.0.0.0"}


def test_a_missing_log_keeps_the_day_partial_until_it_comes_or_is_declared_lost(tmp_path: Path) -> None:
    from usage_stats_dagster.pipeline.status import decide

    platform = Platform.make(
        tmp_path, sites=[{"id": 1, "platform": "dspace", "url": "https://r.example", "files_per_day": 2}]
    )
    platform.log("web1.log", good())
    assert platform.run().stages == []
    assert platform.ws.ledger.statuses()[0]["status"] == 1
    decide(platform.ws, 1, DAY, "lost", "the disk of web2 died")
    platform.run()
    assert platform.figures()[DAY][0] == 40
    late = [line("12:00:00", "/handle/1/99", ip="198.51.100.1")] * 1 + [
        line("12:10:00", "/handle/1/98", ip="198.51.100.2")
    ]
    platform.log("web2.log", late)
    platform.run()
    assert platform.figures()[DAY][0] == 42
    assert platform.ws.ledger.statuses()[0]["status"] == 5


def test_expected_files_have_dates(tmp_path: Path) -> None:
    expected = [{"files": 1, "until": "2025-03-01"}, {"files": 2, "since": "2025-03-02"}]
    platform = Platform.make(tmp_path, sites=[{"id": 1, "platform": "dspace", "files_per_day": expected}])
    platform.log("one.log", good(day=date(2025, 3, 1)))
    platform.log("two.log", good(day=date(2025, 3, 2)))
    platform.run()
    assert {r["day"].day: r["status"] for r in platform.ws.ledger.statuses()} == {1: 5, 2: 1}


def test_no_address_is_left_behind(tmp_path: Path) -> None:
    platform = Platform.make(tmp_path)
    ips = ("192.0.2.77", "203.0.113.200", "2001:db8:1234:5678::9")
    rows = [line(f"10:00:0{n}", f"/handle/1/{n}", ip=ip) for n, ip in enumerate(ips)]
    platform.log("a.log", [*rows, *(f"{ip} broken" for ip in ips)])
    platform.log("b.log", [f"{ip} unknown format" for ip in ips])
    platform.run()
    for path in tmp_path.rglob("*"):
        if path.is_file() and "logs" not in path.parts:
            content = path.read_bytes()
            frame = str(pl.read_parquet(path).to_dicts()).encode() if path.suffix == ".parquet" else content
            assert not [ip for ip in ips if ip.encode() in content + frame], path
