"""What the assets share: the days of a run, configuration, owners, and metadata that people look at.

What belongs here: turning stage reports into tables, plots and checks for Dagster. What does not: assets.
"""

import base64
import io
import warnings
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

import dagster as dg
import polars as pl
from pydantic import Field

from usage_stats_dagster.partitions import daily_partitions
from usage_stats_dagster.pipeline.stage import StageReport, Work, for_days
from usage_stats_dagster.pipeline.workspace import Workspace

# Beta, and what a month of history in one run needs; the warning would stand five times over every command.
warnings.filterwarnings("ignore", message=".*backfill_policy.*", category=dg.BetaWarning)

DAYS = daily_partitions()
OWNERS = ["team:usage-statistics"]
BACKFILL = dg.BackfillPolicy.multi_run(max_partitions_per_run=31)
"""A month a run: a run a day costs seconds of start-up each, one run for all history can't be resumed."""

PREVIEW_ROWS = 10


class SitesConfig(dg.Config):
    """What a run may be limited to."""

    sites: list[int] | None = Field(None, description="ids of the sites to work on; all when left out")


def asset_options(group: str, kinds: set[str], layer: str) -> dict[str, Any]:
    """Options that every asset of ours has."""
    return {
        "partitions_def": DAYS,
        "backfill_policy": BACKFILL,
        "owners": OWNERS,
        "group_name": group,
        "kinds": kinds,
        "tags": {"layer": layer},
        "pool": "usage_stats_writer",
    }


def days_of(context: dg.AssetExecutionContext) -> list[date]:
    """The days of the run: one partition, or a range of them."""
    return [date.fromisoformat(k) for k in context.partition_keys]


def run_stage(ws: Workspace, name: str, work: Work, days: Sequence[date], config: SitesConfig) -> list[StageReport]:
    """A stage over the run's days."""
    return for_days(ws, name, work, days, config.sites)


def markdown(frame: pl.DataFrame, rows: int = PREVIEW_ROWS) -> dg.MarkdownMetadataValue:
    """The first rows as a table."""
    head = frame.head(rows)
    lines = ["| " + " | ".join(head.columns) + " |", "|" + "---|" * head.width]
    lines += [
        "| " + " | ".join("" if v is None else str(v).replace("|", "\\|")[:120] for v in r) + " |"
        for r in head.iter_rows()
    ]
    if frame.height > rows:
        lines.append(f"\n… and {frame.height - rows} more rows")
    return dg.MetadataValue.md("\n".join(lines))


def row_count(rows: int, days: int) -> dict[str, int]:
    """The row count under the key that fits: of the partition, or of the whole range."""
    return {"dagster/partition_row_count" if days == 1 else "rows_of_the_range": rows}


def stage_metadata(reports: Iterable[StageReport], table: str, days: int) -> dict[str, Any]:
    """Row count, bytes and a table by day and site of what a stage wrote or left in a run over so many days."""
    mine = [r for r in reports if r.table == table]
    counts = sorted({k for r in mine for k, v in r.counts.items() if isinstance(v, int)})
    by_day = pl.DataFrame(
        [
            {
                "day": r.day,
                "idsite": r.idsite,
                "rows": r.rows,
                "made anew": r.changed,
                **{k: r.counts.get(k) for k in counts},
            }
            for r in mine
        ],
        schema={
            "day": pl.Date,
            "idsite": pl.Int64,
            "rows": pl.Int64,
            "made anew": pl.Boolean,
            **dict.fromkeys(counts, pl.Int64),
        },
    ).sort("day", "idsite")
    return {
        **row_count(sum(r.rows for r in mine), days),
        "bytes": sum(r.bytes for r in mine),
        "site_days": len(mine),
        "made_anew": sum(r.changed for r in mine),
        "by_day_and_site": markdown(by_day, 62),
    }


def observe_days(context: dg.AssetExecutionContext, reports: Iterable[StageReport], table: str, asset: str) -> None:
    """In a run over a range, notes each day's own row count: a range's metadata stands on every one of its days alike."""
    if len(context.partition_keys) == 1:
        return
    by_day: dict[str, int] = {}
    for r in reports:
        if r.table == table:
            by_day[str(r.day)] = by_day.get(str(r.day), 0) + r.rows
    for day, rows in sorted(by_day.items()):
        context.log_event(dg.AssetObservation(asset, partition=day, metadata={"dagster/partition_row_count": rows}))


def data_version(reports: Iterable[StageReport], table: str) -> dg.DataVersion:
    """A hash over the contents: an unchanged day does not ripple downstream."""
    from usage_stats_dagster.pipeline.stage import fingerprint

    return dg.DataVersion(
        fingerprint(*sorted(f"{r.idsite}:{r.day}:{r.content_hash}" for r in reports if r.table == table))
    )


def bar_plot(
    labels: Sequence[str], values: Sequence[float], title: str, *, horizontal: bool = False
) -> dg.MarkdownMetadataValue:
    """A small bar plot, inlined as a picture."""
    from matplotlib.figure import Figure

    figure = Figure(
        figsize=(7, 0.3 * max(len(labels), 6) + 0.6) if horizontal else (7, 2.4), dpi=90, layout="constrained"
    )
    axes = figure.subplots()
    if horizontal:
        axes.barh(range(len(labels)), values, color="#3b6ea5")
        axes.set_yticks(range(len(labels)), [s if len(s) < 48 else s[:45] + "…" for s in labels], fontsize=7)
        axes.invert_yaxis()
    else:
        axes.bar(range(len(labels)), values, color="#3b6ea5")
        axes.set_xticks(range(len(labels)), labels, fontsize=7)
    axes.set_title(title, fontsize=9)
    axes.tick_params(axis="both", labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    data = io.BytesIO()
    figure.savefig(data, format="png")
    return dg.MetadataValue.md(f"![{title}](data:image/png;base64,{base64.b64encode(data.getvalue()).decode()})")


def balance(
    name: str, rows: Iterable[tuple[str, int, int]], *, asset: dg.AssetKey | None = None
) -> dg.AssetCheckResult:
    """A check that two counts are equal in every row of (what, have, should)."""
    table = pl.DataFrame(list(rows), schema={"what": pl.String, "is": pl.Int64, "should be": pl.Int64}, orient="row")
    wrong = table.filter(pl.col("is") != pl.col("should be"))
    return dg.AssetCheckResult(
        check_name=name,
        asset_key=asset,
        passed=not wrong.height,
        severity=dg.AssetCheckSeverity.ERROR,
        description="every sum closes" if not wrong.height else f"{wrong.height} sums don't close",
        metadata={
            "is": int(table["is"].sum()),
            "should_be": int(table["should be"].sum()),
            "difference": int(table["is"].sum() - table["should be"].sum()),
            "rows": markdown(wrong if wrong.height else table),
        },
    )
