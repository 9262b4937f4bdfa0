"""The commands of upkeep as a person meets them: backup, restore, doctor; the accounting's options."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from usage_stats_dagster_tests.cli.test_commands import call
from usage_stats_dagster_tests.platforms import HOST, line


def test_a_platform_s_life_from_backup_to_restore_to_doctor(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    (old / "logs/1").mkdir(parents=True)
    new.mkdir()
    (old / "usage_stats.toml").write_text(f'[[sites]]\nid = 1\nurl = "https://{HOST}"\nplatform = "dspace"\n')
    rows = [line(f"10:0{n}:00", f"/handle/1/{n}", ip=f"192.0.2.{n}") for n in range(5)]
    (old / "logs/1/a.log").write_text("\n".join([*rows, line("11:00:00", "/x.css")]) + "\n")
    call(old, "run", "--plain")

    days = json.loads(call(old, "account", "--by", "day", "--examples", "--json").stdout)
    static = next(r for r in days if r["what"] == "static")
    assert (static["day"], static["count"], static["examples"][0]["line"]) == ("2025-03-01", 1, 6)
    assert "200 GET /x.css" in call(old, "account", "--day", "2025-03-01").stdout
    (row,) = json.loads(call(old, "rejects", "--outcome", "static", "--json").stdout)
    assert (row["line"], row["head"]) == (6, "200 GET /x.css")
    assert "there are invalid, http_error" in call(old, "rejects", "--outcome", "lost", code=2).stderr

    archive = str(tmp_path / "a.zip")
    assert "it is a secret" in call(old, "backup", archive, "--lake").stdout
    assert "done days compared" in call(new, "restore", archive).stdout
    assert call(new, "items", "--json").stdout == call(old, "items", "--json").stdout
    assert "--force" in call(new, "restore", archive, code=1).stderr
    (tmp_path / "a.zip").write_bytes(b"no zip")
    assert "no backup" in call(new, "restore", archive, "--force", code=1).stderr

    shutil.rmtree(new / "data/lake/events")
    assert "events is missing or changed" in call(new, "doctor", code=1).stdout
    (new / "data/ledger.db").unlink()
    for left in (new / "data").glob("ledger.db-*"):
        left.unlink()
    assert "rebuilt: 1 logs, 1 days, 0 of them done" in call(new, "doctor", "--rebuild-ledger").stdout
    shutil.copytree(old / "logs", new / "logs")
    call(new, "run", "--plain")
    assert call(new, "items", "--json").stdout == call(old, "items", "--json").stdout
    assert "every sum closes" in call(new, "account").stdout
