"""The asset `matomo_sent`: a day's hits in a Matomo, each exactly once.

What belongs here: what Dagster shows of a sending. What does not: sending (`pipeline/sending.py`, `matomo/`). There only
where `matomo.send` is set.
"""

import dagster as dg
import polars as pl

from usage_stats_dagster.defs.common import SitesConfig, asset_options, balance, days_of, markdown, row_count
from usage_stats_dagster.pipeline.sending import send_days
from usage_stats_dagster.pipeline.stage import StageReport
from usage_stats_dagster.resources.platform import PlatformResource
from usage_stats_dagster.settings import current_settings

CHECK = "no_hit_is_stored_twice"
_COUNTS = ("hits", "sent", "kept_back", "refused", "stored", "dropped", "twice", "resent")


@dg.asset(
    **asset_options("logs", {"matomo"}, "out"),
    deps=["day_status"],
    check_specs=[
        dg.AssetCheckSpec(CHECK, asset="matomo_sent", blocking=True, description="marks that Matomo has twice = 0")
    ],
)
def matomo_sent(
    context: dg.AssetExecutionContext, config: SitesConfig, platform: PlatformResource
) -> dg.MaterializeResult:
    """The hits of a day in Matomo, robots kept back: sent in order, once each, whatever fails in between."""
    days = days_of(context)
    answers = send_days(platform.workspace(), days, config.sites)
    errors = [a for a in answers if not isinstance(a, StageReport)]
    if errors:
        raise errors[0]
    reports = [a for a in answers if isinstance(a, StageReport)]
    table = pl.DataFrame(
        [{"day": r.day, "site": r.idsite, **{c: r.counts.get(c) for c in _COUNTS}} for r in reports],
        schema={"day": pl.Date, "site": pl.Int64, **dict.fromkeys(_COUNTS, pl.Int64)},
    )
    return dg.MaterializeResult(
        metadata={**row_count(sum(r.rows for r in reports), len(days)), "by_day_and_site": markdown(table, 62)},
        check_results=[balance(CHECK, [(f"site {r.idsite}, {r.day}", r.counts["twice"], 0) for r in reports])],
    )


def matomo_assets() -> list[dg.AssetsDefinition]:
    """For definitions.py: none where nothing is sent to a Matomo."""
    return [matomo_sent] if current_settings().matomo.send else []
