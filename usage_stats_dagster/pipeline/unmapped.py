"""Content that no item rule knows: which URLs people asked for most.

What belongs here: counting them from the stored events. What does not: telling what they have in common (`items/`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import polars as pl

from usage_stats_dagster.items.unmapped import unmapped
from usage_stats_dagster.pipeline.workspace import Workspace
from usage_stats_dagster.schemas import EVENTS

_DAYS = 31
"""Days read at a time: a lake in a bucket is copied to the local disk while it is read."""


def unmapped_urls(ws: Workspace, idsite: int, days: Sequence[date], top: int = 20) -> pl.DataFrame:
    """The site's most wanted content URLs without an item (robots left out): shape, count, urls, example."""
    nobody = pl.col("identifier").is_null() & pl.col("robot").is_null() & pl.col("action_url").is_not_null()
    counts = pl.DataFrame(schema={"url": pl.String, "count": pl.Int64})
    for at in range(0, len(days), _DAYS):
        events = ws.lake.scan(EVENTS, [(idsite, d) for d in days[at : at + _DAYS]])
        more = events.filter(nobody).group_by(url="action_url").agg(pl.len().cast(pl.Int64).alias("count")).collect()
        counts = pl.concat([counts, more]).group_by("url").agg(pl.col("count").sum())
    return unmapped(counts, ws.settings.site(idsite), top)
