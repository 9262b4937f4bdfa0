"""Hits that know their visit, as the stored table of visits.

What belongs here: what a visit takes from which of its hits. What does not: where visits begin (`sessions.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

import narwhals as nw

from usage_stats_dagster import engine
from usage_stats_dagster.engine import Frame
from usage_stats_dagster.schemas import VISITS
from usage_stats_dagster.tracker.sessions import DIRECT, ORDER

c = nw.col


def visits(hits: Frame, clients: Frame, idsite: int | None, *, keys: Sequence[str] = ()) -> Frame:
    """The table VISITS of the hits that `sessions` returned: one row a visit, in no promised order.

    Of several site-days: `idsite` is None, each hit has its own, and `keys` are columns that tell site-days apart (a visit's id
    does not tell sites apart); they stay, in front.

    `clients` has one row a `user_agent`, with `config_browser_name`, `config_os`, `config_device_type`.

    Country, network and user agent are those of the visit's first hit, as Matomo has them; a visitor's hits of one day
    share them, and so the robot's rule. The referrer is the first that is not direct, of any of its hits.
    `visit_total_time` is 0 for one action, else 1 + last - first, in seconds.
    """
    visit = [*keys, "idvisit"]
    totals = hits.group_by(*visit).agg(
        visit_last_action_time=c("time").max(),
        last_second=c("second").max(),
        visit_total_actions=nw.len().cast(nw.Int32),
    )
    referrers = (
        hits.filter(c("ref_type") != DIRECT)
        .unique(subset=visit, keep="first", order_by=ORDER)
        .select(*visit, referer_type="ref_type", referer_name="ref_name")
    )
    first = hits.filter(c("opens") == 1)
    joined = first.join(totals, on=visit, how="left").join(referrers, on=visit, how="left")
    joined = joined.join(clients, on="user_agent", how="left")
    length = nw.when(c("visit_total_actions") == 1).then(nw.lit(0)).otherwise(1 + c("last_second") - c("second"))
    made = {
        "idsite": c("idsite") if idsite is None else nw.lit(idsite).cast(nw.Int32),
        "visit_first_action_time": c("time"),
        "visit_total_time": length.cast(nw.Int32),
        "referer_type": c("referer_type").fill_null(DIRECT).cast(nw.Int8),
        "counted_here": nw.lit(value=True),
    }
    joined = engine.hexadecimal(joined, idvisitor="visitor")
    return joined.select(*keys, *(made[name].alias(name) if name in made else c(name) for name in VISITS.columns))
