"""The sensor on the log folders and the daily schedule for stragglers.

What belongs here: turning a plan into run requests. What does not: the plan (`pipeline/plan.py`).

A day is asked for by a key made of what is there to import: the same content never makes a second run. A run that
failed is tried again up to MAX_TRIES times for the same content, and after that the tick says so until something
changes or the daily schedule tries once more.
"""

from collections.abc import Iterator
from datetime import date

import dagster as dg

from usage_stats_dagster.defs.jobs import daily_figures
from usage_stats_dagster.pipeline.plan import Plan, plan
from usage_stats_dagster.resources.platform import PlatformResource

WORK_TAG = "usage_stats/work"
MAX_TRIES = 3
MAX_REQUESTS = 40
LONG_RANGE = 7
RANGE_DAYS = 31
_OPEN = {
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.MANAGED,
}


def _ranges(days: dict[date, str]) -> Iterator[tuple[date, date, str]]:
    """The days one by one; a long run of neighbours (a backfill of history) as ranges of a month."""
    from usage_stats_dagster.pipeline.stage import fingerprint

    rows: list[list[date]] = []
    for day in sorted(days):
        if rows and (day - rows[-1][-1]).days == 1 and len(rows[-1]) < RANGE_DAYS:
            rows[-1].append(day)
        else:
            rows.append([day])
    for row in rows:
        if len(row) > LONG_RANGE:
            yield row[0], row[-1], fingerprint(*(days[d] for d in row))[:16]
        else:
            for d in row:
                yield d, d, days[d][:16]


def run_requests(
    found: Plan, instance: dg.DagsterInstance, *, suffix: str = ""
) -> tuple[list[dg.RunRequest], list[str]]:
    """Run requests for the plan's days, and a line for each day that is not asked for, saying why."""
    requests: list[dg.RunRequest] = []
    left: list[str] = []
    for first, last, work in _ranges(found.days):
        name = f"{first}" if first == last else f"{first}..{last}"
        runs = instance.get_runs(dg.RunsFilter(tags={WORK_TAG: f"{name}:{work}{suffix}"}), limit=MAX_TRIES + 1)
        if any(r.status in _OPEN for r in runs):
            left.append(f"{name}: its run is under way")
        elif any(r.status == dg.DagsterRunStatus.SUCCESS for r in runs):
            left.append(
                f"{name}: a run of the same content is done; `usage-stats logs` and `usage-stats status` say what waits"
            )
        elif len(runs) >= MAX_TRIES:
            left.append(
                f"{name}: failed {len(runs)} times, given up until something changes: see the run {runs[0].run_id[:8]}"
            )
        elif len(requests) >= MAX_REQUESTS:
            left.append(f"{name}: next tick, {MAX_REQUESTS} runs are asked for already")
        else:
            tags = {WORK_TAG: f"{name}:{work}{suffix}", "usage_stats/try": str(len(runs) + 1)}
            key = f"{name}:{work}{suffix}:{len(runs) + 1}"
            if first == last:
                requests.append(dg.RunRequest(run_key=key, partition_key=str(first), tags=tags))
            else:
                ends = {
                    "dagster/asset_partition_range_start": str(first),
                    "dagster/asset_partition_range_end": str(last),
                }
                requests.append(dg.RunRequest(run_key=key, tags={**tags, **ends}))
    return requests, left


def _answer(found: Plan, instance: dg.DagsterInstance, *, suffix: str = "") -> dg.SensorResult | dg.SkipReason:
    requests, left = run_requests(found, instance, suffix=suffix)
    lines = [found.summary(), *left, *(f"{p}: {m}" for p, m in found.problems[:10])]
    return dg.SensorResult(run_requests=requests) if requests else dg.SkipReason("\n".join(lines))


@dg.sensor(
    job=daily_figures,
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Looks at the log folders: asks for a run of every day that has new, grown or late logs.",
)
def log_folder_sensor(
    context: dg.SensorEvaluationContext, platform: PlatformResource
) -> dg.SensorResult | dg.SkipReason:
    """One look at the log folders."""
    found = plan(platform.workspace())
    for path, message in found.problems:
        context.log.warning("%s: %s", path, message)
    return _answer(found, context.instance)


@dg.schedule(
    job=daily_figures,
    cron_schedule="30 5 * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Once a day, tries again whatever the sensor has given up or a crash left behind.",
)
def stragglers_schedule(
    context: dg.ScheduleEvaluationContext, platform: PlatformResource
) -> list[dg.RunRequest] | dg.SkipReason:
    """A run for every day that still needs one, whether or not it failed before."""
    found = plan(platform.workspace())
    requests, _ = run_requests(found, context.instance, suffix=f":{context.scheduled_execution_time.date()}")
    return requests or dg.SkipReason(found.summary())
