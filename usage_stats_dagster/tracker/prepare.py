"""Hits with all that a visit or an event takes from their URL, their referrer and their log.

What belongs here: work on text, native Polars, once per distinct value. What does not: anything that looks from one hit
to another: that is `sessions.py`, `events.py` and `visits.py`, which any engine can run over what comes from here.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from usage_stats_dagster.items.mapping import map_identifiers
from usage_stats_dagster.items.match import explain
from usage_stats_dagster.lookups.clients import clients
from usage_stats_dagster.lookups.distinct import values_of
from usage_stats_dagster.lookups.referrers import Referrers
from usage_stats_dagster.lookups.remembered import Remembered
from usage_stats_dagster.settings import Site
from usage_stats_dagster.tracker.campaigns import campaign_name, campaigns
from usage_stats_dagster.tracker.sessions import BY, CAMPAIGN, DIRECT, ORDER
from usage_stats_dagster.tracker.urls import download_urls, full_urls, page_urls, search_keyword

DOWNLOAD, SEARCH = 3, 8
"""Matomo's action types (page views are 1)."""

CODED = ("url", "url_referrer", "user_agent")
"""The columns that `coded` makes categoricals of: long text that many hits share."""

_FEW_VISITORS = 0.02
"""Share of the hits: with more visitors out of order than this it is quicker to sort all."""

NO_ACT = "none"
"""`item_action` of a URL that a rule knows to be no act about an item."""

IDENTITY_DIGITS = 15
"""Hexadecimal digits of a log's identity that go into an event's id: 60 bits."""

c = pl.col


def in_order(hits: pl.DataFrame, *first: str) -> pl.DataFrame:
    """Hits (schemas.HITS) sorted by the columns named `first`, then visitor and `sessions.ORDER`, with `t` and `idlink_va`.

    `t` is Int64, epoch ms; `idlink_va` 60 bits of the log's identity, plus the line: unique within the site, and in the
    order of identity and line.
    """
    identity = c("log_identity").str.slice(0, IDENTITY_DIGITS).str.to_integer(base=16, dtype=pl.Int64)
    keys = hits.select(
        *first, c("visitor"), c("time").dt.epoch("ms").alias("t"), c("tie"), idlink_va=identity + c("line")
    )
    # Only the keys are sorted; all other columns are gathered once.
    numbered = keys.with_row_index("row__")
    row = numbered.sort(*first, BY, *ORDER)["row__"] if first else _sorted(numbered)
    hits = hits.rechunk()  # rows gathered out of many chunks take five times as long
    return hits[row].with_columns(keys["t"].gather(row), keys["idlink_va"].gather(row))


def _sorted(keys: pl.DataFrame) -> pl.Series:
    """`row__` in the order of the keys. A log is nearly sorted by time, so that few visitors are left to be sorted by all keys."""
    by_visitor = keys.sort(BY, maintain_order=True)
    after = c(ORDER[-1]) < c(ORDER[-1]).shift(1)
    for key in reversed(ORDER[:-1]):
        after = (c(key) < c(key).shift(1)) | ((c(key) == c(key).shift(1)) & after)
    wrong = by_visitor[BY].filter(by_visitor.select((c(BY) == c(BY).shift(1)) & after).to_series()).unique()
    if wrong.len() > _FEW_VISITORS * keys.height:
        return keys.sort(BY, *ORDER)["row__"]
    places = by_visitor[BY].is_in(wrong.implode()).arg_true()
    return by_visitor["row__"].scatter(places, by_visitor[places].sort(BY, *ORDER)["row__"])


def coded(hits: pl.LazyFrame, site: Site, *, hosts: bool) -> pl.LazyFrame:
    """Hits whose URLs (in full where there are virtual `hosts`), referrers and user agents are categoricals.

    Text is hashed once; what is said of a distinct value then leads back to the rows by its code.
    """
    # Without virtual hosts all URLs have one beginning, and paths alone tell them apart.
    url = full_urls(c("url"), c("host"), site.url) if hosts else c("url")
    return hits.with_columns(
        (url if name == "url" else c(name)).cast(pl.Categorical(pl.Categories.random())).alias(name) for name in CODED
    )


@dataclass(frozen=True)
class Said:
    """What the distinct values of coded hits say; row k of each table belongs to the code k.

    `urls`: page, prefix, download, keyword, campaign, identifier, item_action. `referrers`: referer_type, referer_name.
    `agents`: user_agent, config_browser_name, config_os, config_device_type.
    """

    urls: pl.DataFrame
    referrers: pl.DataFrame
    agents: pl.DataFrame


class Judges:
    """Those who say what URLs, referrers and agents mean; one for all shares of a site's day, which have most in common.

    Calling them raises ItemRuleError and IdentifierMapError for a site's unusable rules.
    """

    def __init__(self, site: Site, referrers: Referrers) -> None:
        self._site = site
        self._referrers = referrers
        self._urls = Remembered(lambda distinct: _judge_urls(distinct, site))

    def __call__(self, hits: pl.DataFrame) -> Said:
        """What is said of the values of coded hits."""
        agents = values_of(hits["user_agent"])
        return Said(
            self._urls(values_of(hits["url"])).struct.unnest(),
            self._referrers.classify(_foreign(values_of(hits["url_referrer"]), self._site)),
            pl.concat([agents.to_frame("user_agent"), clients(agents)], how="horizontal"),
        )


def prepare(hits: pl.DataFrame, site: Site, said: Said) -> pl.LazyFrame:
    """Coded hits as `in_order` gives them with what the transforms need, one row a hit, in the same order.

    Adds `action_name`, `action_url`, `action_url_prefix`, `identifier`, `item_action`, `country_item`, `ref_type`,
    `ref_name`, `campaign`; sets `action_type` 8 where a page view is a site search; drops `host` and `url`.
    """
    country = pl.lit(site.country.upper() if site.country else None, pl.String)
    return told(hits, said, hits["url"].to_physical(), hits["url_referrer"].to_physical(), country)


def told(
    hits: pl.DataFrame, said: Said, of_url: pl.Series, of_referrer: pl.Series, country: pl.Expr | pl.Series
) -> pl.LazyFrame:
    """What `prepare` returns, where the row of `said` that a hit's URL and its referrer have is `of_url` and `of_referrer`."""
    came = pl.DataFrame(column.gather(of_referrer) for column in said.referrers)
    is_download = c("action_type") == DOWNLOAD
    is_search = ~is_download & c("keyword").is_not_null()
    is_page = ~is_download & ~is_search
    by_campaign = c("campaign").is_not_null()
    urls = pl.DataFrame(column.gather(of_url) for column in said.urls)
    return (
        pl.concat([hits.drop("host", "url"), urls, came], how="horizontal")
        .lazy()
        .with_columns(
            action_type=pl.when(is_search).then(pl.lit(SEARCH, pl.Int8)).otherwise("action_type"),
            action_name=pl.when(is_search).then("keyword"),
            action_url=pl.when(is_page).then("page").when(is_download).then("download"),
            action_url_prefix=pl.when(is_page).then("prefix"),
            country_item=country,
            ref_type=pl.when(by_campaign)
            .then(pl.lit(CAMPAIGN, pl.Int8))
            .otherwise(c("referer_type").fill_null(DIRECT)),
            ref_name=pl.when(by_campaign).then(campaign_name(c("campaign"))).otherwise("referer_name"),
        )
        .drop("keyword", "page", "prefix", "download", "referer_type", "referer_name")
    )


def _foreign(came_from: pl.Series, site: Site) -> pl.Series:
    """Referrers without those that are the site's own at first sight, most of all: they are direct, as null is."""
    if site.url is None:
        return came_from
    return came_from.to_frame("url").select(pl.when(~c("url").str.starts_with(f"{site.url}/")).then("url")).to_series()


def _judge_urls(distinct: pl.Series, site: Site) -> pl.Series:
    """What each URL (path and query, or in full) says: a struct of page, prefix, download, keyword, campaign and item."""
    full = pl.DataFrame({"url": distinct}).select(full_urls(c("url"), pl.lit(None, pl.String), site.url)).to_series()
    items = explain(distinct, site)
    identifier, _ = map_identifiers(items["identifier"], site.identifier_map)
    return said_of(full, items.with_columns(identifier)).to_struct("said")


def said_of(full: pl.Series, items: pl.DataFrame) -> pl.DataFrame:
    """Page, prefix, download, keyword, campaign of full URLs, beside their items (identifier, item_action, rule)."""
    known = c(
        "rule"
    ).is_not_null()  # a rule may know that a URL is no act about an item: a result's next page, a thumbnail
    act = items.select(pl.coalesce("item_action", pl.when(known).then(pl.lit(NO_ACT)))).to_series()
    pages = page_urls(full)
    return pl.DataFrame(
        {
            "page": pages["action_url"],
            "prefix": pages["action_url_prefix"],
            "download": download_urls(full),
            "keyword": search_keyword(full),
            "campaign": campaigns(full),
            "identifier": items["identifier"],
            "item_action": act,
        }
    )
