"""The commands about days and logs: `status`, `logs`, `day`.

What belongs here: their options and tables. What does not: the decisions behind them (`pipeline/`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import typer

from usage_stats_dagster.cli.common import open_workspace, window_option
from usage_stats_dagster.cli.failures import failures
from usage_stats_dagster.cli.output import CommandError, Format, UsageError, emit, failing
from usage_stats_dagster.cli.reads import parse_day, parse_sites
from usage_stats_dagster.cli.rules import show_stale

if TYPE_CHECKING:
    from usage_stats_dagster.pipeline.workspace import Workspace

FormatOption = typer.Option(Format.table, "--format", help="How the answer is written.")
JsonOption = typer.Option(False, "--json", help="Answer and errors as JSON.")
OutputOption = typer.Option(None, "--output", "-o", help="Write the answer to this file.")
FromOption = typer.Option(None, "--from", help="First day, YYYY-MM-DD.")
ToOption = typer.Option(None, "--to", help="Last day, YYYY-MM-DD.")
DayOption = typer.Option(None, "--day", help="One day, YYYY-MM-DD.")
SiteOption = typer.Option(None, "--site", help="Site id; several as 1,2 or by repeating.")

_STATUS_SCHEMA = pl.Schema(
    {
        "day": pl.Date, "idsite": pl.Int32, "status": pl.String, "files_loaded": pl.Int32, "files_expected": pl.Int32,
        "events": pl.Int64, "robots": pl.Int64, "views": pl.Int64, "downloads": pl.Int64, "note": pl.String,
    }
)  # fmt: skip
_LOGS_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "idsite": pl.Int32, "path": pl.String, "status": pl.String, "format": pl.String, "lines": pl.Int64,
    "first_time": pl.Datetime("us"), "last_time": pl.Datetime("us"), "message": pl.String,
}  # fmt: skip
_VOLUMES = ("events", "robots", "visits", "views", "downloads", "searches")


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("status")(status_command)
    logs = typer.Typer(
        help="The logs: which are imported, which wait, and what an operator says of one.", invoke_without_command=True
    )
    logs.callback()(logs_command)
    logs.command("accept")(accept_command)
    logs.command("ignore")(ignore_command)
    app.add_typer(logs, name="logs")
    day = typer.Typer(help="An operator's word on a site's day.", no_args_is_help=True)
    day.command("lost")(lost_command)
    day.command("partial")(partial_command)
    day.command("reopen")(reopen_command)
    app.add_typer(day, name="day")


def status_command(
    day: str | None = DayOption, first: str | None = FromOption, last: str | None = ToOption, site: list[str] | None = SiteOption,
    stale: bool = typer.Option(False, "--stale", help="Only days whose figures are of other rules or settings, and why."),
    format: Format = FormatOption, json: bool = JsonOption, output: Path | None = OutputOption,
) -> None:  # fmt: skip
    """How far each site's day has come: queue, partial, loaded, pretable, calculated, done."""
    format = Format.json if json else format
    with failing(*failures(), as_json=format is Format.json):
        ws, sites = open_workspace(), parse_sites(site)
        if stale:
            show_stale(ws, list(sites) if sites else None, *window_option(day, first, last), format, output)
            return
        frame = status_frame(ws, list(sites) if sites else None, *window_option(day, first, last))
        if not frame.height and format is Format.table:
            typer.echo("no day is known yet: put logs into logs/<site id>/ and say `usage-stats run`", err=True)
            return
        counts = frame.group_by("status").len().sort("len", descending=True)
        emit(
            frame,
            format,
            title="Days",
            out=output,
            note="\n".join([", ".join(f"{n} {s}" for s, n in counts.iter_rows()), *_sending_waits(ws, sites)]),
        )


def _sending_waits(ws: Workspace, sites: Sequence[int] | None) -> list[str]:
    """Sites whose sending to Matomo waits, and why."""
    if not ws.settings.matomo.send:
        return []
    from usage_stats_dagster.matomo.positions import Positions  # noqa: PLC0415

    messages = sorted(Positions(ws.ledger).messages().items())
    return [f"site {s}: sending to Matomo waits: {m}" for s, m in messages if sites is None or s in sites]


def status_frame(ws: Workspace, sites: list[int] | None, first: date | None, last: date | None) -> pl.DataFrame:
    """The day-status table; days without any log between a site's first and last are there too, as queue."""
    from usage_stats_dagster.ledger.tables import DayStatus  # noqa: PLC0415

    rows = []
    before: tuple[int, date] | None = None
    for r in ws.ledger.statuses(sites, first, last):
        while before is not None and before[0] == r["idsite"] and before[1] + timedelta(1) < r["day"]:
            before = (before[0], before[1] + timedelta(1))
            expected = ws.settings.site(before[0]).expected_files(before[1])
            rows.append(
                {
                    "day": before[1],
                    "idsite": before[0],
                    "status": "queue",
                    "files_loaded": 0,
                    "files_expected": expected,
                    "note": "no log",
                }
            )
        before = (r["idsite"], r["day"])
        counts = r["counts"] or {}
        note = [f"{r['decision']}: {r['reason'] or 'by the operator'}"] if r["decision"] else []
        rows.append(
            {
                "day": r["day"], "idsite": r["idsite"], "status": DayStatus(r["status"]).label, "files_loaded": r["files_loaded"],
                "files_expected": r["files_expected"], **{c: counts.get(c) for c in ("events", "robots", "views", "downloads")},
                "note": "; ".join([*note, *([r["message"]] if r["message"] else [])]) or None,
            }
        )  # fmt: skip
    return pl.DataFrame(rows, schema=_STATUS_SCHEMA).sort("day", "idsite")


def volumes_frame(
    _settings: object, sites: tuple[int, ...] | None, first: date | None, last: date | None
) -> pl.DataFrame:
    """Counts by site and day from the ledger: idsite, day, events, robots, visits, views, downloads, searches."""
    schema = {"idsite": pl.Int32, "day": pl.Date, **dict.fromkeys(_VOLUMES, pl.Int64)}
    rows = open_workspace().ledger.statuses(sites, first, last)
    return pl.DataFrame(
        [
            {"idsite": r["idsite"], "day": r["day"], **{c: (r["counts"] or {}).get(c, 0) for c in _VOLUMES}}
            for r in rows
        ],
        schema=schema,
    )


def waiting_logs(ws: Workspace, sites: list[int] | None) -> list[tuple[str, str]]:
    """Logs that could not be imported, and folders that are no site's: (path, message)."""
    from usage_stats_dagster.ledger.tables import LogStatus  # noqa: PLC0415
    from usage_stats_dagster.pipeline.imports import find  # noqa: PLC0415

    found = find(ws, sites)
    stuck = (LogStatus.FAILED, LogStatus.INVALID, LogStatus.HELD)
    paths = {(f.idsite, str(f.path)) for f in found.logs}
    rows = [
        (r["path"], r["message"] or "")
        for s, known in ws.ledger.paths_of(found.sites).items()
        for r in known
        if r["status"] in stuck and (s, r["path"]) in paths
    ]
    return [*found.problems, *rows]


def logs_command(
    context: typer.Context,
    site: list[str] | None = SiteOption,
    format: Format = FormatOption,
    json: bool = JsonOption,
    output: Path | None = OutputOption,
) -> None:
    """Every path that was looked at, and what became of it."""
    if context.invoked_subcommand is not None:
        return
    from usage_stats_dagster.ledger.tables import LogStatus  # noqa: PLC0415

    format = Format.json if json else format
    with failing(*failures(), as_json=format is Format.json):
        ws = open_workspace()
        sites = parse_sites(site)
        rows = []
        for idsite in sorted({r["idsite"] for r in ws.ledger.all_paths()}):
            if sites and idsite not in sites:
                continue
            logs = {r["identity"]: r for r in ws.ledger.logs(idsite)}
            for r in sorted(ws.ledger.paths(idsite).values(), key=lambda r: r["path"]):
                log = logs.get(r["identity"])
                rows.append(
                    {
                        "idsite": idsite, "path": r["path"], "status": r["decision"] or LogStatus(r["status"]).name.lower(),
                        "format": log["format"] if log else None, "lines": log["lines"] if log else None,
                        "first_time": log["first_time"] if log else None, "last_time": log["last_time"] if log else None, "message": r["message"],
                    }
                )  # fmt: skip
        emit(pl.DataFrame(rows, schema=_LOGS_SCHEMA), format, title="Logs", out=output)


def accept_command(path: Path) -> None:
    """Import a log that is held back although most of its lines stand in another."""
    _decide_log(path, "accept", "it is imported at the next `usage-stats run`")


def ignore_command(path: Path) -> None:
    """Leave a log out for good."""
    _decide_log(path, "ignore", "it is left out from now on")


def _decide_log(path: Path, decision: str, then: str) -> None:
    with failing(*failures()):
        ws = open_workspace()
        rows = [
            r for r in ws.ledger.all_paths() if Path(r["path"]) == path or Path(r["path"]).resolve() == path.resolve()
        ]
        if not rows:
            msg = f"{path} was never looked at: `usage-stats logs` lists the paths that are known"
            raise CommandError(msg)
        from usage_stats_dagster.pipeline.decisions import remember_path  # noqa: PLC0415
        from usage_stats_dagster.pipeline.status import refresh  # noqa: PLC0415

        with ws.writing():
            for r in rows:
                remember_path(ws.lake, r["idsite"], r["path"], decision)
            with ws.ledger.write() as c:
                for r in rows:
                    ws.ledger.put_path(c, r["idsite"], r["path"], decision=decision)
            refresh(ws, [(r["idsite"], r["log_date"]) for r in rows if r["log_date"]], {r["idsite"] for r in rows})
        typer.echo(f"{path}: {then}")


def lost_command(
    day: str,
    site: int = typer.Option(..., "--site"),
    reason: str = typer.Option(..., "--reason", help="Why, for the record."),
) -> None:
    """The rest of the day's logs is lost: figures are made of what there is."""
    _decide_day(day, site, "lost", reason)


def partial_command(
    day: str, site: int = typer.Option(..., "--site"), reason: str = typer.Option("partial figures wanted", "--reason")
) -> None:
    """Make figures of the day although logs are still missing; a log that comes later is added."""
    _decide_day(day, site, "partial", reason)


def reopen_command(day: str, site: int = typer.Option(..., "--site")) -> None:
    """Take back what was said of the day."""
    _decide_day(day, site, None, None)


def _decide_day(day: str, site: int, decision: str | None, reason: str | None) -> None:
    from usage_stats_dagster.pipeline.status import decide  # noqa: PLC0415

    with failing(*failures()):
        d = parse_day("DAY", day, last=False)
        if d is None:
            msg = "which day? YYYY-MM-DD"
            raise UsageError(msg)
        ws = open_workspace()
        known = {s.id for s in ws.settings.sites} | {r["idsite"] for r in ws.ledger.statuses()}
        if site not in known:
            msg = f"no site {site}: there are {', '.join(map(str, sorted(known))) or 'none yet'}"
            raise CommandError(msg)
        decide(ws, site, d, decision, reason)
        typer.echo(f"site {site}, {d}: {decision or 'reopened'}; `usage-stats run` makes its figures")
