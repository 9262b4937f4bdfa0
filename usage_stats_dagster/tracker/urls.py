"""URLs of hits as Matomo stores them, over whole columns.

What belongs here: the full URL of a hit, a page's stored URL, the keyword of a site search. What does not: items
(`items/`), campaigns (`campaigns.py`), how one URL is read (`url_parts.py`).

Most URLs need nothing but their prefix cut off, which an expression sees and does; the others are read once per
distinct value. Source: Matomo 5 as read in SEMANTICS.md 3 and 5.
"""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from usage_stats_dagster.lookups.distinct import Judge, per_distinct
from usage_stats_dagster.tracker.campaigns import CAMPAIGN_KEYWORDS, CAMPAIGN_NAMES
from usage_stats_dagster.tracker.url_parts import (
    LONGEST,
    cut,
    decoded,
    first_value,
    read_query,
    take_apart,
    unescaped,
    write_query,
)

SEARCH_PARAMETERS = ("q", "query", "s", "search", "searchword", "k", "keyword", "keywords")
"""Matomo's default names of a site search's keyword, the first that has a value wins."""

DROPPED_PARAMETERS = frozenset(
    (
        *[
            "ignore_referrer",
            "ignore_referer",
            "gclid",
            "fbclid",
            "msclkid",
            "twclid",
            "wbraid",
            "gbraid",
            "yclid",
            "fb_xd_fragment",
            "fb_comment_id",
            "phpsessid",
        ],
        *["jsessionid", "sessionid", "aspsessionid", "doing_wp_cron", "sid", "pk_vid"],
        *CAMPAIGN_NAMES,
        *CAMPAIGN_KEYWORDS,
    )
)
"""Sessions, clicks and campaigns: no part of which page it was (lower case; names are compared so)."""

PATH_LENGTH = 1024
"""Characters of path and query that the importer sends."""

_ORIGIN = r"^(?:https?://[a-z0-9._-]+(?::[1-9][0-9]{1,3})?)?"
_PATH = r"/[^?#;\x00-\x1f\x7f]*"
_NAME = r"[A-Za-z_.-][A-Za-z0-9_.-]*"
_VALUE = r"[^&=#;?\[\]\x00-\x20\x7f]*"
_PLAIN = rf"{_ORIGIN}(?:{_PATH})$"
_ASKING = rf"{_ORIGIN}(?:{_PATH})\?{_NAME}={_VALUE}(?:&{_NAME}={_VALUE})*$"
_DROPPED = rf"(?i)[?&](?:{'|'.join(sorted(DROPPED_PARAMETERS))})="
_SEARCH = rf"(?i)[?&;#](?:{'|'.join(SEARCH_PARAMETERS)})(?:\[\]|%5B%5D|\[%5D|%5B\])?="


def full_urls(path: pl.Expr, host: pl.Expr, site_url: str | None) -> pl.Expr:
    """The URL that the importer sends for `path` (path and query as logged).

    A path that begins with `/` (its first 1,024 characters) stands behind the site's address, or behind the line's
    virtual host, if the format has one, with the scheme of the site's address (http for a site without one). Another
    is left as it is: `GET http://host/…` asks for an absolute URL, `OPTIONS *` for none. Without address and host the
    path stays alone.
    """
    scheme = site_url.partition("://")[0] if site_url else "http"
    base = (
        pl.when(host.is_not_null() & (host != ""))
        .then(pl.lit(f"{scheme}://") + host.str.to_lowercase())
        .otherwise(pl.lit(site_url or ""))
    )
    short = pl.when(path.str.len_bytes() > PATH_LENGTH).then(path.str.slice(0, PATH_LENGTH)).otherwise(path)
    return pl.when(path.str.starts_with("/")).then(base + short).otherwise(path)


def page_urls(urls: pl.Series) -> pl.DataFrame:
    """`action_url` (without scheme and `www.`) and `action_url_prefix` of page views' full URLs, per row.

    The prefix (Int8) says what was cut off: 0 http://, 1 http://www., 2 https://, 3 https://www.

    Matrix parameters become a query, the host is lower case, the fragment goes, and so do DROPPED_PARAMETERS. Both are
    null for what is no URL (`*`); the prefix alone for a path without host and for another scheme.
    """
    frame = pl.DataFrame({"url": urls})
    whole = _as_it_stands(frame)
    cleaned = frame["url"]
    if not whole.all():
        odd = per_distinct(frame.select(pl.when(~whole).then("url"))["url"], _each(_cleaned))
        cleaned = cleaned.zip_with(whole, odd)
    url = pl.col("url")
    prefix = pl.when(url.str.starts_with("https://")).then(2).when(url.str.starts_with("http://")).then(0).cast(pl.Int8)
    bare = url.str.strip_prefix("https://").str.strip_prefix("http://")
    www = bare.str.starts_with("www.") & prefix.is_not_null()
    return pl.DataFrame({"url": cleaned}).select(
        pl.when(www).then(bare.str.slice(4)).otherwise(bare).alias("action_url"),
        (prefix + www.cast(pl.Int8)).alias("action_url_prefix"),
    )


def download_urls(urls: pl.Series) -> pl.Series:
    """`action_url` of downloads' and outlinks' full URLs: whole; only HTML's entities are resolved, as Matomo does."""
    escaped = urls.str.contains(r"&#?[A-Za-z0-9]+;").fill_null(value=False)
    if not escaped.any():
        return urls
    return urls.zip_with(~escaped, per_distinct(urls, _each(unescaped)))


def search_keyword(urls: pl.Series) -> pl.Series:
    """The keyword of a site search, decoded; null for a URL that searches nothing."""
    asking = urls.str.contains(_SEARCH).fill_null(value=False)
    frame = pl.DataFrame({"url": urls, "asking": asking})
    return per_distinct(frame.select(pl.when("asking").then("url"))["url"], _each(_keyword))


def _as_it_stands(frame: pl.DataFrame) -> pl.Series:
    """Boolean: a clean-up would change nothing. A query is left to it if a name is dropped or may stand twice."""
    url = pl.col("url")
    short = url.str.len_bytes() <= LONGEST
    blank = url.str.ends_with(" ")
    plain = frame.select((url.str.contains(_PLAIN) & short & ~blank).fill_null(value=True))["url"]
    asking = frame.with_row_index("row").filter(~plain)
    asking = asking.filter(url.str.contains(_ASKING) & short & ~url.str.contains(_DROPPED))
    names = url.str.extract_all(rf"[?&]{_NAME}=").list.eval(pl.element().str.slice(1))
    rows = asking.filter((url.str.count_matches("=", literal=True) < 2) | (names.list.n_unique() == names.list.len()))[
        "row"
    ]
    return plain.scatter(rows, values=True) if len(rows) else plain


def _cleaned(url: str) -> str | None:
    parts = take_apart(url)
    if parts is None:
        return None
    query = write_query(read_query(parts.query), DROPPED_PARAMETERS)
    return f"{parts.origin}{parts.path}?{query}" if query else parts.origin + parts.path


def _keyword(url: str) -> str | None:
    parts = take_apart(url)
    if parts is None:
        return None
    query = read_query(f"{parts.query}&{parts.fragment}" if parts.fragment else parts.query)
    value = first_value({name.lower(): v for name, v in query.items()}, SEARCH_PARAMETERS)
    return (cut(decoded(value)) or None) if value else None


def _each(read: Callable[[str], str | None]) -> Judge:
    return lambda urls: pl.Series([read(u) for u in urls.to_list()], dtype=pl.String)
