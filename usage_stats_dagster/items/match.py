"""Which item a URL is about, and by which act: the rules applied to a column of URLs.

What belongs here: tidying URLs into the form that patterns are written for, and trying rules in order. What does not:
the rules (`rules.py`, `platforms/`), normalising and mapping what they find (`identifiers.py`, `mapping.py`).

A rule is tried only on the URLs that no rule before it took and that hold one of its needles, so a million distinct
URLs cost little more than the regex that each one matches in the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

import polars as pl

from usage_stats_dagster.items.rules import HOST, Rule, fields, rules_for, rules_of_any_host

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from usage_stats_dagster.settings import Site

_ROW, _URL = "row__", "url__"  # no names that a pattern's group would have
_EXPLAINED = pl.Schema({"identifier": pl.String, "item_action": pl.String, "rule": pl.String})
_ODD = ("#", ";", "//", "%2f", "&amp;")


def identify(urls: pl.Series, site: Site, hosts: pl.Series | None = None) -> pl.DataFrame:
    """Identifier and act of each URL: columns identifier, item_action (both null when it is no item's), one row a URL.

    `urls`: path and query as logged, a full URL, or host and path without a scheme (Matomo's stored form); null gives
    nulls. item_action is investigation, request or search; a search has no identifier. The identifier is as the URL
    has it, percent-escapes undone: `mapping.map_identifiers` comes next. Pass distinct URLs. Raises ItemRuleError for
    a site's unusable rule; no URL raises. `hosts`: where the URLs are of several sites of one kind (`rules.kind`), `site`
    one of them, the host of each URL's site.
    """
    return explain(urls, site, hosts).drop("rule")


def explain(urls: pl.Series, site: Site, hosts: pl.Series | None = None) -> pl.DataFrame:
    """As `identify`, with the name of the rule that took the URL (column rule; null: no rule knows it).

    A rule may know a URL and say that it is no act about an item: then only `rule` is not null.
    """
    rules = rules_for(site) if hosts is None or site.host is None else rules_of_any_host(site)
    rows = pl.DataFrame({_ROW: pl.int_range(len(urls), dtype=pl.UInt32, eager=True)})
    left = rows.with_columns(tidy(urls.cast(pl.String)).alias(_URL))
    if hosts is not None:
        left = left.with_columns(hosts.alias(HOST))
    left = left.drop_nulls(_URL)
    # Most URLs of many sites hold no rule's needle: they meet the few rules that have none, in the same order.
    near = _holds_any(left, [n for r in rules for n in r.needles])
    found = [
        *_first_match(left.filter(near), rules),
        *_first_match(left.filter(~near), [r for r in rules if not r.needles]),
    ]
    answers = pl.concat([pl.DataFrame(schema={_ROW: pl.UInt32, **_EXPLAINED}), *found])
    return rows.join(answers, on=_ROW, how="left", maintain_order="left").drop(_ROW)


def tidy(urls: pl.Series) -> pl.Series:
    """Path and query in the form that patterns are written for, same length and order.

    Starts with `/`; no scheme, host, fragment or session id in the path; doubled slashes single; `%2F` a slash and
    `&amp;` an ampersand (Matomo stores downloads so). Other escapes stay.
    """
    frame = urls.alias(_URL).to_frame()
    odd = ~pl.col(_URL).str.starts_with("/") | pl.col(_URL).str.contains_any(list(_ODD), ascii_case_insensitive=True)
    is_odd = frame.select(odd.fill_null(False)).to_series()
    if not is_odd.any():
        return frame[_URL]
    path = (
        pl.col(_URL)
        .str.replace(r"(?i)^(?:[a-z][a-z0-9+.-]*:/*|[^/?#])[^/?#]*", "")
        .str.replace(r"(?s)#.*$", "")
        .str.replace_all("&amp;", "&", literal=True)
        .str.replace_all("(?i)%2f", "/")
        .str.replace_all(r"(?i);(?:jsessionid|phpsessid|sid)=[^/?;&]*", "")
        .str.replace_all(r"/{2,}", "/")
    )
    rooted = pl.when(path.str.starts_with("/")).then(path).otherwise("/" + path)
    tidied = frame.filter(is_odd).select(rooted).to_series()
    # Back to their places: the plain ones, then the tidied ones, gathered by where each stands.
    place = pl.when(is_odd).then(pl.lit(is_odd).cum_sum() + (~is_odd).sum()).otherwise((~pl.lit(is_odd)).cum_sum()) - 1
    return pl.concat([frame[_URL].filter(~is_odd), tidied]).gather(pl.select(place).to_series())


def _first_match(left: pl.DataFrame, rules: Sequence[Rule]) -> Iterator[pl.DataFrame]:
    """For each rule the rows (row, identifier, item_action, rule) that it takes and none before it took."""
    for rule in rules:
        near = left.filter(_holds_any(left, rule.needles)) if rule.needles else left
        if near.is_empty():  # spares small sites the compiling of patterns that their URLs don't need
            continue
        taken = _apply(near, rule)
        if not taken.is_empty():
            left = left.join(taken.select(_ROW), on=_ROW, how="anti")
            yield taken


def _holds_any(left: pl.DataFrame, needles: Sequence[str]) -> pl.Series:
    if not needles:
        return pl.repeat(False, len(left), dtype=pl.Boolean, eager=True)
    return left[_URL].str.contains_any(list(dict.fromkeys(needles)), ascii_case_insensitive=True)


def _apply(near: pl.DataFrame, rule: Rule) -> pl.DataFrame:
    """The rows that the rule takes: row, identifier, item_action, rule."""
    url = pl.col(_URL)
    if rule.action in (None, "search"):
        taken = near.filter(url.str.contains(rule.pattern)).select(_ROW, identifier=pl.lit(None, pl.String))
    elif not (wanted := list(dict.fromkeys(fields(rule.identifier_template)))):
        taken = near.filter(url.str.contains(rule.pattern)).select(_ROW, identifier=pl.lit(rule.identifier_template))
    else:
        if wanted == [HOST]:  # no group of the pattern will say whether it matches
            groups = near.filter(url.str.contains(rule.pattern))
        else:
            groups = near.select(pl.exclude(_URL), url.str.extract_groups(rule.pattern)).unnest(_URL)
        taken = _decoded(groups.select(_ROW, *wanted).drop_nulls(wanted), [w for w in wanted if w != HOST])
        taken = taken.select(_ROW, identifier=_filled(rule)).filter(pl.col("identifier").str.len_bytes() > 0)
    return taken.with_columns(item_action=pl.lit(rule.action, pl.String), rule=pl.lit(rule.name))


def _filled(rule: Rule) -> pl.Expr:
    names = fields(rule.identifier_template)
    form = rule.identifier_template
    for name in names:
        form = form.replace("{" + name + "}", "{}", 1)
    filled = pl.format(form, *names)
    if rule.fold is None:
        return filled
    return filled.str.to_lowercase() if rule.fold == "lower" else filled.str.to_uppercase()


def _decoded(groups: pl.DataFrame, names: list[str]) -> pl.DataFrame:
    """Percent-escapes undone; only the few distinct values that have any go through Python."""
    for name in names:
        escapes = groups[name].str.contains("%", literal=True)
        if escapes.any():
            escaped = groups[name].filter(escapes).unique()
            plain = pl.Series([unquote(v) for v in escaped], dtype=pl.String)
            groups = groups.with_columns(pl.col(name).replace(escaped, plain))
    return groups
