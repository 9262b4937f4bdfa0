"""Hits made ready for the tracker as the pipeline makes them."""

from __future__ import annotations

import polars as pl

from usage_stats_dagster.lookups.all import lookups_for
from usage_stats_dagster.settings import Settings, Site
from usage_stats_dagster.tracker.prepare import Judges, Said, coded, in_order


def ready(hits: pl.DataFrame, site: Site) -> tuple[pl.DataFrame, Said]:
    """Hits (schemas.HITS) coded and in order, and what is said of them."""
    made = in_order(coded(hits.lazy(), site, hosts=hits["host"].null_count() < hits.height).collect())
    return made, Judges(site, lookups_for(Settings(), site).referrers)(made)
