"""The command `usage-stats`: its commands put together, and errors that nobody caught turned into one line.

What belongs here: registration. What does not: any command (`run.py`, `days.py`, `reads.py`).

Modules are imported when their command is: `usage-stats items` must not pay for Dagster's import.
"""

from __future__ import annotations

import typer

from usage_stats_dagster import __version__
from usage_stats_dagster.cli import (
    accounting,
    days,
    output,
    reads,
    reindex,
    replay,
    rules,
    run,
    serve,
    upkeep,
    warnings,
)
from usage_stats_dagster.mirror import cli as mirror

app = typer.Typer(
    name="usage-stats",
    help="Usage statistics that can be trusted, from web-server logs: exact to the line, after any crash, in any order.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"usage-stats-dagster {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version."),
) -> None:
    """Usage statistics from web-server logs."""
    del version


run.register(app)
days.register(app)
accounting.register(app)
upkeep.register(app)
reads.register(app, days.volumes_frame)
mirror.register(app)
replay.register(app)
reindex.register(app)
serve.register(app)
rules.register(app)
warnings.register(app)


def main() -> None:
    """The entry point."""
    output.run(app)
