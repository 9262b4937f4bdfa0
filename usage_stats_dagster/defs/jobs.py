"""Jobs: named selections of assets that sensor, schedule and analysts launch."""

import dagster as dg

daily_figures = dg.define_asset_job(
    "daily_figures",
    selection=dg.AssetSelection.all(),
    description="Everything for a day or a range of days: logs in, documents out.",
)

figures_from_events = dg.define_asset_job(
    "figures_from_events",
    selection=dg.AssetSelection.assets("filtered_metrics", "documents", "indexed_documents"),
    description="Figures anew from the stored events: after a change of steps, lists or parameters.",
)

JOBS = [daily_figures, figures_from_events]
