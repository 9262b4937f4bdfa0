"""Checks that warn and never block: early warnings about the days of a run, and days that changed rules left stale.

What belongs here: what Dagster shows of them. What does not: the rules (`watch/`, `pipeline/stale.py`).

One op answers them all after a run's days are indexed, so that they cost one step; the job `early_warnings` asks them
alone, about the last month, since a log that does not come starts no run. A warning fails its check with severity WARN.
"""

from collections.abc import Iterator
from datetime import date

import dagster as dg
import polars as pl

from usage_stats_dagster.defs.common import bar_plot, markdown
from usage_stats_dagster.pipeline.stale import reasons_in_words, stale_days, stretches
from usage_stats_dagster.pipeline.workspace import Workspace
from usage_stats_dagster.resources.platform import PlatformResource
from usage_stats_dagster.watch.findings import KINDS, Kind
from usage_stats_dagster.watch.look import Look, look

STALE_CHECK = "rules_are_todays"
_ASSETS: dict[Kind, tuple[str, str]] = {
    "missing_hour": ("events", "no hour is empty between busy ones, of a site or of one of its servers"),
    "silent_server": ("imported_logs", "every server that sent logs until now still does"),
    "day_missing_or_late": ("day_status", "no day is missing between others, or late"),
    "usage_spike": ("filtered_metrics", "no month is far above or below the twelve before (COUNTER R5.1, 7.12)"),
    "unmapped_share": ("events", "content without an item is no larger a share than usual"),
    "robots_share": ("events", "robots are as large a share of the events as usual"),
}
_SPECS = [
    *(dg.AssetCheckSpec(kind, asset=_ASSETS[kind][0], blocking=False, description=_ASSETS[kind][1]) for kind in KINDS),
    dg.AssetCheckSpec(
        STALE_CHECK,
        asset="filtered_metrics",
        blocking=False,
        additional_deps=["indexed_documents"],
        description="stored figures are of today's rules, lists, item rules and settings",
    ),
]


@dg.multi_asset_check(name="warnings_of_the_days", specs=_SPECS, can_subset=True)
def early_warnings(context: dg.AssetCheckExecutionContext, platform: PlatformResource) -> Iterator[dg.AssetCheckResult]:
    """Looks at the days of the run (without a partition: at the last month), and for stale days at all."""
    ws, op = platform.workspace(), context.op_execution_context
    partitioned = op.has_partition_key or op.has_partition_key_range
    wanted = {k.name for k in op.selected_asset_check_keys}
    kinds = [k for k in KINDS if k in wanted]
    seen = look(ws, [date.fromisoformat(k) for k in op.partition_keys] if partitioned else None, kinds=kinds)
    for kind in kinds:
        yield _answer(kind, seen)
    if STALE_CHECK in wanted:
        yield _stale(ws)


WARNING_CHECKS = [early_warnings]

early_warnings_job = dg.define_asset_job(
    "early_warnings",
    selection=dg.AssetSelection.checks(early_warnings),
    description="The checks that warn, alone, about the last month: a log that does not come starts no run.",
)


@dg.schedule(
    job=early_warnings_job,
    cron_schedule="0 7 * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Once a day, after the stragglers: what looks wrong, and which days are stale.",
)
def early_warnings_schedule() -> dg.RunRequest:
    """The job of the checks."""
    return dg.RunRequest()


def _answer(kind: Kind, seen: Look) -> dg.AssetCheckResult:
    found = seen.of(kind)
    plot = _plot(kind, seen, found)
    return dg.AssetCheckResult(
        check_name=kind,
        asset_key=_ASSETS[kind][0],
        passed=not found.height,
        severity=dg.AssetCheckSeverity.WARN,
        description=_in_words(found) if found.height else _ASSETS[kind][1],
        metadata={
            "warnings": found.height,
            **({"findings": markdown(found.drop("warning"), 40)} if found.height else {}),
            **({"plot": plot} if plot is not None else {}),
        },
    )


def _in_words(found: pl.DataFrame) -> str:
    row = found.row(-1, named=True)
    more = f" (and {found.height - 1} more)" if found.height > 1 else ""
    return f"site {row['idsite']}, {row['day']}: {row['message']}{more}"


def _stale(ws: Workspace) -> dg.AssetCheckResult:
    days = stale_days(ws)
    return dg.AssetCheckResult(
        check_name=STALE_CHECK,
        asset_key="filtered_metrics",
        passed=not days.height,
        severity=dg.AssetCheckSeverity.WARN,
        description=reasons_in_words(days),
        metadata={
            "stale_site_days": days.height,
            **(
                {
                    "stale": markdown(stretches(days), 40),
                    "what_to_do": "`usage-stats diff` says what a re-run would change, `usage-stats run --stale` does it",
                }
                if days.height
                else {}
            ),
        },
    )


def _plot(kind: Kind, seen: Look, found: pl.DataFrame) -> dg.MarkdownMetadataValue | None:
    """What the last finding's site looked like: hours, months or days with the one that is told of at the end."""
    if not found.height:
        return None
    row = found.row(-1, named=True)
    site, day = row["idsite"], row["day"]
    title = f"site {site}: {kind.replace('_', ' ')}, {day}"
    mine = pl.col("idsite") == site
    if kind == "missing_hour":
        near = seen.hours.filter(mine, pl.col("server").is_null(), pl.col("hour").dt.date().is_between(day, day))
        hits = dict(near.select(pl.col("hour").dt.hour(), "hits").iter_rows())
        return bar_plot([str(h) for h in range(24)], [hits.get(h, 0) for h in range(24)], f"{title} (hours in UTC)")
    if kind == "usage_spike":
        months = seen.months.filter(mine, pl.col("metric") == "total_item_investigations", pl.col("month") <= day)
        last = months.sort("month").tail(13)
        return bar_plot(
            last["month"].dt.strftime("%y-%m").to_list(), last["value"].to_list(), f"{title}: investigations"
        )
    if kind in ("robots_share", "unmapped_share"):
        table = (seen.robots if kind == "robots_share" else seen.unmapped).filter(mine, pl.col("day") <= day)
        last = table.sort("day").tail(29)
        shares = (100 * last["part"] / last["whole"]).fill_nan(0).to_list()
        return bar_plot(last["day"].dt.strftime("%d").to_list(), shares, f"{title} (% by day)")
    if kind == "silent_server":
        lines = seen.lines.filter(mine, pl.col("day") == day).sort("server")
        return bar_plot(lines["server"].to_list(), lines["lines"].to_list(), f"{title}: lines", horizontal=True)
    return None
