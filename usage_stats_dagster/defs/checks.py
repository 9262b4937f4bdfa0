"""Checks of what is stored: each table's columns and types, against the one place that declares them; every sum.

What belongs here: properties of stored data, and the accounting from end to end. What does not: sums that an asset knows
while it works; those checks stand with the asset.
"""

from datetime import date

import dagster as dg
import polars as pl

from usage_stats_dagster.defs.common import markdown
from usage_stats_dagster.ledger import counts
from usage_stats_dagster.pipeline.account import account
from usage_stats_dagster.pipeline.account.examples import examples
from usage_stats_dagster.resources.platform import PlatformResource
from usage_stats_dagster.schemas import DOCUMENTS, EVENTS, METRICS_TABLE, VISITS, Table

ACCOUNTING = "accounting_closes"
_DAYS_SHOWN = 10
_SUMS_SHOWN = 50
_ROWS_SHOWN = 500
_SITES_EXEMPLIFIED = 10
"""Sites whose first drops are shown: those of most lines. Of others `usage-stats account --examples` tells."""

_ASSETS = {"visits": VISITS, "events": EVENTS, "filtered_metrics": METRICS_TABLE, "documents": DOCUMENTS}


def _schema_check(asset: str, table: Table) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset,
        name="stored_schema",
        blocking=True,
        description=f"columns and types of {table.name} are as declared",
    )
    def stored_schema(context: dg.AssetCheckExecutionContext, platform: PlatformResource) -> dg.AssetCheckResult:
        ws, days = platform.workspace(), _days(context)
        wrong: list[str] = []
        files = 0
        rows = ws.ledger.statuses(None, min(days), max(days)) if days else []
        for r in rows:
            path = ws.lake.part(table, r["idsite"], r["day"])
            source = ws.lake.source(path)
            if source is not None:
                files += 1
                have = pl.read_parquet_schema(source)
                wrong += [
                    f"{path}: {c} is {have.get(c)}, declared {t}" for c, t in table.schema.items() if have.get(c) != t
                ]
        return dg.AssetCheckResult(
            passed=not wrong,
            metadata={"files": files, "declared": str(dict(table.schema)), "differences": wrong[:20]},
        )

    return stored_schema


def _days(context: dg.AssetCheckExecutionContext) -> list[date]:
    op = context.op_execution_context
    given = op.has_partition_key_range or op.has_partition_key
    return [date.fromisoformat(k) for k in op.partition_keys] if given else []


@dg.asset_check(
    asset="indexed_documents",
    name=ACCOUNTING,
    blocking=True,
    description="lines read = outcomes; hits = events = kept + dropped by a step; metrics = documents = index: `usage-stats account`",
)
def accounting_closes(context: dg.AssetCheckExecutionContext, platform: PlatformResource) -> dg.AssetCheckResult:
    """The accounting of the run's days, by site, or by site and day where those are few."""
    ws, days = platform.workspace(), _days(context)
    first, last = (min(days), max(days)) if days else (None, None)
    few = 0 < len(days) * max(1, len(counts.sites(ws.ledger))) <= _DAYS_SHOWN
    result = account(ws, first=first, last=last, by="day" if few else "site")
    kept = {"sums": result.sums, "open_sums": result.open_sums[:_SUMS_SHOWN], "notes": result.notes[:_SUMS_SHOWN]}
    if first is not None and first == last:
        kept["first_of_each_drop"] = markdown(
            examples(ws, _busiest(result.table), first, last, by_day=few), _ROWS_SHOWN
        )
    return dg.AssetCheckResult(
        passed=result.closes,
        severity=dg.AssetCheckSeverity.ERROR,
        description="every sum closes"
        if result.closes
        else f"{len(result.open_sums)} sums don't close: {result.open_sums[0]}",
        metadata={"accounting": markdown(result.table, _ROWS_SHOWN), **kept},
    )


def _busiest(table: pl.DataFrame) -> pl.DataFrame:
    """The accounting's rows of the sites with most lines: events are marked anew for each, which takes 0.1 s a site."""
    lines = table.group_by("idsite").agg(pl.col("count").max()).sort("count", "idsite", descending=[True, False])
    return table.join(lines.head(_SITES_EXEMPLIFIED), on="idsite", how="semi", maintain_order="left")


SCHEMA_CHECKS = [*(_schema_check(asset, table) for asset, table in _ASSETS.items()), accounting_closes]
"""All checks that stand beside the assets."""
