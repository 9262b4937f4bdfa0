"""URLs of hits as Matomo stores them, over whole columns.

What belongs here: the full URL of a hit, a page's stored URL, the keyword of a site search. What does not: items
(`items/`), campaigns (`campaigns.py`), how one URL is read (`url_parts.py`).

Most URLs need no more than their prefix cut off, most others are of a simple form that expressions can rewrite; what is
left is read by `url_parts`, once per distinct value. Source: Matomo 5 as read in SEMANTICS.md 3 and 5.
"""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from usage_stats_dagster.lookups.distinct import each, per_distinct
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
"""Matomo's default names of a site search's keyword; the first that has a value wins."""

DROPPED_PARAMETERS = frozenset(
    [
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
        "jsessionid",
        "sessionid",
        "aspsessionid",
        "doing_wp_cron",
        "sid",
        "pk_vid",
    ]
).union(CAMPAIGN_NAMES, CAMPAIGN_KEYWORDS)
"""Sessions, clicks and campaigns: no part of which page it was (lower case; names are compared so)."""

PATH_LENGTH = 1024
"""Characters of path and query that the importer sends."""

_BASE = r"^(?:https?://[a-z0-9._-]+(?::[1-9][0-9]{1,3})?)?/[^?#;\x00-\x1f\x7f]*"
_PARAMETER = r"[A-Za-z1-9_.-][A-Za-z0-9_.-]*(?:=[^&#;?\x00-\x20\x7f]*)?"
_PLAIN = rf"{_BASE}$"
_WITH_QUERY = rf"{_BASE}(?:\?{_PARAMETER}(?:&{_PARAMETER})*)?$"
_WITH_MATRIX = rf"{_BASE}(?:;{_PARAMETER})+(?:\?{_PARAMETER}(?:&{_PARAMETER})*)?$"
_FRAGMENT = r"#[^;\x00-\x1f\x7f]*$"
_DROPPING = rf"[?&](?i:{'|'.join(sorted(DROPPED_PARAMETERS))})(?:[=&]|$)"
_DROPPED = rf"&(?i:{'|'.join(sorted(DROPPED_PARAMETERS))})(?:=[^&]*)?&"
_SEARCH = rf"(?i)[?&;#](?:{'|'.join(SEARCH_PARAMETERS)})(?:\[\]|%5B%5D|\[%5D|%5B\])?="
_ODD = r"[\r\n\x00]|&#?[A-Za-z0-9]+;"  # what the clean-up takes out or resolves may stand within a name
_SEARCHED = rf"\?(?:.*&)?(?i:{'|'.join(SEARCH_PARAMETERS)})=([^&]*)"

_url = pl.col("url")


def full_urls(path: pl.Expr, host: pl.Expr, site_url: pl.Expr | str | None) -> pl.Expr:
    """The URL that the importer sends for `path` (path and query as logged).

    A path that begins with `/` (its first 1,024 characters) stands behind the site's address, or behind the line's
    virtual host, if the format has one, with the scheme of the site's address (http for a site without one). Another
    is left as it is: `GET http://host/…` asks for an absolute URL, `OPTIONS *` for none. Without address and host the
    path stays alone.
    """
    own = site_url if isinstance(site_url, pl.Expr) else pl.lit(site_url, pl.String)
    scheme = own.str.extract("^(.*?://)").fill_null("http://")
    hosted = host.is_not_null() & (host != "")
    base = pl.when(hosted).then(scheme + host.str.to_lowercase()).otherwise(own.fill_null(""))
    short = pl.when(path.str.len_bytes() > PATH_LENGTH).then(path.str.slice(0, PATH_LENGTH)).otherwise(path)
    return pl.when(path.str.starts_with("/")).then(base + short).otherwise(path)


def page_urls(urls: pl.Series) -> pl.DataFrame:
    """`action_url` (without scheme and `www.`) and `action_url_prefix` of page views' full URLs, per row.

    The prefix (Int8) says what was cut off: 0 http://, 1 http://www., 2 https://, 3 https://www. Matrix parameters become
    a query, the host is lower case, the fragment goes, and so do DROPPED_PARAMETERS. Both columns are null for what is
    no URL (`*`); the prefix alone for a path without host and for another scheme.
    """
    prefix = pl.when(_url.str.starts_with("https://")).then(2).when(_url.str.starts_with("http://")).then(0)
    bare = _url.str.strip_prefix("https://").str.strip_prefix("http://")
    www = bare.str.starts_with("www.") & prefix.is_not_null()
    return pl.DataFrame({"url": _clean(urls)}).select(
        pl.when(www).then(bare.str.slice(4)).otherwise(bare).alias("action_url"),
        (prefix + www.cast(pl.Int32)).cast(pl.Int8).alias("action_url_prefix"),
    )


def download_urls(urls: pl.Series) -> pl.Series:
    """`action_url` of downloads' and outlinks' full URLs: whole; only HTML's entities are resolved, as Matomo does."""
    escaped = urls.str.contains(r"&#?[A-Za-z0-9]+;").fill_null(value=False)
    return urls.zip_with(~escaped, per_distinct(urls, each(unescaped))) if escaped.any() else urls


def search_keyword(urls: pl.Series) -> pl.Series:
    """The keyword of a site search, decoded; null for a URL that searches nothing."""
    searching = pl.DataFrame({"url": urls}).with_row_index("row").filter(_url.str.contains(rf"{_SEARCH}|{_ODD}"))
    simple = searching.filter(
        _url.str.contains(_WITH_QUERY), _url.str.len_bytes() <= LONGEST, _url.str.count_matches(_SEARCH) == 1
    )
    value = simple.select(_url.str.extract(_SEARCHED))["url"]
    odd = searching.join(simple.select("row"), on="row", how="anti")
    found = pl.Series(urls.name, [None], dtype=pl.String).new_from_index(0, len(urls))
    found = found.scatter(simple["row"], per_distinct(value, each(_decoded_keyword)))
    return found.scatter(odd["row"], per_distinct(odd["url"], each(_keyword)))


def _clean(urls: pl.Series) -> pl.Series:
    """Page URLs cleaned, prefix and all."""
    rows = pl.DataFrame({"url": urls}).with_row_index("row")
    untouched = _url.str.contains(_PLAIN) & (_url.str.len_bytes() <= LONGEST) & ~_url.str.ends_with(" ")
    touched = rows.filter(~untouched)
    simple = _clean_simple(touched)
    odd = touched.join(simple.select("row"), on="row", how="anti")
    cleaned = rows["url"].scatter(simple["row"], simple["url"])
    return cleaned.scatter(odd["row"], per_distinct(odd["url"], each(_clean_odd)))


def _clean_simple(rows: pl.DataFrame) -> pl.DataFrame:
    """Those of the rows (row, url) whose URL is of a simple form, cleaned; each step sees only rows that need it.

    Not simple is a query with a name that stands twice, a name that is no plain word, blanks and control characters.
    """
    rows = rows.filter(_url.str.len_bytes() <= LONGEST, ~_url.str.ends_with(" "))
    rows = _where(rows, _url.str.contains("[;#]"), _without_fragment_and_matrix)
    rows = rows.filter(_url.str.contains(_WITH_QUERY))
    rows = _where(rows, _url.str.contains(_DROPPING), _without_dropped)
    names = _url.str.replace("?", "&", literal=True).str.extract_all("&[^=&]*")
    twice = rows.filter(_url.str.contains("&", literal=True)).filter(names.list.n_unique() < names.list.len())
    return rows.join(twice.select("row"), on="row", how="anti")


def _where(rows: pl.DataFrame, condition: pl.Expr, step: Callable[[pl.DataFrame], pl.DataFrame]) -> pl.DataFrame:
    found = rows.select(condition.alias("found"))["found"]
    return pl.concat([rows.filter(~found), step(rows.filter(found))]) if found.any() else rows


def _without_fragment_and_matrix(rows: pl.DataFrame) -> pl.DataFrame:
    """As `url_parts` does it: the first `;` becomes the `?`, and all that separates behind it becomes `&`."""
    one_kind = _url.str.replace("?", ";", literal=True).str.replace(";", "?", literal=True)
    query = one_kind.str.replace_all(";", "&", literal=True)
    return rows.with_columns(_url.str.replace(_FRAGMENT, "")).with_columns(
        pl.when(_url.str.contains(_WITH_MATRIX)).then(query).otherwise(_url).alias("url")
    )


def _without_dropped(rows: pl.DataFrame) -> pl.DataFrame:
    """Each parameter between separators of its own, so that one match takes a parameter and no more."""
    base, query = _url.str.extract(r"^([^?]*)"), _url.str.extract(r"\?(.*)$").fill_null("")
    doubled = pl.lit("&") + query.str.replace_all("&", "&&", literal=True) + pl.lit("&")
    kept = doubled.str.replace_all(_DROPPED, "").str.strip_chars("&").str.replace_all("&&", "&", literal=True)
    return rows.select("row", pl.when(kept == "").then(base).otherwise(base + pl.lit("?") + kept).alias("url"))


def _clean_odd(url: str) -> str | None:
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
    return _decoded_keyword(value) if value else None


def _decoded_keyword(value: str) -> str | None:
    return None if value == "0" else cut(decoded(value)) or None
