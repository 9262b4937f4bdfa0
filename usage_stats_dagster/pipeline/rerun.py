"""Making stale days anew, and no others: which days, in which batches, and what follows from them.

What belongs here: the order. What does not: which days are stale (`stale.py`), running a day (`run.py`, or Dagster's graph
in `defs/run.py`, whichever the caller hands in).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date

from usage_stats_dagster.pipeline import status
from usage_stats_dagster.pipeline.imports import import_logs
from usage_stats_dagster.pipeline.run import MAX_ROUNDS, run_days
from usage_stats_dagster.pipeline.stale import batches_of, stale_days
from usage_stats_dagster.pipeline.workspace import Workspace

Make = Callable[[Sequence[date], list[int]], object]
"""Imports the outdated logs of days and sites and runs every stage over them."""


def run_stale(
    ws: Workspace,
    *,
    first: date | None = None,
    last: date | None = None,
    sites: Sequence[int] | None = None,
    make: Make | None = None,
) -> list[date]:
    """Makes the site-days of the window anew whose figures are of other rules than today's; returns the days made.

    Logs that were imported under other settings are imported again where they are still there. The day before a stale one
    is made too where its last double clicks change by it, and so are days that got other lines by an import.
    """
    make = make or _maker(ws)
    stale = stale_days(ws, sites, first, last)
    if not stale.height:
        return []
    done: set[date] = set()
    for chosen, days in batches_of(stale):
        make(days, chosen)
        done.update(days)
    chosen = stale["idsite"].unique().sort().to_list()
    days = stale["day"].sort().to_list()
    until = ws.settings.day_after(days[-1])
    window = (ws.settings.day_before(days[0]), min(until, last) if last else until)
    for _ in range(MAX_ROUNDS):
        due = status.days_to_run(ws, chosen, window)
        if not due:
            break
        make(sorted({d for _, d in due}), sorted({s for s, _ in due}))
        done.update(d for _, d in due)
    return sorted(done)


def _maker(ws: Workspace) -> Make:
    def make(days: Sequence[date], sites: list[int]) -> None:
        import_logs(ws, sites=sites, first=days[0], last=days[-1])
        run_days(ws, days, sites)

    return make
