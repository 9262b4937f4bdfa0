"""Figures as the stored table, and the accounting of the steps.

What belongs here: the metrics table's rows from `Figures`, step counts by name, running them on Polars. What does not:
what a figure means (`aggregate.py`), where the table lies (`lake/`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import reduce

import narwhals as nw
import polars as pl

from usage_stats_dagster import engine
from usage_stats_dagster.engine import Frame
from usage_stats_dagster.metrics import steps
from usage_stats_dagster.metrics.aggregate import (
    COUNTRY_COLUMNS,
    EVENT_COLUMNS,
    FIGURES,
    NO_COUNTRY,
    VISIT_COLUMNS,
    Figures,
    combine,
    figures,
    item_countries,
    mark,
)
from usage_stats_dagster.metrics.steps import reason_column
from usage_stats_dagster.schemas import METRICS_TABLE, SITE_DAY
from usage_stats_dagster.settings import Settings, Site

c = nw.col

_ENCODED = ("action_url", "identifier", "location_country")

STEP_COUNTS_SCHEMA = pl.Schema({"vocabulary": pl.String, "step": pl.String, "events": pl.Int64})


@dataclass(frozen=True)
class Bucket:
    """All rows of some visitors: events and visits of the period, and the events of the seconds after it."""

    events: pl.LazyFrame
    visits: pl.LazyFrame
    tail: pl.LazyFrame


Runner = Callable[[Callable[[Bucket], Figures], Iterable[Bucket]], Iterable[Figures]]


@dataclass(frozen=True)
class Metrics:
    """A period's metrics and what its steps did."""

    table: pl.DataFrame
    """METRICS_TABLE, sorted by identifier and country."""
    step_counts: pl.DataFrame
    """vocabulary, step (`kept`, then each step of the settings in order), events; each vocabulary's sum is all events."""


def metrics(
    buckets: Iterable[Bucket],
    settings: Settings,
    site: Site,
    days: tuple[date, date],
    rules_version: str,
    *,
    run: Runner = map,
    one_country: bool = False,
) -> Metrics:
    """The metrics of a site's period on Polars, bucket by bucket of visitors: memory is that of the largest bucket.

    `days`: first and last day, both included; the rows carry the first. The same for any buckets and any row order.
    `run` applies a function to the buckets: `map`, or something that does several at a time. `one_country` as `figures` has it.
    """
    parts: list[Figures] = []
    for part in run(lambda bucket: figures_of(bucket, settings, days, one_country=one_country), buckets):
        parts.append(part)
        # All at once when those that came since are as large as the sum before: each by itself would sum the sum anew.
        if sum(map(_rows, parts[1:])) >= _rows(parts[0]):
            parts = [_together(parts)]
    if not parts:
        return Metrics(METRICS_TABLE.empty(), step_counts(pl.DataFrame(schema=_REASONS_SCHEMA), settings))
    total = _together(parts) if len(parts) > 1 else parts[0]
    return Metrics(table_of(total, site, days[0], rules_version), step_counts(engine.collect(total.reasons), settings))


def metrics_together(bucket: Bucket, settings: Settings, about: pl.DataFrame) -> list[Metrics]:
    """The metrics of several site-days on Polars, in one plan: each as `metrics` gives them.

    `about`: one row a site-day, in the order of what is returned: SITE_DAY, from 0; `idsite`, `day`, `level`, `rules_version`
    as METRICS_TABLE has them. The bucket's tables have SITE_DAY too: an event of a day's first seconds stands there twice, as its
    own day's and in the tail of the day before.
    """
    keys = [SITE_DAY]
    days = (about["day"].min(), about["day"].max())
    of = figures_of(bucket, settings, days, one_country=_names_one_country_each(bucket.events), keys=keys)  # type: ignore[arg-type]
    counted = _counted(of, keys).join(engine.wrap(about.lazy()), on=SITE_DAY, how="left")
    table = engine.collect(counted.select(*keys, *METRICS_TABLE.columns)).sort(SITE_DAY, "identifier", "country")
    tables, reasons = (
        f.partition_by(SITE_DAY, as_dict=True, include_key=False) for f in (table, engine.collect(of.reasons))
    )
    return [
        Metrics(
            METRICS_TABLE.conform(tables.get((k,), METRICS_TABLE.empty())),
            step_counts(reasons.get((k,), pl.DataFrame(schema=_REASONS_SCHEMA)), settings),
        )
        for k in about[SITE_DAY].to_list()
    ]


def countries_of(events: pl.LazyFrame, visits: pl.LazyFrame, settings: Settings) -> Frame:
    """`Figures.countries` of the events of some visits, computed: those visits' rows, each once."""
    text = pl.Categorical(pl.Categories.random())
    encoded = (_encoded(events, COUNTRY_COLUMNS, text), _encoded(visits, VISIT_COLUMNS, text))
    return engine.wrap(engine.collect(item_countries(*encoded, rules=settings.rules)).lazy())


def table_of(of: Figures, site: Site, day: date, rules_version: str) -> pl.DataFrame:
    """METRICS_TABLE of the figures, sorted by identifier and country."""
    rows = metrics_rows(of, idsite=site.id, day=day, level=site.level, rules_version=rules_version)
    return METRICS_TABLE.conform(engine.collect(rows).sort("identifier", "country"))


def figures_of(
    bucket: Bucket, settings: Settings, days: tuple[date, date], *, one_country: bool = False, keys: Sequence[str] = ()
) -> Figures:
    """The bucket's figures, computed; `keys` as `partial` has them."""
    # Text is hashed once: what follows groups by codes, which takes a quarter of the time.
    text = pl.Categorical(pl.Categories.random())
    frames = (
        _encoded(bucket.events, [*keys, *EVENT_COLUMNS], text),
        _encoded(bucket.visits, [*keys, *VISIT_COLUMNS], text),
        _encoded(bucket.tail, [*keys, *EVENT_COLUMNS], text),
    )
    # Marked once and held: three queries over one plan would mark three times.
    marked = engine.collect(mark(*frames, rules=settings.rules, keys=keys))
    made = figures(engine.wrap(marked.lazy()), zone=settings.zone, days=days, one_country=one_country, keys=keys)
    return _collected(made)


def _encoded(rows: pl.LazyFrame, columns: Sequence[str], text: pl.Categorical) -> Frame:
    as_code = {c: pl.col(c).cast(text) for c in _ENCODED}
    # 16 hexadecimal digits: a number takes a fifth of the time of a code.
    as_code["idvisitor"] = pl.col("idvisitor").str.to_integer(base=16, dtype=pl.UInt64)
    return engine.wrap(rows.select(as_code.get(c, pl.col(c)) for c in columns).collect(engine="streaming").lazy())


def metrics_rows(of: Figures, *, idsite: int, day: date, level: str, rules_version: str) -> Frame:
    """Rows of METRICS_TABLE, unsorted: figures with the item's country; rows whose figures are all 0 are left out."""
    return (
        _counted(of, ())
        .with_columns(
            idsite=nw.lit(idsite).cast(nw.Int32),
            day=nw.lit(day).cast(nw.Date),
            level=nw.lit(level),
            rules_version=nw.lit(rules_version),
        )
        .select(*METRICS_TABLE.columns)
    )


def _counted(of: Figures, keys: Sequence[str]) -> Frame:
    """The figures that are not all 0, by keys, identifier and country, with the item's country."""
    some = reduce(lambda a, b: a | b, [c(name) > 0 for name in FIGURES])
    country = nw.when(c("country") != NO_COUNTRY).then(c("country"))
    items = _last_country(of.countries, keys)
    return of.sums.filter(some).join(items, on=[*keys, "identifier"], how="left").with_columns(country=country)


def names_one_country(events: pl.LazyFrame) -> bool:
    """Whether all events name the same country of their item, or none does: so it is with the embedded tracker's."""
    return bool(events.select(pl.col("country_item").n_unique() <= 1).collect(engine="streaming").item())


def _names_one_country_each(events: pl.LazyFrame) -> bool:
    """As `names_one_country`, of each site-day by itself."""
    each = events.group_by(SITE_DAY).agg(pl.col("country_item").n_unique())
    return bool(each.select((pl.col("country_item") <= 1).all()).collect().item())


def step_counts(reasons: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """The pairs of drop codes as counts by vocabulary and step, zeros included (STEP_COUNTS_SCHEMA)."""
    rows = []
    for vocabulary in steps.VOCABULARIES:
        column = pl.col(reason_column(vocabulary))
        counts = dict(reasons.group_by(column).agg(pl.col("events").sum()).iter_rows())
        in_order = [s for s in settings.rules.steps if vocabulary in steps.vocabularies(s)]
        rows += [(vocabulary, name, counts.get(steps.NAMES.index(name), 0)) for name in (steps.KEPT, *in_order)]
    return pl.DataFrame(rows, schema=STEP_COUNTS_SCHEMA, orient="row")


_REASONS_SCHEMA = pl.Schema({**{reason_column(v): pl.Int8 for v in steps.VOCABULARIES}, "events": pl.Int64})


def _last_country(countries: Frame, keys: Sequence[str]) -> Frame:
    """Keys, identifier, country_item: the one named last; of those named in the same moment the greatest, so that any order does."""
    item = (*keys, "identifier")
    named = countries.filter(~c("country_item").is_null())
    latest = named.with_columns(latest=c("last_seen").max().over(*item)).filter(c("last_seen") == c("latest"))
    return latest.group_by(*item).agg(c("country_item").max())


def _together(parts: Sequence[Figures]) -> Figures:
    """Streaming takes a tenth less memory and time here than the other engine."""
    return Figures(*(engine.wrap(engine.collect(f, streaming=True).lazy()) for f in combine(parts).frames()))


def _rows(of: Figures) -> int:
    return engine.collect(of.sums).height


def _collected(of: Figures) -> Figures:
    return Figures(*(engine.wrap(engine.collect(f)) for f in of.frames()))
