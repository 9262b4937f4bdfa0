"""The commands that work: `run` and `demo`.

What belongs here: options, progress, and the summary afterwards. What does not: the work (`pipeline/`, `defs/run.py`).
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import typer

from usage_stats_dagster.cli.common import open_workspace, progress_bar, window_option
from usage_stats_dagster.cli.failures import failures
from usage_stats_dagster.cli.output import Format, UsageError, emit, failing
from usage_stats_dagster.cli.reads import parse_sites

if TYPE_CHECKING:
    from usage_stats_dagster.pipeline.workspace import Workspace

DEMO_DAYS = 7
DEMO_SEED = 7
DEMO_FIRST = date(2025, 3, 1)


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("run")(run_command)
    app.command("demo")(demo_command)


def run_command(
    day: str | None = typer.Option(None, "--day", help="The day to make, YYYY-MM-DD."),
    first: str | None = typer.Option(None, "--from", help="First day."),
    last: str | None = typer.Option(None, "--to", help="Last day."),
    sites: list[str] | None = typer.Option(None, "--sites", "--site", help="Site ids, such as 1,2; all by default."),
    logs: Path | None = typer.Option(None, "--logs", help="A folder that stands in for the configured log folders."),
    plain: bool = typer.Option(
        False, "--plain", help="The same stages without Dagster's record of the run: two seconds less."
    ),
    stale: bool = typer.Option(
        False, "--stale", help="The days whose figures were made under other rules or settings, and no others."
    ),
    json: bool = typer.Option(False, "--json", help="Errors as JSON on stderr."),
) -> None:
    """Import new logs and make the figures: of the days given, else of every day that has something new."""
    from usage_stats_dagster.pipeline.workspace import write_timings  # noqa: PLC0415

    with failing(*failures(), as_json=json):
        a, b = window_option(day, first, last)
        if (a is None) != (b is None) and not stale:
            msg = "give both --from and --to, or --day"
            raise UsageError(msg)
        ws = open_workspace(logs.resolve() if logs else None)
        chosen = parse_sites(sites)
        work(ws, a, b, sorted(chosen) if chosen else None, plain=plain, stale=stale)
        write_timings()


def work(
    ws: Workspace, first: date | None, last: date | None, sites: list[int] | None, *, plain: bool, stale: bool = False
) -> None:
    """Runs the graph and says what came of it; raises CommandError when a log could not be imported."""
    start = time.perf_counter()
    with progress_bar():
        if stale and plain:
            from usage_stats_dagster.pipeline.rerun import run_stale  # noqa: PLC0415

            days = run_stale(ws, first=first, last=last, sites=sites)
        elif stale:
            from usage_stats_dagster.defs.run import run_stale_graph  # noqa: PLC0415

            days = run_stale_graph(ws, first=first, last=last, sites=sites)
        elif plain:
            from usage_stats_dagster.pipeline.run import run  # noqa: PLC0415

            days = run(ws, first=first, last=last, sites=sites).days
        else:
            from usage_stats_dagster.defs.run import run_graph  # noqa: PLC0415

            days = run_graph(ws, first=first, last=last, sites=sites)
    seconds = time.perf_counter() - start
    if stale and not days:
        typer.echo("no day is stale: every figure is of today's rules and settings", err=True)
        return
    summarise(ws, days, sites, seconds)


def summarise(ws: Workspace, days: list[date], sites: list[int] | None, seconds: float) -> None:
    """Days made, and every log that waits for somebody."""
    from usage_stats_dagster.cli.days import status_frame, waiting_logs  # noqa: PLC0415

    if not days:
        typer.echo("nothing new: every log is imported and every loaded day is done", err=True)
    else:
        frame = status_frame(ws, sites, days[0], days[-1]).filter(pl.col("day").is_in(days))
        done = frame.filter(pl.col("status") == "done").height
        emit(frame.head(40), title=f"{done} of {frame.height} site-days done in {seconds:.1f} s")
    problems = waiting_logs(ws, sites)
    for path, message in problems:
        typer.echo(f"{typer.style('warning:', fg='yellow', bold=True)} {path}: {message}", err=True)


def demo_command(
    folder: Path = typer.Option(Path("demo"), "--folder", help="Where the demo goes; made anew if it is one already."),
    days: int = typer.Option(DEMO_DAYS, "--days", min=1, max=62, help="Days of logs."),
    json: bool = typer.Option(False, "--json", help="Errors as JSON on stderr."),
) -> None:
    """Make a sample of logs, run the whole graph over it, and show what comes out."""
    with failing(*failures(), as_json=json):
        _demo(folder, days)


def _demo(folder: Path, days: int) -> None:
    from usage_stats_dagster.cli.accounting import By, account_command  # noqa: PLC0415
    from usage_stats_dagster.samples.world import make_sample  # noqa: PLC0415

    mark = folder / ".usage-stats-demo"
    if folder.exists() and any(folder.iterdir()):
        if not mark.exists():
            msg = f"{folder} is there and is no demo: name another with --folder"
            raise UsageError(msg)
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    mark.touch()
    typer.echo(f"Making {days} days of logs of three sites in {folder}/logs …", err=True)
    sample = make_sample(folder, days=days, seed=DEMO_SEED, first_day=DEMO_FIRST)
    typer.echo(f"  {sample.lines:,} lines in {sample.files} files", err=True)
    home = Path.cwd()
    os.environ.pop("USAGE_STATS_CONFIG", None)
    os.chdir(folder)
    try:
        typer.echo("Running the graph: logs → visits, events → metrics → documents → index …", err=True)
        os.environ["DAGSTER_HOME"] = str(_dagster_home())
        work(open_workspace(), None, None, None, plain=False)
        typer.echo()
        from usage_stats_dagster.cli.reads import items  # noqa: PLC0415

        items(top=10)
        typer.echo()
        account_command(
            day=None, first=None, last=None, site=None, by=By.site, examples=False, format=Format.table, json=False, output=None
        )  # fmt: skip
    finally:
        os.chdir(home)
    me = Path(sys.argv[0])
    program = me.name if shutil.which(me.name) else os.path.relpath(me.resolve(), folder.resolve())
    typer.echo(
        f"\nLook further:\n  cd {folder}\n  {program} items --by month --countries --top 5\n  {program} volumes --by day\n"
        f"  {program} rejects\nSee it in Dagster: `make dev` in the project's folder, then open the address that it prints."
    )


def _dagster_home() -> Path:
    """Dagster's state of the demo, so that `make dev` shows the demo's runs."""
    home = Path("dagster_home").resolve()
    home.mkdir(exist_ok=True)
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\nnux: {enabled: false}\n")
    return home
