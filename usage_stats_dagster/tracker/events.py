"""Hits that know their visit, as the stored table of events.

What belongs here: which column of an event comes from what. What does not: where visits begin (`sessions.py`), how
URLs are cleaned and items recognised (`prepare.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

import narwhals as nw

from usage_stats_dagster import engine
from usage_stats_dagster.engine import Frame
from usage_stats_dagster.schemas import EVENTS

LONGEST_SPENT = 1800
"""Seconds: Matomo's `time_spent_ref_action` goes no further."""


def events(hits: Frame, idsite: int | None, *, keys: Sequence[str] = ()) -> Frame:
    """The table EVENTS of the hits that `sessions` returned: one row a hit, in no promised order.

    `idsite` None: each hit has its own. `keys`: further columns that stay, in front.

    `time_spent_ref_action` is the time since the visit's action before, 0 to 1,800 s, 0 for the first.
    """
    site = nw.col("idsite") if idsite is None else nw.lit(idsite).cast(nw.Int32).alias("idsite")
    return engine.hexadecimal(hits, idvisitor="visitor").select(
        *keys, *(site if c == "idsite" else _MADE.get(c, nw.col(c)) for c in EVENTS.columns)
    )


_MADE = {
    "server_time": nw.col("time").alias("server_time"),
    "time_spent_ref_action": nw.col("spent").clip(0, LONGEST_SPENT).cast(nw.Int32).alias("time_spent_ref_action"),
}
