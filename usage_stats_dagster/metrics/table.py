"""Figures as the stored table, and the accounting of the steps.

What belongs here: the metrics table's rows from `Figures`, step counts by name, running them on Polars. What does not:
what a figure means (`aggregate.py`), where the table lies (`lake/`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from functools import reduce

import narwhals as nw
import polars as pl

from usage_stats_dagster import engine
from usage_stats_dagster.engine import Frame
from usage_stats_dagster.metrics import steps
from usage_stats_dagster.metrics.aggregate import FIGURES, NO_COUNTRY, Figures, combine, figures, mark
from usage_stats_dagster.metrics.steps import reason_column
from usage_stats_dagster.schemas import METRICS_TABLE
from usage_stats_dagster.settings import Settings, Site

c = nw.col

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
) -> Metrics:
    """The metrics of a site's period on Polars, bucket by bucket of visitors: memory is that of the largest bucket.

    `days`: first and last day, both included; the rows carry the first. The same for any buckets and any row order.
    `run` applies a function to the buckets: `map`, or something that does several at a time.
    """
    total: Figures | None = None
    for part in run(lambda bucket: _of_bucket(bucket, settings, days), buckets):
        total = _collected(combine([total, part])) if total else part
    if total is None:
        return Metrics(METRICS_TABLE.empty(), step_counts(pl.DataFrame(schema=_REASONS_SCHEMA), settings))
    rows = metrics_rows(total, idsite=site.id, day=days[0], level=site.level, rules_version=rules_version)
    table = METRICS_TABLE.conform(engine.collect(rows).sort("identifier", "country"))
    return Metrics(table, step_counts(engine.collect(total.reasons), settings))


def _of_bucket(bucket: Bucket, settings: Settings, days: tuple[date, date]) -> Figures:
    frames = (engine.wrap(f) for f in (bucket.events, bucket.visits, bucket.tail))
    # Marked once and held: three queries over one plan would mark three times, at twice the cost.
    marked = engine.collect(mark(*frames, rules=settings.rules))
    encoded = marked.with_columns(pl.col("identifier").cast(pl.Categorical))  # grouping by codes is twice as fast
    return _collected(figures(engine.wrap(encoded.lazy()), zone=settings.zone, days=days))


def metrics_rows(of: Figures, *, idsite: int, day: date, level: str, rules_version: str) -> Frame:
    """Rows of METRICS_TABLE, unsorted: figures with the item's country; rows whose figures are all 0 are left out."""
    some = reduce(lambda a, b: a | b, [c(name) > 0 for name in FIGURES])
    country = nw.when(c("country") != NO_COUNTRY).then(c("country"))
    return (
        of.sums.filter(some)
        .join(_last_country(of.countries), on="identifier", how="left")
        .with_columns(
            idsite=nw.lit(idsite).cast(nw.Int32),
            day=nw.lit(day).cast(nw.Date),
            level=nw.lit(level),
            rules_version=nw.lit(rules_version),
            country=country,
        )
        .select(*METRICS_TABLE.columns)
    )


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


def _last_country(countries: Frame) -> Frame:
    """identifier, country_item: the one named last; of those named in the same moment the greatest, so that any order does."""
    named = countries.filter(~c("country_item").is_null())
    latest = named.with_columns(latest=c("last_seen").max().over("identifier")).filter(c("last_seen") == c("latest"))
    return latest.group_by("identifier").agg(c("country_item").max())


def _collected(of: Figures) -> Figures:
    return Figures(*(engine.wrap(engine.collect(f)) for f in of.frames()))
