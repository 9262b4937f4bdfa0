"""Backup and restore: what comes back is what was there, of one moment; nothing is overwritten, nothing damaged let in."""

from __future__ import annotations

import sqlite3
import stat
import threading
import time
import zipfile
from datetime import datetime
from pathlib import Path

import pytest

from usage_stats_dagster.pipeline import doctor
from usage_stats_dagster.pipeline.account import account
from usage_stats_dagster.pipeline.backup.archive import Archive, BackupError
from usage_stats_dagster.pipeline.backup.backup import backup
from usage_stats_dagster.pipeline.backup.restore import restore
from usage_stats_dagster_tests.ledger.test_dump import everything
from usage_stats_dagster_tests.platforms import HOST, PDF, Platform, line

TOML = f"""
[platform]
grace_seconds = 0
[matomo]
database_url = "mysql://reader:geheim@db.example.org/matomo"
[[sites]]
id = 1
platform = "dspace"
url = "https://{HOST}"
"""


def started(folder: Path, monkeypatch: pytest.MonkeyPatch, toml: str = TOML) -> Platform:
    """A platform of a settings file, in the folder as working folder, run once."""
    folder.mkdir(exist_ok=True)
    monkeypatch.chdir(folder)
    (folder / "usage_stats.toml").write_text(toml)
    from usage_stats_dagster.settings import load_settings

    platform = Platform(folder, load_settings())
    platform.log("a.log", [*(line(f"10:0{n}:00", f"/handle/1/{n}", ip=f"192.0.2.{n}") for n in range(9)), "broken"])
    platform.run()
    return platform


def files(folder: Path) -> dict[str, bytes]:
    """The lake's files."""
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted((folder / "data/lake").rglob("*")) if p.is_file()
    }


def test_an_archive_restores_the_whole_platform_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = started(tmp_path / "old", monkeypatch)
    archive = tmp_path / "platform.zip"
    report = backup(old.ws, archive, lake=True)
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    assert {p for p, _, _ in report.parts} == {"ledger", "lake", "index", "settings", "visitors' key"}
    assert any("it is a secret" in n for n in report.notes)
    with zipfile.ZipFile(archive) as z:
        text = z.read("usage_stats.toml") + z.read("settings.json")
    assert b"geheim" not in text
    assert b"mysql://reader@db.example.org" in text
    new = tmp_path / "new"
    new.mkdir()
    monkeypatch.chdir(new)
    ws, _ = restore(archive)
    assert everything(ws.ledger) == everything(old.ws.ledger)
    assert files(new) == files(old.folder)
    assert ws.key == old.ws.key
    assert stat.S_IMODE(ws.key_file.stat().st_mode) == 0o600
    assert ws.index.sources().equals(old.ws.index.sources())
    assert sqlite3.connect(ws.settings.index.path).execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert doctor.examine(ws).filter(state="wrong").is_empty()
    assert account(ws).closes
    platform = Platform(new, ws.settings)
    platform.log("a.log", (old.folder / "logs/1/a.log").read_bytes())
    assert platform.run().stages == [], "nothing to do: the log is the one that was imported"
    platform.log("b.log", [line("12:00:00", PDF)])
    platform.run()
    assert account(platform.ws).closes


def test_nothing_is_overwritten_unless_told_and_nothing_damaged_is_let_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = started(tmp_path / "p", monkeypatch)
    archive = tmp_path / "a.zip"
    backup(platform.ws, archive, lake=True)
    before, ledger = files(platform.folder), everything(platform.ws.ledger)
    platform.log("b.log", [line("12:00:00", PDF)])
    platform.run()
    later = files(platform.folder)
    with pytest.raises(
        BackupError, match=r"the ledger at .* has rows; the lake at .* has tables; the index at .*--force"
    ):
        restore(archive)
    damaged = tmp_path / "damaged.zip"
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)
    with pytest.raises(BackupError, match="damaged"):
        restore(damaged, force=True)
    damaged.write_bytes(data[:-100])
    with pytest.raises(BackupError, match="no backup, or is cut off"):
        restore(damaged, force=True)
    assert files(platform.folder) == later
    ws, report = restore(archive, force=True)
    assert (files(platform.folder), everything(ws.ledger)) == (before, ledger)
    assert any("stays as it is" in n for n in report.notes), "the settings' password is not in the archive"
    assert doctor.examine(ws).filter(state="wrong").is_empty()


def test_a_backup_that_runs_beside_a_writer_is_of_one_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    platform = started(tmp_path / "p", monkeypatch)
    stop = threading.Event()

    def work() -> None:
        n = 0
        while not stop.is_set() and n < 30:
            n += 1
            lines = [
                line(datetime(2025, 3, 1 + k % 3, 10, k % 60), f"/handle/1/{k}", ip=f"192.0.2.{k}")
                for k in range(10 * n)
            ]
            platform.log("grows.log", sorted(lines))
            platform.run()

    writer = threading.Thread(target=work)
    writer.start()
    try:
        archives = [tmp_path / f"{k}.zip" for k in range(3)]
        for archive in archives:
            backup(platform.ws, archive, lake=True)
            time.sleep(0.2)
    finally:
        stop.set()
        writer.join()
    for k, archive in enumerate(archives):
        folder = tmp_path / f"new{k}"
        folder.mkdir()
        monkeypatch.chdir(folder)
        ws, _ = restore(archive)
        assert doctor.examine(ws).filter(state="wrong").is_empty()
        assert account(ws).closes


def test_the_key_stays_out_when_told_or_where_the_environment_gives_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = started(tmp_path / "p", monkeypatch)
    backup(platform.ws, tmp_path / "a.zip", key=False)
    with Archive(tmp_path / "a.zip") as a:
        assert (a.contents["key"], "visitor.key" in a, a.contents["lake"]) == ("left out", False, None)
    monkeypatch.setenv("USAGE_STATS_SECRET", "long and random")
    notes = backup(platform.ws, tmp_path / "b.zip").notes
    assert any("USAGE_STATS_SECRET and is not in the archive" in n for n in notes)
