"""Checks of what is stored: each table's columns and types, against the one place that declares them.

What belongs here: properties of stored data. What does not: sums that an asset knows while it works; those checks
stand with the asset.
"""

from datetime import date

import dagster as dg
import polars as pl

from usage_stats_dagster.resources.platform import PlatformResource
from usage_stats_dagster.schemas import DOCUMENTS, EVENTS, METRICS_TABLE, VISITS, Table

_ASSETS = {"visits": VISITS, "events": EVENTS, "filtered_metrics": METRICS_TABLE, "documents": DOCUMENTS}


def _schema_check(asset: str, table: Table) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset,
        name="stored_schema",
        blocking=True,
        description=f"columns and types of {table.name} are as declared",
    )
    def stored_schema(context: dg.AssetCheckExecutionContext, platform: PlatformResource) -> dg.AssetCheckResult:
        ws = platform.workspace()
        days = (
            [date.fromisoformat(k) for k in context.op_execution_context.partition_keys]
            if context.op_execution_context.has_partition_key_range or context.op_execution_context.has_partition_key
            else []
        )
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


SCHEMA_CHECKS = [_schema_check(asset, table) for asset, table in _ASSETS.items()]
