"""A site's day of hits to its visits and events: the steps in order.

What belongs here: which step follows which, and the order of rows. What does not: any rule.
"""

from __future__ import annotations

from datetime import date

import polars as pl

from usage_stats_dagster import engine
from usage_stats_dagster.lookups.all import Lookups
from usage_stats_dagster.lookups.clients import clients
from usage_stats_dagster.lookups.distinct import Judge
from usage_stats_dagster.schemas import EVENTS, VISITS
from usage_stats_dagster.settings import Settings, Site
from usage_stats_dagster.tracker.events import events
from usage_stats_dagster.tracker.prepare import prepare
from usage_stats_dagster.tracker.sessions import sessions
from usage_stats_dagster.tracker.visits import visits


def visits_and_events(
    hits: pl.DataFrame, day: date, site: Site, settings: Settings, lookups: Lookups, urls_say: Judge | None = None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The tables VISITS and EVENTS of one site's day, from its hits (of that day, as `prepare.in_order` gives them).

    Visitors are independent of each other, so the hits may be those of a range of visitors: rows come out in the order
    of (visitor, t, tie, log_identity, line), so that the tables of ascending ranges, one behind the other, are those
    of the whole day. All hits of a visitor have to be there. `urls_say` is a `prepare.url_judge` that all ranges share.
    """
    prepared = engine.wrap(prepare(hits, site, lookups.referrers, urls_say))
    seconds = settings.rules.visit_seconds
    found = engine.collect(sessions(prepared, day, visit_seconds=seconds, in_order=True), streaming=False)
    agents = found.filter(pl.col("opens") == 1).select(pl.col("user_agent").drop_nulls().unique())
    known = pl.concat([agents, clients(agents.to_series())], how="horizontal")
    sessioned = engine.wrap(found.lazy())
    made_events = engine.collect(events(sessioned, site.id), streaming=False)
    made_visits = engine.collect(visits(sessioned, engine.wrap(known.lazy()), site.id), streaming=False).sort("idvisit")
    return VISITS.conform(made_visits), EVENTS.conform(made_events)
