"""A day that is missing between others, or late: over for some time and without figures.

What belongs here: the rule, over the day statuses. What does not: the statuses (`pipeline/status.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from usage_stats_dagster.ledger.tables import DayStatus
from usage_stats_dagster.watch.findings import Finding

STATUSES_SCHEMA = pl.Schema(
    {
        "idsite": pl.Int32,
        "day": pl.Date,
        "status": pl.Int16,
        "decision": pl.String,
        "files_loaded": pl.Int32,
        "files_expected": pl.Int32,
    }
)

LIVE_DAYS = 31
"""A site without a day of its own for longer has been given up, or was imported from an archive: nothing of it is late."""


@dataclass(frozen=True)
class Extent:
    """A site's first and last day in the ledger."""

    first: date
    last: date


def missing_or_late(
    statuses: pl.DataFrame,
    extents: dict[int, Extent],
    first: date,
    last: date,
    *,
    today: date,
    late_days: int,
    expected: Callable[[int, date], int | None],
) -> Iterator[Finding]:
    """The sites' days from `first` to `last` (both included) that have no figures and should.

    A day should have figures when it lies between the site's first and last, or, while the site is live, once `late_days`
    have gone by since it ended. Days that an operator called lost, and those for which a site expects no log, are left out.
    """
    rows = {(r["idsite"], r["day"]): r for r in statuses.iter_rows(named=True)}
    due = today - timedelta(late_days + 1)
    for idsite, extent in sorted(extents.items()):
        live = extent.last >= today - timedelta(LIVE_DAYS)
        until = min(last, due) if live else min(last, due, extent.last)
        day = max(first, extent.first)
        while day <= until:
            row = rows.get((idsite, day))
            if not _settled(row) and expected(idsite, day) != 0:
                yield _finding(idsite, day, row, today)
            day += timedelta(1)


def _settled(row: dict[str, object] | None) -> bool:
    return row is not None and (row["status"] == DayStatus.DONE or row["decision"] == "lost")


def _finding(idsite: int, day: date, row: dict[str, object] | None, today: date) -> Finding:
    age = (today - day).days
    if row is None or row["status"] == DayStatus.QUEUE:
        message = "no log of the day: put it into the folder, or say `usage-stats day lost`"
    elif row["status"] == DayStatus.PARTIAL:
        wanted = row["files_expected"]
        logs = f"{row['files_loaded']} of {wanted} logs" if wanted is not None else "logs that are not whole"
        message = f"only {logs}: `usage-stats logs` says which"
    else:
        message = "its logs are there, its figures are not: `usage-stats run`"
    return Finding(idsite, day, "day_missing_or_late", f"{age} days ago, {message}", age, None)
