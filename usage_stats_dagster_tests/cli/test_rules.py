"""Changed rules and warnings at the command line: `status --stale`, `diff`, `run --stale`, `warnings`."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from usage_stats_dagster_tests.cli.test_commands import call
from usage_stats_dagster_tests.platforms import HOST, PDF, line

OTHER = {"USAGE_STATS_RULES__DOUBLE_CLICK_SECONDS": "10"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A day with two clicks on a file, 20 s apart, and an hour missing between busy ones."""
    base = tmp_path_factory.mktemp("site")
    (base / "usage_stats.toml").write_text(f'[[sites]]\nid = 1\nurl = "https://{HOST}"\nplatform = "dspace"\n')
    (base / "logs/1").mkdir(parents=True)
    busy = [line(f"{h}:{m:02d}:30", ip=f"198.51.100.{m}") for h in (9, 11) for m in range(25)]
    rows = [line("09:00:00", PDF), line("09:00:20", PDF), *busy]
    (base / "logs/1/access.log").write_text("\n".join(rows) + "\n")
    call(base, "run", "--plain")
    return base


def test_changed_rules_from_the_first_look_to_the_rerun(folder: Path, tmp_path: Path) -> None:
    assert "no day is stale" in call(folder, "status", "--stale").stderr
    assert "no day is stale" in call(folder, "diff").stderr
    table = call(folder, "status", "--stale", **OTHER).stdout
    assert "rules.double_click_seconds: 30 → 10" in table
    assert "1 site-day; `usage-stats diff`" in table
    (row,) = json.loads(call(folder, "status", "--stale", "--json", **OTHER).stdout)
    assert (row["idsite"], row["day"], row["reason"]) == (1, "2025-03-01", "rules.double_click_seconds: 30 → 10")

    said = call(folder, "diff", **OTHER).stdout
    assert "1 site-day is stale: 1 by rules.double_click_seconds: 30 → 10" in said
    assert f"oai:{HOST}:1/1" in said
    for format, read in (("csv", pl.read_csv), ("json", pl.read_json), ("parquet", pl.read_parquet)):
        out = tmp_path / f"answer.{format}"
        call(folder, "diff", "--format", format, "--output", str(out), **OTHER)
        changed = dict(read(out).filter(pl.col("change") != 0).select("metric", "change").iter_rows())
        assert changed == {"total_item_investigations": 1, "total_item_requests": 1, "documents changed": 1}
    (item,) = json.loads(
        call(folder, "diff", "--json", "--by", "item", "--metric", "total_item_requests", **OTHER).stdout
    )
    assert (item["identifier"], item["stored"], item["anew"], item["change"]) == (f"oai:{HOST}:1/1", 1, 2, 1)

    assert "1 of 1 site-days done" in call(folder, "run", "--stale", **OTHER).stdout
    assert "no day is stale" in call(folder, "run", "--stale", "--plain", **OTHER).stderr


def test_warnings(folder: Path) -> None:
    (row,) = json.loads(call(folder, "warnings", "--from", "2025-03-01", "--json").stdout)
    assert (row["day"], row["warning"]) == ("2025-03-01", "missing_hour")
    done = call(folder, "warnings", "--day", "2025-03-01", "--strict", code=1)
    assert "no server has a hit from 2025-03-01 10:00 to 11:00" in done.stdout
    assert "1 warning" in done.stderr
    assert "nothing looks wrong" in call(folder, "warnings", "--day", "2025-03-02", "--strict").stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["diff", "--metric", "clicks"], "no metric 'clicks'"),
        (["diff", "--scratch", "nowhere"], "no such folder"),
        (["diff", "--from", "2025-03-02", "--to", "2025-03-01"], "is after"),
        (["warnings", "--day", "yesterday"], "is no date"),
    ],
)
def test_wrong_use_is_exit_code_2(arguments: list[str], said: str, folder: Path) -> None:
    assert said in call(folder, *arguments, code=2).stderr
