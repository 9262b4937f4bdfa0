"""All stages after one another, without Dagster: what tests and benchmarks call, and what the Dagster graph does too.

What belongs here: the order of the stages. What does not: the stages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

from usage_stats_dagster.pipeline import status
from usage_stats_dagster.pipeline.documents import make_documents
from usage_stats_dagster.pipeline.figures import make_metrics
from usage_stats_dagster.pipeline.imports import ImportReport, import_logs
from usage_stats_dagster.pipeline.indexing import index_documents
from usage_stats_dagster.pipeline.sending import make_sent
from usage_stats_dagster.pipeline.stage import StageReport, Work, by_turns, for_days
from usage_stats_dagster.pipeline.tracking import make_visits_events
from usage_stats_dagster.pipeline.workspace import Workspace

STAGES: dict[str, Work] = {
    "matomo_sent": by_turns(make_sent),
    "visits_events": make_visits_events,
    "filtered_metrics": make_metrics,
    "documents": make_documents,
    "indexed_documents": index_documents,
}
"""The stages that work on a site's day, in order."""

MAX_ROUNDS = 4


@dataclass
class RunReport:
    """What a run did."""

    imports: ImportReport
    stages: list[StageReport] = field(default_factory=list)

    @property
    def days(self) -> list[date]:
        """Days on which a stage worked."""
        return sorted({s.day for s in self.stages})


def run(
    ws: Workspace, *, first: date | None = None, last: date | None = None, sites: Sequence[int] | None = None
) -> RunReport:
    """Imports pending logs and makes the figures of the days given, or of those that have something new.

    A day whose next day's first seconds have changed is made anew too: its last double clicks depend on them.
    """
    report = RunReport(import_logs(ws, sites=sites, first=first, last=last))
    if first is not None and last is not None:
        days = [first + timedelta(k) for k in range((last - first).days + 1)]
        report.stages += run_days(ws, days, sites)
    for _ in range(MAX_ROUNDS):
        window = (ws.settings.day_before(first), last) if first is not None and last is not None else (None, None)
        due = sorted({d for _, d in status.days_to_run(ws, sites, window)})
        if not due:
            break
        report.stages += run_days(ws, due, sites)
    return report


def run_days(ws: Workspace, days: Sequence[date], sites: Sequence[int] | None = None) -> list[StageReport]:
    """Every stage over the days, stage by stage: a day's metrics see the next day's events."""
    stages = {n: w for n, w in STAGES.items() if n != "matomo_sent" or ws.settings.matomo.send}
    return [r for name, work in stages.items() for r in for_days(ws, name, work, days, sites)]
