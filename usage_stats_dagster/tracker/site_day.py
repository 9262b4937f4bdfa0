"""A site's day of hits to its visits and events: the steps in order.

What belongs here: which step follows which, and the order of rows. What does not: any rule.
"""

from __future__ import annotations

from datetime import date

import polars as pl

from usage_stats_dagster import engine
from usage_stats_dagster.schemas import EVENTS, VISITS
from usage_stats_dagster.settings import Settings, Site
from usage_stats_dagster.tracker.events import events
from usage_stats_dagster.tracker.prepare import Said, prepare
from usage_stats_dagster.tracker.sessions import sessions
from usage_stats_dagster.tracker.visits import visits


def visits_and_events(
    hits: pl.DataFrame, day: date, site: Site, settings: Settings, said: Said
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The tables VISITS and EVENTS of one site's day, from its coded hits (of that day, as `prepare.in_order` gives them).

    Visitors are independent of each other, so the hits may be those of a range of visitors: rows come out in the order
    of (visitor, t, tie, log_identity, line), so that the tables of ascending ranges, one behind the other, are those
    of the whole day. All hits of a visitor have to be there. `said` is of these hits or of more.
    """
    prepared = engine.wrap(prepare(hits, site, said))
    seconds = settings.rules.visit_seconds
    found = engine.collect(sessions(prepared, day, visit_seconds=seconds, in_order=True))
    sessioned = engine.wrap(found.lazy())
    agents = said.agents.with_columns(pl.col("user_agent").cast(hits.schema["user_agent"]))
    text = pl.selectors.categorical().cast(pl.String)
    made_events = engine.collect(events(sessioned, site.id)).with_columns(text)
    made_visits = engine.collect(visits(sessioned, engine.wrap(agents.lazy()), site.id)).with_columns(text)
    return VISITS.conform(made_visits.sort("idvisit")), EVENTS.conform(made_events)
