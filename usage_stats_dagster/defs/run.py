"""The Dagster graph run from this process: what `usage-stats run` does.

What belongs here: materialising days in order, with the instance of DAGSTER_HOME or a passing one. What does not: the
graph (`definitions.py`), what the terminal shows (`cli/`).
"""

import os
import re
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import dagster as dg

from usage_stats_dagster.definitions import ASSETS, SCHEMA_CHECKS, WARNING_CHECKS
from usage_stats_dagster.pipeline import status
from usage_stats_dagster.pipeline.run import MAX_ROUNDS
from usage_stats_dagster.pipeline.stage import StageError
from usage_stats_dagster.pipeline.workspace import Workspace
from usage_stats_dagster.resources.platform import PlatformResource

OUR_ERROR = r"^usage_stats_dagster\.[\w.]+: "
"""What Dagster puts before the message of an error: with ours, the message is enough."""


class RunFailedError(StageError):
    """A run of the graph failed; the message is the step's own."""


def materialise(days: Sequence[date], *, sites: list[int] | None, logs_dir: Path | None) -> None:
    """Runs the whole graph for the days (contiguous stretches as one run each); raises RunFailedError."""
    instance = dg.DagsterInstance.get() if os.environ.get("DAGSTER_HOME") else dg.DagsterInstance.ephemeral()
    config = {"config": {"sites": sites}} if sites is not None else {}
    ops = [a.op.name for a in ASSETS]
    with instance:
        for first, last in stretches(days):
            where = (
                {"partition_key": str(first)}
                if first == last
                else {
                    "tags": {
                        "dagster/asset_partition_range_start": str(first),
                        "dagster/asset_partition_range_end": str(last),
                    }
                }
            )
            result = dg.materialize(
                [*ASSETS, *SCHEMA_CHECKS, *WARNING_CHECKS],
                instance=instance,
                resources={"platform": PlatformResource(logs_dir=str(logs_dir) if logs_dir else None)},
                run_config={
                    "ops": dict.fromkeys(ops, config),
                    "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
                },
                raise_on_error=False,
                **where,
            )
            if not result.success:
                raise RunFailedError(_why(result))


def _why(result: dg.ExecuteInProcessResult) -> str:
    for e in result.all_events:
        if e.is_step_failure:
            data = e.step_failure_data
            error = data.user_failure_data or data.error
            cause = getattr(data.error, "cause", None) or error
            said = re.sub(OUR_ERROR, "", str(getattr(cause, "message", cause)).strip())
            return f"{e.step_key}: {said}"
    checks = result.get_asset_check_evaluations()
    failed = [c for c in checks if not c.passed and c.severity == dg.AssetCheckSeverity.ERROR]
    return (
        "; ".join(f"check {c.check_name} of {c.asset_key.to_user_string()}: {c.description}" for c in failed)
        or "the run failed"
    )


def stretches(days: Sequence[date]) -> list[tuple[date, date]]:
    """The days as (first, last) of stretches without a gap."""
    found: list[tuple[date, date]] = []
    for day in sorted(set(days)):
        if found and day - found[-1][1] == timedelta(1):
            found[-1] = (found[-1][0], day)
        else:
            found.append((day, day))
    return found


def run_stale_graph(ws: Workspace, *, first: date | None, last: date | None, sites: list[int] | None) -> list[date]:
    """Materialises the days whose figures are of other rules than today's, and no others; returns the days made."""
    from usage_stats_dagster.pipeline.rerun import run_stale

    def make(days: Sequence[date], chosen: list[int]) -> None:
        materialise(days, sites=chosen, logs_dir=ws.logs_dir)

    return run_stale(ws, first=first, last=last, sites=sites, make=make)


def run_graph(ws: Workspace, *, first: date | None, last: date | None, sites: list[int] | None) -> list[date]:
    """Materialises the days asked for, or those that have something new, and days whose tail changed by it.

    Returns the days made. Without dates, pending logs are imported first, since only their lines tell which days they are of.
    """
    from usage_stats_dagster.pipeline.imports import import_logs

    done: list[date] = []
    if first is not None and last is not None:
        if first < ws.settings.platform.start_date or last > ws.settings.today():
            msg = f"{first} to {last}: days go from platform.start_date, {ws.settings.platform.start_date}, to today, {ws.settings.today()}"
            raise StageError(msg)
        days = [first + timedelta(k) for k in range((last - first).days + 1)]
        materialise(days, sites=sites, logs_dir=ws.logs_dir)
        done += days
    else:
        import_logs(ws, sites=sites)
    window = (ws.settings.day_before(first), last) if first is not None and last is not None else (None, None)
    for _ in range(MAX_ROUNDS):
        due = sorted({d for _, d in status.days_to_run(ws, sites, window) if d <= ws.settings.today()})
        if not due:
            break
        materialise(due, sites=sites, logs_dir=ws.logs_dir)
        done += due
    return sorted(set(done))
