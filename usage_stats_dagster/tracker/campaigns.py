"""Campaigns: what a landing URL says about the campaign that it was linked from.

What belongs here: name and keyword of a campaign. What does not: referrers (`lookups/referrers.py`), and what a change
of campaign does to a visit (`sessions.py`).

Source: Matomo 5 as read in SEMANTICS.md 5 and 6.
"""

from __future__ import annotations

import polars as pl

from usage_stats_dagster.lookups.distinct import each, per_distinct
from usage_stats_dagster.tracker.url_parts import decoded, first_value, read_query, take_apart

CAMPAIGN_NAMES = (
    "pk_cpn",
    "pk_campaign",
    "piwik_campaign",
    "mtm_campaign",
    "matomo_campaign",
    "utm_campaign",
    "utm_source",
    "utm_medium",
)
CAMPAIGN_KEYWORDS = ("pk_kwd", "pk_keyword", "piwik_kwd", "mtm_kwd", "mtm_keyword", "matomo_kwd", "utm_term")
"""Parameters in the order in which they are asked; their case matters."""

LONGEST_NAME = 255
"""Characters of name and of keyword that are kept."""

_BETWEEN = "\x1f"
_ANY_NAME = rf"[?&;#](?:{'|'.join(CAMPAIGN_NAMES)})="


def campaigns(urls: pl.Series) -> pl.Series:
    """The campaign of a full URL, null for none: its name in lower case, with the keyword behind it if it has one.

    Two hits come by one campaign if this is equal; `campaign_name` gives what is stored.
    """
    # What stands behind the path is the same for all items that one mailing links to.
    asking = pl.DataFrame({"url": urls}).with_row_index("row").filter(pl.col("url").str.contains(_ANY_NAME))
    behind = asking.select(pl.lit("/") + pl.col("url").str.extract(r"([?;#].*)$"))["literal"]
    none = pl.Series(urls.name, [None], dtype=pl.String).new_from_index(0, len(urls))
    return none.scatter(asking["row"], per_distinct(behind, each(_campaign)))


def campaign_name(campaign: pl.Expr) -> pl.Expr:
    """The name alone (`visits.referer_name`) of what `campaigns` gave."""
    return campaign.str.splitn(_BETWEEN, 2).struct.field("field_0")


def _campaign(url: str) -> str | None:
    parts = take_apart(url)
    if parts is None:
        return None
    found: tuple[str, str] | None = None
    # The fragment's campaign replaces the query's, unless that had a keyword.
    for text in (parts.query, parts.fragment):
        if found is None or not found[1]:
            found = _named(text) or found
    return _BETWEEN.join(filter(None, found)) if found else None


def _named(text: str) -> tuple[str, str] | None:
    query = read_query(text)
    for parameter in CAMPAIGN_NAMES:
        name = decoded(first_value(query, (parameter,)) or "").lower()
        if name not in ("", "0"):
            keyword = decoded(first_value(query, CAMPAIGN_KEYWORDS) or "").lower()
            return name[:LONGEST_NAME], keyword[:LONGEST_NAME]
    return None
