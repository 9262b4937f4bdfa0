"""The command `usage-stats reindex`.

What belongs here: options and what is printed. What does not: making an index anew (`pipeline/reindexing.py`).
"""

from __future__ import annotations

import polars as pl
import typer

from usage_stats_dagster.cli.common import open_workspace, progress_bar
from usage_stats_dagster.cli.failures import failures
from usage_stats_dagster.cli.output import Format, emit, failing
from usage_stats_dagster.cli.reads import parse_sites


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("reindex")(reindex_command)


def reindex_command(
    sites: list[str] | None = typer.Option(None, "--sites", "--site", help="Site ids, such as 1,2; all by default."),
    replace_foreign: bool = typer.Option(
        False,
        "--replace-foreign",
        help="Delete an OpenSearch index of a site's name that another program made, once ours is whole.",
    ),
    format: Format = typer.Option(Format.table, "--format", help="How the answer is written."),
    json: bool = typer.Option(False, "--json", help="Answer and errors as JSON."),
) -> None:
    """Make the index anew from the lake: beside the old one, which readers see until the new one is whole."""
    from usage_stats_dagster.pipeline.reindexing import reindex  # noqa: PLC0415

    format = Format.json if json else format
    with failing(*failures(), as_json=format is Format.json):
        ws, chosen = open_workspace(), parse_sites(sites)
        with progress_bar():
            made = list(reindex(ws, list(chosen) if chosen else None, replace_foreign=replace_foreign))
        rows = [(r.idsite, r.periods, r.documents) for r in made]
        schema = {"idsite": pl.Int64, "periods": pl.Int64, "documents": pl.Int64}
        emit(pl.DataFrame(rows, schema, orient="row"), format, title="Indexed anew from the lake")
