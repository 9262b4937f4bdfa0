"""The command `usage-stats mirror`.

What belongs here: options and what is printed. What does not: the work (`stage.py`).
"""

# ruff: noqa: B008  (typer's options are calls in defaults)
from __future__ import annotations

import polars as pl
import typer

from usage_stats_dagster.cli.common import open_workspace, progress_bar
from usage_stats_dagster.cli.failures import failures
from usage_stats_dagster.cli.output import Format, emit, failing
from usage_stats_dagster.cli.reads import parse_range, parse_sites

_SCHEMA = {
    "day": pl.Date,
    "idsite": pl.Int64,
    "events": pl.Int64,
    "mirrored": pl.Int64,
    "inserted": pl.Int64,
    "removed": pl.Int64,
    "robots_left_out": pl.Int64,
}


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("mirror")(mirror_command)


def mirror_command(
    first: str | None = typer.Option(None, "--from", help="First day; without it, where the mirror left off."),
    last: str | None = typer.Option(None, "--to", help="Last day; tomorrow by default."),
    sites: list[str] | None = typer.Option(None, "--sites", "--site", help="Site ids, such as 1,2; all by default."),
    format: Format = typer.Option(Format.table, "--format", help="table, csv, json or parquet."),
    json: bool = typer.Option(False, "--json", help="Errors as JSON on stderr."),
) -> None:
    """Copy the lake's events to SocialGouv's table in PostgreSQL: each day replaced as a whole."""
    from usage_stats_dagster.mirror.stage import mirror_since  # noqa: PLC0415
    from usage_stats_dagster.mirror.table import MirrorError  # noqa: PLC0415

    with failing(MirrorError, *failures(), as_json=json):
        start, end = parse_range(first, last)
        chosen = parse_sites(sites)
        with progress_bar():
            reports = mirror_since(open_workspace(), start, end, chosen)
        if not reports:
            typer.echo("nothing to mirror: the lake has no events of these days; see `usage-stats status`", err=True)
            return
        frame = pl.DataFrame([{"day": r.day, "idsite": r.idsite, **r.counts} for r in reports], schema=_SCHEMA)
        emit(frame.sort("day", "idsite"), format, title=f"{frame.height} site-days mirrored")
