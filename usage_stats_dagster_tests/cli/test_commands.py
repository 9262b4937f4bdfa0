"""The command line as a person meets it: a folder with logs, `run`, and questions; errors with their exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from usage_stats_dagster_tests.platforms import HOST, line


def call(folder: Path, *arguments: str, code: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
    """`usage-stats …` in the folder, as a process of its own."""
    import os

    done = subprocess.run(
        [sys.executable, "-c", "from usage_stats_dagster.cli.start import main; main()", *arguments],
        cwd=folder, capture_output=True, text=True, env={**os.environ, "COLUMNS": "200", **env}, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where `usage-stats run` has been called once."""
    base = tmp_path_factory.mktemp("site")
    (base / "usage_stats.toml").write_text(
        f'[[sites]]\nid = 1\nurl = "https://{HOST}"\nplatform = "dspace"\nfiles_per_day = 1\n'
    )
    logs = base / "logs" / "1"
    logs.mkdir(parents=True)
    rows = [line(f"10:0{n}:00", f"/handle/1/{n % 3}", ip=f"192.0.2.{n}") for n in range(9)]
    (logs / "access-2025-03-01.log").write_text(
        "\n".join([*rows, "garbage", line("11:00:00", "/x.css"), line("11:00:00", "/contact")]) + "\n"
    )
    call(base, "run")
    return base


def test_run_says_what_it_did_and_then_that_nothing_is_new(folder: Path) -> None:
    assert "nothing new" in call(folder, "run").stderr
    assert "1 of 1 site-days done" in call(folder, "run", "--day", "2025-03-01").stdout
    assert (
        "1 of 1 site-days done" in call(folder, "run", "--from", "2025-03-01", "--to", "2025-03-02", "--plain").stdout
    )


def test_status(folder: Path) -> None:
    (row,) = json.loads(call(folder, "status", "--format", "json").stdout)
    assert (row["day"], row["idsite"], row["status"], row["files_loaded"], row["files_expected"]) == (
        "2025-03-01",
        1,
        "done",
        1,
        1,
    )
    assert "done" in call(folder, "status", "--day", "2025-03-01", "--site", "1").stdout
    assert call(folder, "status", "--from", "2026-01-01").stdout == ""


def test_account(folder: Path) -> None:
    rows = json.loads(call(folder, "account", "--json").stdout)
    counts = {(r["stage"], r["what"]): r["count"] for r in rows}
    assert counts["lines", "read"] == 12
    assert (counts["lines", "hit"], counts["lines", "static"], counts["lines", "invalid"]) == (10, 1, 1)
    assert counts["documents", "in the index"] == counts["documents", "in the lake"] == 3
    assert "every sum closes" in call(folder, "account", "--day", "2025-03-01").stdout


@pytest.mark.parametrize("format", ["table", "csv", "json", "parquet"])
@pytest.mark.parametrize("command", ["items", "status", "account", "logs", "rejects", "volumes", "unmapped", "doctor"])
def test_every_answer_in_every_format(command: str, format: str, folder: Path, tmp_path: Path) -> None:
    if command == "doctor":
        assert "ledger" in call(folder, "doctor", *(["--format", format] if format != "parquet" else [])).stdout
        return
    out = tmp_path / "answer"
    call(folder, command, "--format", format, "--output", str(out))
    if format == "table":
        assert len(out.read_text().splitlines()) > 3
    else:
        read = {"csv": pl.read_csv, "json": pl.read_json, "parquet": pl.read_parquet}[format]
        assert read(out).height > 0


def test_item_and_a_near_miss(folder: Path) -> None:
    assert f"oai:{HOST}:1/1" in call(folder, "item", f"oai:{HOST}:1/1").stdout
    assert "the nearest: 'oai:" in call(folder, "item", f"oai:{HOST}:1/11", code=1).stderr


def test_rejects_name_log_line_and_reason(folder: Path) -> None:
    (row,) = json.loads(call(folder, "rejects", "--json").stdout)
    assert row["log"].endswith("access-2025-03-01.log")
    assert (row["line"], row["reason"], row["head"]) == (10, "no_match", "garbage")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "--day", "yesterday"], "is no date"),
        (["run", "--from", "2025-03-02", "--to", "2025-03-01"], "is after"),
        (["run", "--from", "2025-03-02"], "give both --from and --to"),
        (["run", "--day", "2025-03-01", "--to", "2025-03-01"], "--day stands alone"),
        (["run", "--sites", "one"], "is no site id"),
        (["run", "--logs", "nowhere"], "no such folder"),
        (["status", "--from", "2025-13-01"], "is no date"),
        (["items", "--metric", "clicks"], "no metric 'clicks'"),
    ],
)
def test_wrong_use_is_exit_code_2(arguments: list[str], said: str, folder: Path) -> None:
    done = call(folder, *arguments, code=2)
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_errors_as_json(folder: Path) -> None:
    error = json.loads(call(folder, "run", "--day", "x", "--json", code=2).stderr)["error"]
    assert (error["code"], error["kind"]) == (2, "usage")
    assert "is no date" in error["message"]


def test_wrong_settings_are_exit_code_2_and_named(tmp_path: Path) -> None:
    (tmp_path / "usage_stats.toml").write_text("[storage]\nrot = 'x'\n")
    for command in ("run", "status", "items", "account", "doctor", "volumes"):
        assert "storage.rot: no such key" in call(tmp_path, command, code=2).stderr, command


def test_a_day_without_a_partition_is_named(folder: Path) -> None:
    assert "days go from platform.start_date, 2000-01-01" in call(folder, "run", "--day", "1999-12-31", code=1).stderr
    assert "to today" in call(folder, "run", "--day", "2999-12-31", code=1).stderr


def test_an_unusable_lake_or_ledger_is_exit_code_1(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert (
        "can't be written"
        in call(
            folder, "run", "--day", "2025-03-01", code=1, USAGE_STATS_STORAGE__ROOT=str(tmp_path / "file" / "lake")
        ).stderr
    )
    (tmp_path / "text.db").write_text("no database at all, this is text" * 40)
    done = call(folder, "status", code=1, USAGE_STATS_LEDGER__URL=f"sqlite:///{tmp_path}/text.db")
    assert "ledger" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_step_that_fails_says_why_and_nothing_of_our_code(tmp_path: Path) -> None:
    (tmp_path / "usage_stats.toml").write_text(
        f'[[sites]]\nid = 1\nurl = "https://{HOST}"\nplatform = "dspace"\nidentifier_map = {{file = "gone.csv"}}\n'
    )
    (tmp_path / "logs" / "1").mkdir(parents=True)
    (tmp_path / "logs" / "1" / "access.log").write_text(line("10:00:00", "/handle/1/1") + "\n")
    said = call(tmp_path, "run", code=1).stderr
    assert "identifier_map: file gone.csv can't be read: No such file or directory" in said
    assert "usage_stats_dagster" not in said


def test_a_day_is_declared_lost_and_reopened(tmp_path: Path) -> None:
    (tmp_path / "usage_stats.toml").write_text("[[sites]]\nid = 1\nplatform = 'dspace'\nfiles_per_day = 2\n")
    (tmp_path / "logs/1").mkdir(parents=True)
    (tmp_path / "logs/1/web1.log").write_text(line("10:00:00") + "\n")
    call(tmp_path, "run", "--plain")
    assert json.loads(call(tmp_path, "status", "--json").stdout)[0]["status"] == "partial"
    call(tmp_path, "day", "lost", "2025-03-01", "--site", "1", "--reason", "disk died")
    call(tmp_path, "run", "--plain")
    (row,) = json.loads(call(tmp_path, "status", "--json").stdout)
    assert (row["status"], row["note"]) == ("done", "lost: disk died")
    call(tmp_path, "day", "reopen", "2025-03-01", "--site", "1")
    assert json.loads(call(tmp_path, "status", "--json").stdout)[0]["status"] == "partial"
    assert "no site 7" in call(tmp_path, "day", "lost", "2025-03-01", "--site", "7", "--reason", "x", code=1).stderr


def test_a_folder_of_logs_with_no_settings_at_all(tmp_path: Path) -> None:
    (tmp_path / "some").mkdir()
    (tmp_path / "some/access.log").write_text(line("10:00:00") + "\n")
    call(tmp_path, "run", "--logs", "some")
    (item,) = json.loads(call(tmp_path, "items", "--json").stdout)
    assert (item["idsite"], item["identifier"], item["views"]) == (1, "1/1", 1)


def test_reading_commands_import_neither_dagster_nor_a_database_toolkit() -> None:
    code = "import sys, usage_stats_dagster.cli.main as m; print([x for x in ('dagster', 'sqlalchemy', 'matplotlib', 'pyarrow') if x in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_every_command_has_help() -> None:
    from typer.main import get_command

    from usage_stats_dagster.cli.main import app

    commands = get_command(app).commands  # type: ignore[attr-defined]
    assert set(commands) >= {
        "demo",
        "run",
        "status",
        "account",
        "items",
        "item",
        "volumes",
        "doctor",
        "logs",
        "rejects",
        "day",
    }
    assert all(c.help for c in commands.values())
