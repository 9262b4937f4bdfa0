"""Figures of items: both vocabularies from one set of marked events.

What belongs here: from events and visits of a period (a site's day, or a month) to sums by identifier and country,
and putting together the sums of several buckets of visitors. What does not: the steps (`steps.py`), the stored
table's other columns (`table.py`), documents.

Everything is a lazy narwhals frame: the same code runs on Polars, DuckDB and Spark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import reduce
from zoneinfo import ZoneInfo

import narwhals as nw

from usage_stats_dagster.engine import Frame
from usage_stats_dagster.metrics import steps
from usage_stats_dagster.metrics.sessions import local_hour
from usage_stats_dagster.metrics.steps import (
    COUNTER,
    DOWNLOAD,
    LAREFERENCIA,
    OUTLINK,
    SEARCH,
    VIEW,
    reason_column,
)
from usage_stats_dagster.schemas import COUNTER_METRICS, LAREFERENCIA_METRICS, METRICS
from usage_stats_dagster.settings import RulesSection

FIGURES = (*METRICS, "searches")
COUNTRIES = ("identifier", "country", "country_item", "actions", "last_seen", "idvisit")
"""Columns of `Figures.countries`."""
NO_COUNTRY = ""
"""Stands for an unknown country while grouping and joining, where null is not equal to null on every engine."""

EVENT_COLUMNS = (
    "idlink_va", "idvisit", "idvisitor", "server_time", "action_type", "action_url", "http_method", "http_status",
    "identifier", "item_action", "country_item", "robot",
)  # fmt: skip
MARKED_COLUMNS = (
    "idvisit", "idvisitor", "server_time", "kind", "identifier", "country", "country_item", "visit_total_actions",
    *(reason_column(v) for v in steps.VOCABULARIES),
)  # fmt: skip
COUNTRY_COLUMNS = (
    "idvisit", "server_time", "action_type", "action_url", "identifier", "item_action", "country_item", "robot",
)  # fmt: skip
VISIT_COLUMNS = ("idvisit", "visit_total_actions", "visit_total_time", "location_country")

c = nw.col


@dataclass(frozen=True)
class Figures:
    """What a set of events comes to. All three add up over disjoint sets of visitors."""

    sums: Frame
    """identifier (null: the platform's searches), country (null: unknown), the eight metrics and searches; one row each."""
    countries: Frame
    """identifier, country (the visitors'), country_item, actions, last_seen, idvisit: what a visit from each country says."""
    reasons: Frame
    """dropped_lareferencia, dropped_counter, events: how many events have that pair of codes."""

    def frames(self) -> tuple[Frame, Frame, Frame]:
        """The three, in order."""
        return self.sums, self.countries, self.reasons


def partial(
    events: Frame,
    visits: Frame,
    tail: Frame,
    *,
    rules: RulesSection,
    zone: ZoneInfo,
    days: tuple[date, date],
    keys: Sequence[str] = (),
) -> Figures:
    """The figures of some visitors' events within the days (first and last, both included).

    `events`, `visits`: rows of those tables, all of these visitors'. `tail`: their events of the first
    `rules.double_click_seconds` after the last day, which only tell double clicks. Tables may have any row order; a
    visitor's rows must be in one call. For the grain month call it with the month's events: what is binary per visit does
    not add up over a visit that spans days.

    `keys`: columns of all three tables that tell apart site-days (or other periods) within `days`, each with a tail of its own:
    then all that follows is by them, as if each had been computed alone.
    """
    return figures(mark(events, visits, tail, rules=rules, keys=keys), zone=zone, days=days, keys=keys)


def figures(
    marked: Frame,
    *,
    zone: ZoneInfo,
    days: tuple[date, date],
    one_country: bool = False,
    keys: Sequence[str] = (),
) -> Figures:
    """The figures of marked events of the days; their identifiers and visitors may be dictionary encoded (categoricals).

    `one_country`: all events of the period name the same country of their item, or none, so that nothing is to be
    chosen; `countries` then says it of each identifier once.
    """
    sums = [_lareferencia(marked, keys), _counter(marked, local_hour(zone, *days), keys), _searches(marked, keys)]
    added = _added(sums, [*keys, "identifier", "country"], FIGURES).with_columns(
        c("identifier", "country").cast(nw.String)
    )
    countries = _the_only_country(marked, keys) if one_country else _item_countries(marked, keys)
    return Figures(added, countries, _reasons(marked, keys))


def mark(
    events: Frame,
    visits: Frame,
    tail: Frame,
    *,
    rules: RulesSection,
    keys: Sequence[str] = (),
    more: Sequence[str] = (),
) -> Frame:
    """The events (keys, MARKED_COLUMNS, and `more` of theirs) with their kind, country and drop codes; the tail's are gone again."""
    columns = list(dict.fromkeys((*keys, *EVENT_COLUMNS, *more)))
    both = nw.concat(
        [
            events.select(columns).with_columns(in_tail=nw.lit(value=False)),
            tail.select(columns).with_columns(in_tail=nw.lit(value=True)),
        ]
    )
    joined = _with_country(both, visits, keys)
    marked = steps.apply(steps.with_kind(joined), rules, keys).filter(~c("in_tail"))
    return marked.select(list(dict.fromkeys((*keys, *MARKED_COLUMNS, *more))))


def combine(parts: Sequence[Figures], keys: Sequence[str] = ()) -> Figures:
    """The figures of all visitors from those of buckets of visitors."""
    sums, countries, reasons = zip(*(p.frames() for p in parts), strict=True)
    return Figures(
        _added(sums, [*keys, "identifier", "country"], FIGURES),
        _of_one_visit(nw.concat(countries), keys).select(*keys, *COUNTRIES),
        _added(reasons, [*keys, *(reason_column(v) for v in steps.VOCABULARIES)], ("events",)),
    )


def item_countries(events: Frame, visits: Frame, *, rules: RulesSection) -> Frame:
    """`Figures.countries` alone, of the same rows as `partial`'s: it asks neither for users nor for double clicks.

    `events`: COUNTRY_COLUMNS; `visits`: VISIT_COLUMNS.
    """
    joined = _with_country(events, visits, ())
    # What COUNTER's own steps drop LA Referencia's figures keep, and one of the two is enough to speak.
    of_both = [s for s in rules.steps if LAREFERENCIA in steps.vocabularies(s)]
    return _item_countries(steps.apply(steps.with_kind(joined), rules.model_copy(update={"steps": of_both})), ())


def replaced(sums: Frame, old: Frame, new: Frame) -> Frame:
    """The sums by identifier and country, with those of some visitors as `new` has them in place of `old`."""
    less = old.with_columns(**{name: 0 - c(name) for name in FIGURES})
    columns = ("identifier", "country", *FIGURES)
    return _added([f.select(*columns) for f in (sums, less, new)], ["identifier", "country"], FIGURES)


def of_one_visit(countries: Sequence[Frame]) -> Frame:
    """`Figures.countries` of all visits from those of parts of them, no visit in two."""
    return _of_one_visit(nw.concat(list(countries)), ())


def _with_country(events: Frame, visits: Frame, keys: Sequence[str]) -> Frame:
    """The events with VISIT_COLUMNS of their visit, and its country."""
    joined = events.join(visits.select(*keys, *VISIT_COLUMNS), on=[*keys, "idvisit"], how="left")
    return joined.with_columns(country=c("location_country").fill_null(NO_COUNTRY))


def _lareferencia(marked: Frame, keys: Sequence[str]) -> Frame:
    """Views, outlinks, downloads, conversions: each at most one per visit and identifier (domain of visits)."""
    kept = marked.filter((c(reason_column(LAREFERENCIA)) == 0) & ~c("identifier").is_null() & (c("kind") != SEARCH))
    flags = {"views": VIEW, "outlinks": OUTLINK, "downloads": DOWNLOAD}
    # Flags are columns before they are grouped: worked out within each group they cost three times as much.
    flagged = kept.with_columns(**{name: _one(c("kind") == kind) for name, kind in flags.items()})
    pairs = flagged.group_by(*keys, "idvisit", "identifier", "country").agg(
        *[c(name).max() for name in flags]
    )  # a visit has one country
    left = (c("downloads") == 1) | (c("outlinks") == 1)
    pairs = pairs.with_columns(conversions=_one((c("views") == 1) & left))
    return _sums(pairs, LAREFERENCIA_METRICS, keys)


def _counter(marked: Frame, hour: nw.Expr, keys: Sequence[str]) -> Frame:
    """Totals, and uniques per session: user and clock hour, after double clicks (COUNTER R5.1 7.3, 7.4).

    Any act on an item is an investigation, requests included. A session's use of an item counts in one country.
    """
    kept = marked.filter((c(reason_column(COUNTER)) == 0) & ~c("identifier").is_null() & (c("kind") != SEARCH))
    pairs = (
        kept.with_columns(hour=hour, one=nw.lit(1), request=_one(c("kind") == DOWNLOAD))
        .group_by(*keys, "idvisitor", "hour", "identifier")
        .agg(
            c("country").max(),
            c("one").sum().cast(nw.Int64).alias("total_item_investigations"),
            c("request").sum().cast(nw.Int64).alias("total_item_requests"),
        )
        .with_columns(
            unique_item_investigations=nw.lit(1).cast(nw.Int64), unique_item_requests=_one(c("total_item_requests") > 0)
        )
    )
    return _sums(pairs, COUNTER_METRICS, keys)


def _searches(marked: Frame, keys: Sequence[str]) -> Frame:
    """The platform's searches by country, without an identifier."""
    kept = marked.filter((c(reason_column(COUNTER)) == 0) & (c("kind") == SEARCH))
    nothing = nw.when(c("kind") != SEARCH).then(c("identifier"))  # of the column's own type, dictionary encoded or not
    platform = kept.with_columns(identifier=nothing, searches=nw.lit(1).cast(nw.Int64))
    return _sums(platform, ("searches",), keys)


def _item_countries(marked: Frame, keys: Sequence[str]) -> Frame:
    """What the visits say of each item's country: one visit from each visitors' country.

    A visit says the last country that its events name, or nothing (null). Of the visits from one country the one of most
    actions speaks, as in LA Referencia's documents: its rule is read off the 4 of 4,699 documents where it matters. So
    an item has no country where those visits name none, though another did.
    """
    visit = (*keys, "identifier", "country", "idvisit")
    kept = reduce(lambda a, b: a | b, [c(reason_column(v)) == 0 for v in steps.VOCABULARIES])
    of_items = marked.filter(kept & ~c("identifier").is_null()).with_columns(
        actions=c("visit_total_actions").fill_null(0).cast(nw.Int64)
    )
    # Few events are of a visit that may speak: only they are grouped. Items that nobody here names a country for stay:
    # another bucket's visit that names one may be outdone by one of these, which names none.
    item = (*keys, "identifier", "country")
    speaking = of_items.with_columns(most=c("actions").max().over(*item)).filter(c("actions") == c("most"))
    best = (
        speaking.with_columns(last_seen=c("server_time").max().over(*item))
        .filter(c("server_time") == c("last_seen"))
        .group_by(*item)
        .agg(c("idvisit").max(), c("actions").max(), c("last_seen").max())
    )
    says = (
        speaking.filter(~c("country_item").is_null())
        .join(best.select(*visit), on=list(visit), how="semi")
        .with_columns(latest=c("server_time").max().over(*visit))
        .filter(c("server_time") == c("latest"))
        .group_by(*visit)
        .agg(c("country_item").max())
    )
    return (
        best.join(says, on=list(visit), how="left")
        .with_columns(c("identifier", "country").cast(nw.String))
        .select(*keys, *COUNTRIES)
    )


def _the_only_country(marked: Frame, keys: Sequence[str]) -> Frame:
    """The same columns where all events name one country: one row an identifier that a counted event has, of no visit."""
    kept = reduce(lambda a, b: a | b, [c(reason_column(v)) == 0 for v in steps.VOCABULARIES])
    named = marked.filter(kept & ~c("identifier").is_null() & ~c("country_item").is_null())
    return (
        named.group_by(*keys, "identifier")
        .agg(c("country_item").max(), last_seen=c("server_time").max())
        .with_columns(
            c("identifier").cast(nw.String),
            country=nw.lit(NO_COUNTRY),
            actions=nw.lit(0).cast(nw.Int64),
            idvisit=nw.lit(0).cast(nw.Int64),
        )
        .select(*keys, *COUNTRIES)
    )


def _of_one_visit(visits: Frame, keys: Sequence[str]) -> Frame:
    """Of the visits to an item from one country the one of most actions, then the last, then of the greatest id."""
    key = (*keys, "identifier", "country")
    for rank in ("actions", "last_seen", "idvisit"):
        most = c(rank).max().over(*key)
        visits = visits.with_columns(most=most).filter(c(rank) == c("most")).drop("most")
    return visits


def _reasons(marked: Frame, keys: Sequence[str]) -> Frame:
    counted = marked.with_columns(events=nw.lit(1).cast(nw.Int64))
    return _added([counted], [*keys, *(reason_column(v) for v in steps.VOCABULARIES)], ("events",))


def _one(condition: nw.Expr) -> nw.Expr:
    return nw.when(condition).then(nw.lit(1)).otherwise(nw.lit(0)).cast(nw.Int64)


def _sums(pairs: Frame, names: Sequence[str], keys: Sequence[str]) -> Frame:
    """Sums by keys, identifier and country, the other figures 0."""
    by = [*keys, "identifier", "country"]
    zeros = {name: nw.lit(0).cast(nw.Int64) for name in FIGURES if name not in names}
    return _added([pairs], by, names).with_columns(**zeros).select(*by, *FIGURES)


def _added(frames: Sequence[Frame], keys: Sequence[str], names: Sequence[str]) -> Frame:
    """Sums of the named columns by the keys; Int64, since DuckDB's sums are wider and parquet has no such type."""
    return nw.concat(list(frames)).group_by(*keys).agg(*[c(n).sum().cast(nw.Int64) for n in names])
