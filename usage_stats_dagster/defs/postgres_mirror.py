"""The asset `postgres_mirror`, there when PGDATABASE is set.

What belongs here: what Dagster shows of a mirrored day. What does not: how the table is made and replaced (`mirror/`).
"""

import os

import dagster as dg

from usage_stats_dagster.defs.common import (
    SitesConfig,
    asset_options,
    balance,
    data_version,
    days_of,
    observe_days,
    stage_metadata,
)
from usage_stats_dagster.resources.platform import PlatformResource

CHECK = "mirror_holds_the_events"
STAGE = "postgres_mirror"


@dg.asset(
    **asset_options("mirror", {"postgres"}, "out"),
    deps=["visits", "events"],
    check_specs=[
        dg.AssetCheckSpec(CHECK, asset=STAGE, blocking=True, description="rows + robots left out = events in the lake")
    ],
)
def postgres_mirror(
    context: dg.AssetExecutionContext, config: SitesConfig, platform: PlatformResource
) -> dg.MaterializeResult:
    """SocialGouv's table of actions in PostgreSQL, replaced a site's day at a time."""
    from usage_stats_dagster.mirror.stage import mirror_days

    days = days_of(context)
    reports = mirror_days(platform.workspace(), days, config.sites)
    observe_days(context, reports, STAGE, STAGE)
    closes = [
        (f"site {r.idsite}, {r.day}", r.counts["mirrored"] + r.counts["robots_left_out"], r.counts["events"])
        for r in reports
    ]
    return dg.MaterializeResult(
        metadata=stage_metadata(reports, STAGE, len(days)),
        data_version=data_version(reports, STAGE),
        check_results=[balance(CHECK, closes)],
    )


def mirror_assets() -> list[dg.AssetsDefinition]:
    """For definitions.py: none where no mirror is wanted."""
    return [postgres_mirror] if os.environ.get("PGDATABASE") else []
