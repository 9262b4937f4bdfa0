"""The assets `visits` and `events`, made together from the hits of a day.

What belongs here: what Dagster shows of them. What does not: how they are made (`pipeline/tracking.py`, `tracker/`).
"""

import dagster as dg
import polars as pl

from usage_stats_dagster.defs.common import (
    BACKFILL,
    DAYS,
    OWNERS,
    SitesConfig,
    balance,
    bar_plot,
    data_version,
    days_of,
    markdown,
    observe_days,
    run_stage,
    stage_metadata,
)
from usage_stats_dagster.pipeline.status import counted_hits
from usage_stats_dagster.pipeline.tracking import make_visits_events
from usage_stats_dagster.pipeline.unmapped import unmapped_urls
from usage_stats_dagster.resources.platform import PlatformResource
from usage_stats_dagster.schemas import EVENTS, VISITS
from usage_stats_dagster.settings import current_settings

CHECK = "each_hit_is_one_event"
_SITES_SHOWN = 3
"""Sites whose content without an item is shown, those of most events: looking costs 30 ms a site."""

_SPEC = {
    "owners": OWNERS,
    "group_name": "tracker",
    "kinds": {"parquet", "polars"},
    "tags": {"layer": "core"},
    "deps": ["day_status", *(["matomo_sent"] if current_settings().matomo.send else [])],
}


@dg.multi_asset(
    specs=[
        dg.AssetSpec(
            "visits",
            description="One row a visit: a visitor's actions without a gap of 30 minutes, within a day.",
            partitions_def=DAYS,
            **_SPEC,
        ),
        dg.AssetSpec(
            "events",
            description="One row an action: page view, download, search; with the item that it is about.",
            partitions_def=DAYS,
            **_SPEC,
        ),
    ],
    check_specs=[
        dg.AssetCheckSpec(
            CHECK, asset="events", blocking=True, description="events = hits imported, site-day by site-day"
        )
    ],
    backfill_policy=BACKFILL,
    pool="usage_stats_writer",
)
def visits_events(context: dg.AssetExecutionContext, config: SitesConfig, platform: PlatformResource):  # noqa: ANN201
    """Hits to visits and events, by the rules that Matomo 5 applies."""
    ws, days = platform.workspace(), days_of(context)
    reports = run_stage(ws, "visits_events", make_visits_events, days, config)
    for table in ("visits", "events"):
        observe_days(context, reports, table, table)
    done = sorted({(r.idsite, r.day) for r in reports})
    events = ws.lake.scan(EVENTS, done)
    hours = (
        events.group_by(
            pl.col("server_time").dt.convert_time_zone(ws.settings.platform.time_zone).dt.hour().alias("hour")
        )
        .len()
        .collect()
    )
    by_hour = dict(hours.iter_rows())
    plot = bar_plot([str(h) for h in range(24)], [by_hour.get(h, 0) for h in range(24)], "events by hour")
    preview = markdown(
        events.select("server_time", "action_type", "action_url", "identifier", "item_action", "robot")
        .head(10)
        .collect()
    )
    by_site: dict[int, int] = {}
    for r in reports:
        by_site[r.idsite] = by_site.get(r.idsite, 0) + r.rows
    busiest = sorted(by_site, key=lambda s: (-by_site[s], s))[:_SITES_SHOWN]
    without_item = [unmapped_urls(ws, s, days, 10).insert_column(0, pl.lit(s).alias("site")) for s in busiest]
    visits_preview = (
        ws.lake.scan(VISITS, done)
        .select(
            "visit_first_action_time",
            "visit_total_actions",
            "visit_total_time",
            "location_country",
            "referer_type",
            "robot",
        )
        .head(10)
        .collect()
    )
    yield dg.MaterializeResult(
        "visits",
        metadata={**stage_metadata(reports, "visits", len(days)), "preview": markdown(visits_preview)},
        data_version=data_version(reports, "visits"),
    )
    of_events = [r for r in reports if r.table == "events"]
    counted = zip(of_events, counted_hits(ws, [(r.idsite, r.day) for r in of_events]), strict=True)
    yield dg.MaterializeResult(
        "events",
        metadata={
            **stage_metadata(reports, "events", len(days)),
            "by_hour": plot,
            "content_without_an_item": markdown(pl.concat(without_item) if without_item else pl.DataFrame(), 30),
            "preview": preview,
        },
        data_version=data_version(reports, "events"),
        check_results=[balance(CHECK, [(f"site {r.idsite}, {r.day}", r.rows, n) for r, n in counted])],
    )
