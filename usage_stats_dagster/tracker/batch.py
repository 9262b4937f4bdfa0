"""Hits of several small site-days to their visits and events, in one go.

What belongs here: what differs from site to site as columns beside the hits. What does not: any rule; these are the ones that
a site-day computed alone goes through (`site_day.py`), and the tables are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import polars as pl

from usage_stats_dagster import engine
from usage_stats_dagster.items.mapping import map_identifiers
from usage_stats_dagster.items.match import explain
from usage_stats_dagster.items.rules import kind
from usage_stats_dagster.lookups.all import Lookups
from usage_stats_dagster.lookups.clients import clients
from usage_stats_dagster.lookups.distinct import values_of
from usage_stats_dagster.schemas import EVENTS, SITE_DAY, VISITS
from usage_stats_dagster.settings import Settings, Site
from usage_stats_dagster.tracker.events import events
from usage_stats_dagster.tracker.prepare import Said, in_order, said_of, told
from usage_stats_dagster.tracker.sessions import BY, day_offset, sessions
from usage_stats_dagster.tracker.urls import full_urls
from usage_stats_dagster.tracker.visits import visits

_WHO = "who"
_BETWEEN = "\x1f"

c = pl.col


def visits_and_events_of(
    hits: pl.DataFrame, of: Sequence[tuple[Site, date]], settings: Settings, lookups: Lookups
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """VISITS and EVENTS, behind a column `site_day`, sorted by it, then as `visits_and_events` sorts them.

    `hits`: HITS in any order, with `site_day`, the place in `of` of the site and day that each belongs to; all hits of every
    site-day. `lookups`: of no site (`lookups_for_all`). Raises ItemRuleError and IdentifierMapError.
    """
    hits, said, of_referrer, country = _coded(in_order(hits, SITE_DAY), [s for s, _ in of], lookups)
    of_day = pl.DataFrame(
        {
            "idsite": pl.Series([s.id for s, _ in of], dtype=pl.Int32),
            "day_offset": pl.Series([day_offset(d) for _, d in of], dtype=pl.Int64),
        }
    )
    prepared = told(hits, said, hits["url"].to_physical(), of_referrer, country)
    other = (c(SITE_DAY) != c(SITE_DAY).shift(1)) | (c(BY) != c(BY).shift(1))
    prepared = prepared.with_columns(
        *(of_day[name].gather(hits[SITE_DAY]) for name in of_day.columns),
        other.fill_null(value=True).cum_sum().cast(pl.Int64).alias(_WHO),
    )
    seconds = settings.rules.visit_seconds
    found = engine.collect(sessions(engine.wrap(prepared), None, visit_seconds=seconds, in_order=True, by=_WHO))
    sessioned = engine.wrap(found.lazy())
    agents = said.agents.with_columns(c("user_agent").cast(hits.schema["user_agent"]))
    text = pl.selectors.categorical().cast(pl.String)
    made_events = engine.collect(events(sessioned, None, keys=[SITE_DAY])).with_columns(text)
    made_visits = engine.collect(visits(sessioned, engine.wrap(agents.lazy()), None, keys=[SITE_DAY])).with_columns(
        text
    )
    return (
        made_visits.sort(SITE_DAY, "idvisit").select(SITE_DAY, *VISITS.columns),
        made_events.select(SITE_DAY, *EVENTS.columns),
    )


def _coded(
    hits: pl.DataFrame, sites: Sequence[Site], lookups: Lookups
) -> tuple[pl.DataFrame, Said, pl.Series, pl.Series]:
    """The hits as `prepare.coded` gives them, `robot` judged anew, and what is said of their texts by their sites.

    A site's URLs are told from the same ones of another, so `url` is the site's place and its URL, and so are the referrers
    that the third thing numbers. The last is the items' country.
    """
    place = pl.Series(_places(sites), dtype=pl.Int32).gather(hits[SITE_DAY]).cast(pl.String) + _BETWEEN
    site_url = pl.Series([s.url for s in sites], dtype=pl.String).gather(hits[SITE_DAY])
    country = pl.Series("country_item", [s.country.upper() if s.country else None for s in sites], dtype=pl.String)
    no_hosts = c("host").is_null().all().over(SITE_DAY)
    url = pl.when(no_hosts).then("url").otherwise(full_urls(c("url"), c("host"), c("__site_url")))
    texts = hits.select(SITE_DAY, "url", "host", "url_referrer", site_url.alias("__site_url")).select(
        url=place + url, url_referrer=place + c("url_referrer")
    )
    urls, referrers, agents = (
        t.cast(pl.Categorical(pl.Categories.random())) for t in (*texts.get_columns(), hits["user_agent"])
    )
    who = values_of(agents)
    said = Said(
        _judge(values_of(urls), sites),
        _classify(values_of(referrers), sites, lookups),
        pl.concat([who.to_frame("user_agent"), clients(who)], how="horizontal"),
    )
    # Lists change: robots are judged anew from the agents, so that a new list needs no new import.
    robots = lookups.robots(who).gather(agents.to_physical()).alias("robot")
    return hits.with_columns(urls, agents, robots), said, referrers.to_physical(), country.gather(hits[SITE_DAY])


def _taken_apart(pairs: pl.Series, sites: Sequence[Site]) -> pl.DataFrame:
    """row, place, text, site_url, own_host of each pair of a site's place and its text."""
    about = pl.DataFrame(
        {"site_url": [s.url for s in sites], "own_host": [s.host for s in sites]},
        schema=dict.fromkeys(("site_url", "own_host"), pl.String),
    )
    parts = pairs.to_frame("pair").select(c("pair").str.splitn(_BETWEEN, 2)).unnest("pair")
    table = parts.select(c("field_0").cast(pl.Int32).alias("place"), c("field_1").alias("text")).with_row_index("row")
    return pl.concat([table, about[table["place"]]], how="horizontal")


def _judge(pairs: pl.Series, sites: Sequence[Site]) -> pl.DataFrame:
    """What each site's URL says (`said_of`), one row a pair."""
    table = _taken_apart(pairs, sites)
    full = table.select(url=full_urls(c("text"), pl.lit(None, pl.String), c("site_url"))).to_series()
    kinds: dict[object, list[int]] = {}
    for n in dict.fromkeys(_places(sites)):
        kinds.setdefault(kind(sites[n]), []).append(n)
    found = []
    for members in kinds.values():
        mine = table.filter(c("place").is_in(members)) if len(kinds) > 1 else table
        site = sites[members[0]]
        items = explain(mine["text"], site, mine["own_host"])
        identifier, _ = map_identifiers(items["identifier"], site.identifier_map)
        found.append(items.with_columns(identifier, mine["row"]))
    return said_of(full, pl.concat(found).sort("row"))


def _classify(pairs: pl.Series, sites: Sequence[Site], lookups: Lookups) -> pl.DataFrame:
    """What each site's referrer says (`Referrers.classify`), one row a pair."""
    table = _taken_apart(pairs, sites)
    own = c("text").str.starts_with(c("site_url") + "/").fill_null(value=False)
    foreign = table.select(text=pl.when(~own).then("text")).to_series()
    return lookups.referrers.classify_for(foreign, table["own_host"])


def _places(sites: Sequence[Site]) -> list[int]:
    """For each site where it stands first: the same for all days of a site."""
    first: dict[int, int] = {}
    return [first.setdefault(s.id, n) for n, s in enumerate(sites)]
