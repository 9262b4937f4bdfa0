"""What the commands say about changed rules: `status --stale`, `diff`.

What belongs here: their options and tables. What does not: which days are stale (`pipeline/stale.py`), what a re-run
would change (`pipeline/diff.py`).
"""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import typer

from usage_stats_dagster.cli.common import open_workspace, progress_bar, window_option
from usage_stats_dagster.cli.failures import failures
from usage_stats_dagster.cli.output import Format, UsageError, emit, failing
from usage_stats_dagster.cli.reads import parse_metric, parse_sites

if TYPE_CHECKING:
    from usage_stats_dagster.pipeline.diff import Diff
    from usage_stats_dagster.pipeline.workspace import Workspace

FormatOption = typer.Option(Format.table, "--format", help="How the answer is written.")
JsonOption = typer.Option(False, "--json", help="Answer and errors as JSON.")
OutputOption = typer.Option(None, "--output", "-o", help="Write the answer to this file.")
FromOption = typer.Option(None, "--from", help="First day, YYYY-MM-DD or YYYY-MM.")
ToOption = typer.Option(None, "--to", help="Last day, YYYY-MM-DD or YYYY-MM (to the month's end).")
DayOption = typer.Option(None, "--day", help="One day, YYYY-MM-DD.")
SiteOption = typer.Option(None, "--site", help="Site id; several as 1,2 or by repeating.")

_SHOWN = 20  # items that a table shows unless told


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("diff")(diff_command)


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
    notes = [
        f"{_days(days.height)}; `usage-stats diff` says what a re-run would change, `usage-stats run --stale` does it"
    ]
    if gone := days["gone"].count():
        notes.append(
            f"{_days(gone)} with a log (`gone`) that would have to be read again and is not there any more: put it back; "
            "without it the day keeps its hits as they were imported, and stays stale"
        )
    if waiting := _that_wait(ws, days):
        notes.append(
            f"{_days(waiting)} without all logs, and with the old figures till these come: `usage-stats status` says which, "
            "`usage-stats day partial` or `day lost` goes on without"
        )
    emit(table, format, title="Stale days", out=output, note="\n".join(notes))


def _days(n: int) -> str:
    return f"{n:,} site-day{'s' if n != 1 else ''}"


def _that_wait(ws: Workspace, days: pl.DataFrame) -> int:
    """How many of the days no run makes now: their logs are not all there."""
    from usage_stats_dagster.pipeline.status import goes_on  # noqa: PLC0415

    stale = set(days.select("idsite", "day").iter_rows())
    rows = ws.ledger.statuses(sorted({s for s, _ in stale}), days["day"].min(), days["day"].max())  # type: ignore[arg-type]
    return sum(1 for r in rows if (r["idsite"], r["day"]) in stale and not goes_on(r))


class By(StrEnum):
    """What a row of the answer is."""

    month = "month"
    item = "item"


def diff_command(
    day: str | None = DayOption,
    first: str | None = FromOption,
    last: str | None = ToOption,
    site: list[str] | None = SiteOption,
    by: By = typer.Option(By.month, "--by", help="Rows of csv, json and parquet; a table shows both."),
    metric: str = typer.Option("total_item_investigations", "--metric", help="What changed items are ranked by."),
    top: int | None = typer.Option(None, "--top", min=1, help=f"So many items; default all, in a table {_SHOWN}."),
    scratch: Path | None = typer.Option(
        None, "--scratch", help="A folder with room for a month of a site's tables; default the system's for such."
    ),
    format: Format = FormatOption,
    json: bool = JsonOption,
    output: Path | None = OutputOption,
) -> None:
    """What `run --stale` would change in the figures, computed beside what is stored and thrown away."""
    from usage_stats_dagster.pipeline.diff import diff, top_items  # noqa: PLC0415

    format = Format.json if json else format
    with failing(*failures(), as_json=format is Format.json):
        metric = parse_metric(metric)
        sites = parse_sites(site)
        if scratch is not None and not scratch.is_dir():
            msg = f"--scratch {scratch}: no such folder"
            raise UsageError(msg)
        with progress_bar():
            a, b = window_option(day, first, last)
            found = diff(open_workspace(), list(sites) if sites else None, a, b, folder=scratch)
        if format is not Format.table:
            emit(found.months if by is By.month else top_items(found, metric, top), format, out=output)
            return
        if not found.stale.height:
            typer.echo("no day is stale: a re-run would change nothing", err=True)
            return
        _show(found, top_items(found, metric, top or _SHOWN), metric, output)


def _show(found: Diff, items: pl.DataFrame, metric: str, output: Path | None) -> None:
    from usage_stats_dagster.pipeline.stale import reasons_in_words  # noqa: PLC0415

    notes = [reasons_in_words(found.stale)]
    gone = found.stale["gone"].count()
    if gone:
        notes.append(
            f"on {gone} of them a log that would be read again is gone: its hits stay as they were imported "
            "(`usage-stats status --stale` names it)"
        )
    if not found.changes:
        notes.append("a re-run would change the rules version of their documents, and no figure")
    changed = found.months.filter(pl.col("change") != 0).with_columns(pl.col("month").dt.strftime("%Y-%m"))
    shown = changed.with_columns(pl.col("percent").round(2))
    emit(shown, title="What a re-run of the stale days would change", out=output, note="\n".join(notes))
    if items.height and output is None:
        typer.echo()
        emit(items, title=f"Items by change of {metric.replace('_', ' ')}")
