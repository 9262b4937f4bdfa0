"""Content that no rule knows, by shape: what an operator needs to see to write a rule.

What belongs here: shapes of URLs and their counting. What does not: which URLs are content (`logs/`), the rules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from usage_stats_dagster.items.match import explain, tidy

if TYPE_CHECKING:
    from usage_stats_dagster.settings import Site

_SHAPING = (
    (r"(?i)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", "*"),  # uuid
    (r"=[^&]*", "=*"),  # a parameter's value
    (r"[^/?]+(\.[A-Za-z][A-Za-z0-9]{1,4})(\?|$)", "*${1}${2}"),  # a file's name
    (r"[^/?&=]*%[^/?&=]*", "*"),  # escaped words
    (r"[^/?&=]{41,}", "*"),  # slugs and hashes
    (r"\d+", "#"),
)


def shape(urls: pl.Expr) -> pl.Expr:
    """What URLs of one kind have in common: numbers are `#`; UUIDs, file names, values and long words are `*`."""
    for pattern, replacement in _SHAPING:
        urls = urls.str.replace_all(pattern, replacement)
    return urls


def unmapped(urls: pl.DataFrame, site: Site, top: int = 20) -> pl.DataFrame:
    """The commonest shapes of URLs that no rule of the site knows.

    `urls`: columns url (as `match.identify` takes them) and count, one row a distinct URL. Returns at most `top` rows:
    shape, count (sum), urls (distinct), example (its commonest URL), by falling count. URLs that a rule knows to be no
    act about an item (thumbnails, REST calls, pages of a collection) are left out; they need no rule.
    """
    unknown = urls.filter(explain(urls["url"], site)["rule"].is_null() & urls["url"].is_not_null())
    rest = unknown.with_columns(tidy(unknown["url"]).alias("tidied"))
    return (
        rest.sort("count", "url", descending=[True, False])
        .group_by(shape(pl.col("tidied")).alias("shape"), maintain_order=True)
        .agg(pl.col("count").sum(), urls=pl.len(), example=pl.col("url").first())
        .sort("count", "shape", descending=[True, False])
        .head(top)
    )
