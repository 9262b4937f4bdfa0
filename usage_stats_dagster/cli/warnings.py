"""The command `warnings`: what looks wrong with the days' usage.

What belongs here: its options and table. What does not: the rules (`watch/`).
"""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from usage_stats_dagster.cli.common import open_workspace, window_option
from usage_stats_dagster.cli.failures import failures
from usage_stats_dagster.cli.output import Format, emit, fail, failing
from usage_stats_dagster.cli.reads import parse_sites

if TYPE_CHECKING:
    from usage_stats_dagster.pipeline.workspace import Workspace

FormatOption = typer.Option(Format.table, "--format", help="How the answer is written.")
JsonOption = typer.Option(False, "--json", help="Answer and errors as JSON.")
OutputOption = typer.Option(None, "--output", "-o", help="Write the answer to this file.")


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("warnings")(warnings_command)


def warnings_command(
    day: str | None = typer.Option(None, "--day", help="One day, YYYY-MM-DD."),
    first: str | None = typer.Option(
        None, "--from", help="First day, YYYY-MM-DD or YYYY-MM; default a month before the newest figures."
    ),
    last: str | None = typer.Option(None, "--to", help="Last day, YYYY-MM-DD or YYYY-MM; default today."),
    site: list[str] | None = typer.Option(None, "--site", help="Site id; several as 1,2 or by repeating."),
    strict: bool = typer.Option(False, "--strict", help="Exit code 1 when there is a warning, for scripts."),
    format: Format = FormatOption,
    json: bool = JsonOption,
    output: Path | None = OutputOption,
) -> None:
    """What looks wrong: missing hours and days, silent servers, spikes, content without items, robots."""
    from usage_stats_dagster.watch.look import look  # noqa: PLC0415

    format = Format.json if json else format
    with failing(*failures(), as_json=format is Format.json):
        sites = parse_sites(site)
        a, b = window_option(day, first, last)
        ws = open_workspace()
        found = look(ws, _days(ws, a, b), list(sites) if sites else None).findings
        if not found.height and format is Format.table:
            typer.echo("nothing looks wrong", err=True)
            return
        kinds = found["warning"].value_counts(sort=True)
        note = ", ".join(f"{n} {k.replace('_', ' ')}" for k, n in kinds.iter_rows())
        shown = found if format is not Format.table else found.drop("value", "usual")
        emit(shown, format, title="Warnings", out=output, note=f"{note}; docs/warnings.md says what each means")
        if strict and found.height:
            fail(f"{found.height} warning{'s' if found.height > 1 else ''}", as_json=format is Format.json)


def _days(ws: Workspace, first: date | None, last: date | None) -> list[date] | None:
    """The days of the options; None without any."""
    if first is None and last is None:
        return None
    today = ws.settings.today()
    end = min(last or today, today)
    start = max(first or ws.settings.platform.start_date, ws.settings.platform.start_date)
    return [start + timedelta(k) for k in range((end - start).days + 1)]
