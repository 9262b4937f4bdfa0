"""The commands of upkeep: `doctor`, `backup`, `restore`.

What belongs here: their options and tables. What does not: what they do (`pipeline/doctor.py`, `pipeline/backup/`).
"""

from __future__ import annotations

import polars as pl
import typer

from usage_stats_dagster.cli.common import open_workspace
from usage_stats_dagster.cli.days import FormatOption, JsonOption
from usage_stats_dagster.cli.failures import failures
from usage_stats_dagster.cli.output import Format, emit, fail, failing


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("doctor")(doctor_command)


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
