"""The assets `filtered_metrics` and `documents`.

What belongs here: what Dagster shows of them. What does not: how they are made (`pipeline/figures.py`, `pipeline/documents.py`).
"""

import dagster as dg
import polars as pl

from usage_stats_dagster.defs.common import (
    SitesConfig,
    asset_options,
    balance,
    bar_plot,
    data_version,
    days_of,
    markdown,
    observe_days,
    run_stage,
    stage_metadata,
)
from usage_stats_dagster.pipeline.documents import make_documents
from usage_stats_dagster.pipeline.figures import make_metrics
from usage_stats_dagster.resources.platform import PlatformResource
from usage_stats_dagster.schemas import DOCUMENTS, METRICS, METRICS_TABLE

STEPS_CHECK = "every_event_is_kept_or_dropped_by_one_step"
DOCUMENTS_CHECK = "documents_sum_to_the_metrics"
_TOP = 12


@dg.asset(
    **asset_options("figures", {"parquet", "polars"}, "core"),
    deps=["visits", "events"],
    check_specs=[
        dg.AssetCheckSpec(
            STEPS_CHECK,
            asset="filtered_metrics",
            blocking=True,
            description="events = kept + dropped, for both vocabularies",
        )
    ],
)
def filtered_metrics(
    context: dg.AssetExecutionContext, config: SitesConfig, platform: PlatformResource
) -> dg.MaterializeResult:
    """One row a site, day, identifier and visitor country: LA Referencia's four figures and COUNTER R5.1's four."""
    ws, days = platform.workspace(), days_of(context)
    reports = run_stage(ws, "filtered_metrics", make_metrics, days, config)
    observe_days(context, reports, METRICS_TABLE.name, "filtered_metrics")
    steps = pl.DataFrame(
        [
            {"vocabulary": v, "step": s, "events": n}
            for r in reports
            for v, counts in r.counts.get("steps", {}).items()
            for s, n in counts.items()
        ],
        schema={"vocabulary": pl.String, "step": pl.String, "events": pl.Int64},
    )
    table = steps.group_by("vocabulary", "step", maintain_order=True).agg(pl.col("events").sum())
    rows = [
        (f"site {r.idsite}, {r.day}, {v}", sum(counts.values()), r.counts["events"])
        for r in reports
        for v, counts in r.counts.get("steps", {}).items()
    ]
    return dg.MaterializeResult(
        metadata={**stage_metadata(reports, METRICS_TABLE.name, len(days)), "steps": markdown(table, 20)},
        data_version=data_version(reports, METRICS_TABLE.name),
        check_results=[balance(STEPS_CHECK, rows)],
    )


@dg.asset(
    **asset_options("figures", {"parquet", "polars"}, "out"),
    deps=[filtered_metrics],
    check_specs=[
        dg.AssetCheckSpec(
            DOCUMENTS_CHECK,
            asset="documents",
            blocking=True,
            description="sums over the documents = sums over the metrics",
        )
    ],
)
def documents(
    context: dg.AssetExecutionContext, config: SitesConfig, platform: PlatformResource
) -> dg.MaterializeResult:
    """One row a site, period and identifier, countries nested: what is indexed."""
    ws, days = platform.workspace(), days_of(context)
    reports = run_stage(ws, "documents", make_documents, days, config)
    observe_days(context, reports, DOCUMENTS.name, "documents")
    made = sorted({(r.idsite, r.day): r for r in reports}.values(), key=lambda r: (r.idsite, r.day))
    frame = ws.lake.scan(DOCUMENTS, [(r.idsite, r.day) for r in made])
    top = (
        frame.group_by("identifier")
        .agg(pl.col(METRICS).sum())
        .sort("total_item_investigations", "identifier", descending=[True, False])
        .head(_TOP)
        .collect()
    )
    rows = []
    for r in made:
        metrics_days = [
            ws.lake.manifest(METRICS_TABLE, r.idsite, d) for d in _days_of(ws.lake.manifest(DOCUMENTS, r.idsite, r.day))
        ]
        of = r.counts.get("of") or {m: sum(x.counts[m] for x in metrics_days if x) for m in METRICS}
        rows += [(f"site {r.idsite}, {r.day}, {m}", r.counts[m], of[m]) for m in METRICS]
    return dg.MaterializeResult(
        metadata={
            **stage_metadata(made, DOCUMENTS.name, len(days)),
            "top_items": markdown(top, _TOP),
            "top_items_plot": bar_plot(
                top["identifier"].to_list(),
                top["total_item_investigations"].to_list(),
                "total item investigations",
                horizontal=True,
            ),
        },
        data_version=data_version(made, DOCUMENTS.name),
        check_results=[balance(DOCUMENTS_CHECK, rows)],
    )


def _days_of(manifest):  # noqa: ANN001, ANN202
    from datetime import date

    return [date.fromisoformat(d) for d in manifest.inputs] if manifest else []
