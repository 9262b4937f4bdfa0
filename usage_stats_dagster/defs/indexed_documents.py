"""The asset `indexed_documents`.

What belongs here: what Dagster shows of an indexing. What does not: how documents are replaced (`pipeline/indexing.py`).
"""

import dagster as dg

from usage_stats_dagster.defs.common import (
    SitesConfig,
    asset_options,
    balance,
    data_version,
    days_of,
    run_stage,
    stage_metadata,
)
from usage_stats_dagster.pipeline.indexing import index_documents
from usage_stats_dagster.resources.platform import PlatformResource

CHECK = "index_holds_the_documents"


@dg.asset(
    **asset_options("index", {"sqlite"}, "out"),
    deps=["documents"],
    check_specs=[
        dg.AssetCheckSpec(
            CHECK,
            asset="indexed_documents",
            blocking=True,
            description="documents in the index = documents in the lake",
        )
    ],
)
def indexed_documents(
    context: dg.AssetExecutionContext, config: SitesConfig, platform: PlatformResource
) -> dg.MaterializeResult:
    """The documents in the index, replaced a site's day (or month) at a time."""
    ws, days = platform.workspace(), days_of(context)
    reports = run_stage(ws, "indexed_documents", index_documents, days, config)
    return dg.MaterializeResult(
        metadata=stage_metadata(reports, "indexed_documents", len(days)),
        data_version=data_version(reports, "indexed_documents"),
        check_results=[balance(CHECK, [(f"site {r.idsite}, {r.day}", r.counts["documents"], r.rows) for r in reports])],
    )
