"""The command `usage-stats replay`.

What belongs here: options and what is printed. What does not: reading and sending the requests (`pipeline/replaying.py`).
"""

from __future__ import annotations

from pathlib import Path

import polars as pl
import typer

from usage_stats_dagster.cli.common import open_workspace
from usage_stats_dagster.cli.failures import failures
from usage_stats_dagster.cli.output import Format, UsageError, emit, fail, failing
from usage_stats_dagster.cli.reads import parse_sites

_SCHEMA = {
    "idsite": pl.Int64,
    "sent": pl.Int64,
    "refused": pl.Int64,
    "resolved": pl.Int64,
    "resent": pl.Int64,
    "message": pl.String,
}


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("replay")(replay_command)


def replay_command(
    files: list[Path],
    sites: list[str] | None = typer.Option(None, "--sites", "--site", help="Site ids, such as 1,2; all by default."),
    format: Format = typer.Option(Format.table, "--format", help="How the answer is written."),
    json: bool = typer.Option(False, "--json", help="Answer and errors as JSON."),
) -> None:
    """Send files of raw tracker requests (query strings or JSON lines, gzip too) to Matomo: each request exactly once."""
    from usage_stats_dagster.matomo.http import MatomoError  # noqa: PLC0415
    from usage_stats_dagster.pipeline.replaying import replay  # noqa: PLC0415

    format = Format.json if json else format
    with failing(*failures(), as_json=format is Format.json):
        ws = open_workspace()
        if not ws.settings.matomo.url:
            msg = "matomo.url is not set: the address of the Matomo to send to"
            raise UsageError(msg)
        chosen = parse_sites(sites)
        read, sent = replay(ws, files, list(chosen) if chosen else None)
        for f in read:
            for reason, n in sorted(f.rejected.items()):
                typer.echo(f"{f.path}: {n} lines passed over: {reason}", err=True)
            if f.damage:
                typer.echo(f"{f.path}: {f.damage}", err=True)
        rows = []
        for idsite, r in sorted(sent.items()):
            if isinstance(r, MatomoError):
                rows.append({"idsite": idsite, "message": str(r)})
            else:
                counts = {"sent": r.requests, "refused": r.refused, "resolved": r.resolved, "resent": r.resent}
                rows.append({"idsite": idsite, **counts, "message": "; ".join(r.said) or None})
        emit(pl.DataFrame(rows, schema=_SCHEMA), format, title="Replayed")
        stopped = [i for i, r in sent.items() if isinstance(r, MatomoError)]
        if stopped:
            fail(
                f"sites {stopped} stopped: say it again, and it goes on where it stopped", as_json=format is Format.json
            )
