"""Jobs: named selections of assets that sensor, schedule and analysts launch."""

import dagster as dg

from usage_stats_dagster.defs.common import DAYS

daily_figures = dg.define_asset_job(
    "daily_figures",
    selection=dg.AssetSelection.all(),
    partitions_def=DAYS,
    description="Everything for a day or a range of days: logs in, documents out.",
)

figures_from_events = dg.define_asset_job(
    "figures_from_events",
    selection=dg.AssetSelection.assets("filtered_metrics", "documents", "indexed_documents"),
    partitions_def=DAYS,
    description="Figures anew from the stored events: after a change of steps, lists or parameters.",
)

JOBS = [daily_figures, figures_from_events]
