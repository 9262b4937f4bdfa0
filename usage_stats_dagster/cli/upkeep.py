"""The commands of upkeep: `doctor`, `backup`, `restore`.

What belongs here: their options and tables. What does not: what they do (`pipeline/doctor.py`, `pipeline/backup/`).
"""

from __future__ import annotations

from pathlib import Path

import polars as pl
import typer

from usage_stats_dagster.cli.common import open_workspace
from usage_stats_dagster.cli.days import FormatOption, JsonOption
from usage_stats_dagster.cli.failures import failures
from usage_stats_dagster.cli.output import Format, emit, fail, failing


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("doctor")(doctor_command)
    app.command("backup")(backup_command)
    app.command("restore")(restore_command)


def doctor_command(
    fix: bool = typer.Option(False, "--fix", help="Remove what nothing needs, and have logs whose hits are gone read again."),
    rebuild: bool = typer.Option(False, "--rebuild-ledger", help="Make the ledger anew from the lake."),
    format: Format = FormatOption, json: bool = JsonOption,
) -> None:  # fmt: skip
    """Looks at settings, folders, ledger, lake and index, and says what does not fit together or belongs to nothing."""
    from usage_stats_dagster.pipeline import doctor  # noqa: PLC0415

    format = Format.json if json else format
    with failing(*failures(), as_json=format is Format.json):
        ws = open_workspace()
        before = []
        if rebuild:
            before.append(doctor.rebuild_ledger(ws))
        if fix:
            before.append(doctor.fix(ws))
        table = pl.concat([*before, doctor.examine(ws)])
        emit(table, format, title="Doctor")
        wrong = table.filter(pl.col("state") == "wrong")
        if wrong.height:
            fail(f"{wrong.height} findings need a hand", as_json=format is Format.json)


def backup_command(
    file: Path,
    lake: bool = typer.Option(False, "--lake", help="The lake's tables too: everything that is needed elsewhere."),
    without_key: bool = typer.Option(False, "--without-key", help="Leave out the key of the visitors' hashes."),
    format: Format = FormatOption, json: bool = JsonOption,
) -> None:  # fmt: skip
    """Ledger, settings, visitors' key and embedded index into one archive (zip), while the system runs."""
    from usage_stats_dagster.pipeline.backup.archive import BackupError  # noqa: PLC0415
    from usage_stats_dagster.pipeline.backup.backup import backup, check_local  # noqa: PLC0415

    format = Format.json if json else format
    with failing(BackupError, *failures(), as_json=format is Format.json):
        ws = open_workspace()
        if lake:
            check_local(ws)
        report = backup(ws, file, lake=lake, key=not without_key)
        table = pl.DataFrame(report.parts, schema=["part", "members", "bytes"], orient="row")
        emit(table, format, title=f"{file}: {file.stat().st_size:,} bytes", note="\n".join(report.notes))
        if format is not Format.table:
            for note in report.notes:
                typer.echo(note, err=True)


def restore_command(
    file: Path,
    force: bool = typer.Option(False, "--force", help="Replace what is there already."),
    format: Format = FormatOption, json: bool = JsonOption,
) -> None:  # fmt: skip
    """Bring an archive's contents back, proven whole first, and look at the result as `doctor` does."""
    from usage_stats_dagster.pipeline import doctor  # noqa: PLC0415
    from usage_stats_dagster.pipeline.backup.archive import BackupError  # noqa: PLC0415
    from usage_stats_dagster.pipeline.backup.restore import restore  # noqa: PLC0415

    format = Format.json if json else format
    with failing(BackupError, *failures(), as_json=format is Format.json):
        ws, report = restore(file, force=force)
        rows = [(part, "restored", f"{count:,} {where}") for part, count, where in report.parts]
        rows += [("note", "note", n) for n in report.notes]
        table = pl.concat([pl.DataFrame(rows, schema=doctor.SCHEMA, orient="row"), doctor.examine(ws)])
        emit(table, format, title=f"Restored from {file}")
        wrong = table.filter(pl.col("state") == "wrong")
        if wrong.height:
            fail(f"{wrong.height} findings need a hand", as_json=format is Format.json)
