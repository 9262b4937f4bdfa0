"""What the commands say about changed rules: `status --stale`, `diff`.

What belongs here: their options and tables. What does not: which days are stale (`pipeline/stale.py`), what a re-run
would change (`pipeline/diff.py`).
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from usage_stats_dagster.cli.output import Format, emit

if TYPE_CHECKING:
    from usage_stats_dagster.pipeline.workspace import Workspace


def show_stale(
    ws: Workspace, sites: list[int] | None, first: date | None, last: date | None, format: Format, output: Path | None
) -> None:
    """A row a stale site-day; in a table a row a stretch of days that are stale for one reason."""
    from usage_stats_dagster.pipeline.stale import stale_days, stretches  # noqa: PLC0415

    days = stale_days(ws, sites, first, last)
    if format is not Format.table:
        emit(days, format, out=output)
        return
    if not days.height:
        typer.echo("no day is stale: every figure is of today's rules and settings", err=True)
        return
    table = stretches(days)
    if not table["gone"].count():
        table = table.drop("gone")
    note = (
        f"{days.height:,} site-days; `usage-stats diff` says what a re-run would change, `usage-stats run --stale` does it"
    )
    emit(table, format, title="Stale days", out=output, note=note)
