"""What the commands share: opening the platform, parsing dates and sites, progress.

What belongs here: option parsing with messages that say what is wanted. What does not: printing answers (`output.py`).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from usage_stats_dagster.cli.output import UsageError
from usage_stats_dagster.cli.reads import parse_day, parse_range
from usage_stats_dagster.settings import SettingsError, current_settings

if TYPE_CHECKING:
    from usage_stats_dagster.pipeline.workspace import Workspace


def open_workspace(logs_dir: Path | None = None) -> Workspace:
    """The platform of the settings in force; a wrong setting is a usage error."""
    from usage_stats_dagster.pipeline.workspace import Workspace  # noqa: PLC0415

    try:
        settings = current_settings()
    except SettingsError as e:
        raise UsageError(str(e)) from e
    if logs_dir is not None and not logs_dir.is_dir():
        msg = f"--logs {logs_dir}: no such folder"
        raise UsageError(msg)
    return Workspace(settings, logs_dir)


def window_option(day: str | None, first: str | None, last: str | None) -> tuple[date | None, date | None]:
    """--day, or --from and --to (both included; one alone leaves the other end open)."""
    if day is None:
        return parse_range(first, last)
    if first is not None or last is not None:
        msg = "--day stands alone; use --from and --to for a range"
        raise UsageError(msg)
    return parse_day("--day", day, last=False), parse_day("--day", day, last=True)


@contextmanager
def progress_bar() -> Iterator[None]:
    """Shows progress on stderr: bars on a terminal, a plain line a stage otherwise."""
    from usage_stats_dagster.pipeline.workspace import listener  # noqa: PLC0415

    if not sys.stderr.isatty():
        seen: set[str] = set()

        def plain(what: str, done: int, total: int) -> None:
            if total and what not in seen:
                seen.add(what)
                print(f"{what} …", file=sys.stderr)
            del done

        token = listener.set(plain)
        try:
            yield
        finally:
            listener.reset(token)
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:<28}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, int] = {}

        def show(what: str, done: int, total: int) -> None:
            if not total:  # lines of one log: tell them beside the bar
                last = next(reversed(tasks), None)
                if last is not None:
                    bar.update(tasks[last], description=f"{what[:18]} {done:,}")  # type: ignore[arg-type]
                return
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done, total=total)  # type: ignore[arg-type]

        token = listener.set(show)
        try:
            yield
        finally:
            listener.reset(token)
