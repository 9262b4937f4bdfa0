"""Metrics to documents: identifiers mapped, a period summed, countries nested.

What belongs here: the transform from metrics rows to one document an identifier and period. What does not: how an
identifier is normalised (`items/`), what a document looks like to its readers (`contract.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

import narwhals as nw
import polars as pl

from usage_stats_dagster import engine
from usage_stats_dagster.documents.contract import with_ids
from usage_stats_dagster.engine import Frame
from usage_stats_dagster.items.identifiers import identifier_prefix
from usage_stats_dagster.items.mapping import map_identifiers
from usage_stats_dagster.parts import by_number
from usage_stats_dagster.schemas import DOCUMENTS, METRICS
from usage_stats_dagster.settings import IdentifierMap, Site

UNKNOWN_COUNTRY = "XX"
PERIOD = "period"
"""Int32, from 0: which period a row belongs to, where a frame holds several. Never stored."""

c = nw.col


@dataclass(frozen=True)
class Period:
    """Of which site and from which first day on documents are: a day's, or a month's."""

    site: Site
    first: date


def summed(metrics: Frame, identifiers: Frame, keys: Sequence[str] = ()) -> Frame:
    """One row per mapped identifier and visitors' country, of all the days in the frame, unsorted.

    `metrics`: rows of METRICS_TABLE of one site and period, or of several that `keys` tell apart. `identifiers`: identifier,
    mapped, identifier_prefix, one row each; an identifier that has no row there, or maps to null, is left out. Spellings
    that become one identifier are summed. Columns: keys, identifier, identifier_prefix, country, the eight metrics,
    country_item (of the last day that names one; the greatest of those).
    """
    item = (*keys, "identifier")
    named = metrics.join(identifiers, on="identifier", how="inner").filter(~c("mapped").is_null())
    named = named.drop("identifier").with_columns(identifier=c("mapped"))
    items = named.filter(~c("country_item").is_null()).with_columns(last=c("day").max().over(*item))
    country = items.filter(c("day") == c("last")).group_by(*item).agg(c("country_item").max())
    sums = named.group_by(*item, "identifier_prefix", "country").agg(
        *[c(name).sum().cast(nw.Int64) for name in METRICS]
    )
    return sums.join(country, on=list(item), how="left")


def documents(
    metrics: pl.DataFrame,
    site: Site,
    grain: Literal["day", "month"],
    day: date,
    *,
    mapping: IdentifierMap | None = None,
) -> pl.DataFrame:
    """The documents (DOCUMENTS, sorted by identifier) of the period that holds the day.

    `metrics` holds the period's rows and no others. For a month either those of its days, where every visit is within one
    day (as the embedded tracker makes them), or those computed from the month's events (visits that span days, as in
    Matomo's database: what is binary per visit does not add up over its days). COUNTER's four add up in any case.
    `mapping`: only where the events' identifiers are as a source spelled them; the embedded tracker's are mapped already.
    Raises IdentifierMapError.
    """
    period = Period(site, day if grain == "day" else day.replace(day=1))
    return documents_together(metrics.with_columns(pl.lit(0, pl.Int32).alias(PERIOD)), [period], mapping=mapping)[0]


def documents_together(
    metrics: pl.DataFrame, periods: Sequence[Period], *, mapping: IdentifierMap | None = None
) -> list[pl.DataFrame]:
    """The documents of each of the periods, as `documents` gives them. `metrics` has PERIOD too, the place in `periods`."""
    about = pl.DataFrame(
        [(k, p.site.id, p.first, p.site.level, p.site.country) for k, p in enumerate(periods)],
        {PERIOD: pl.Int32, "idsite": pl.Int32, "date": pl.Date, "level": pl.String, "country": pl.String},
        orient="row",
    )
    # Versions are few, and one a period nearly always.
    pairs = metrics.select(PERIOD, "rules_version").unique().sort(PERIOD, "rules_version")
    versions = pairs.group_by(PERIOD).agg(pl.col("rules_version").sort().str.join("+"))
    identifiers = called(metrics["identifier"], mapping)
    rows = engine.collect(summed(engine.wrap(metrics.lazy()), engine.wrap(identifiers.lazy()), [PERIOD]))
    country = pl.struct("country", *METRICS).alias("stats_by_country")
    first = pl.col("date").dt
    nested = (
        rows.sort(PERIOD, "identifier", "country", nulls_last=False)
        .group_by(PERIOD, "identifier", maintain_order=True)
        .agg(
            pl.col("identifier_prefix").first(),
            pl.col("country_item").first(),
            *[pl.col(m).sum() for m in METRICS],
            country,
        )
        .join(about, on=PERIOD, how="left", maintain_order="left")
        .join(versions, on=PERIOD, how="left", maintain_order="left")
        .with_columns(
            first.year().cast(pl.Int32).alias("year"),
            first.month().cast(pl.Int32).alias("month"),
            first.day().cast(pl.Int32).alias("day"),
            country=item_country(pl.col("country"), pl.col("level")),
        )
    )
    made = DOCUMENTS.conform(with_ids(nested).select(*DOCUMENTS.columns))
    return by_number(made, nested[PERIOD], len(periods))


def called(identifiers: pl.Series, mapping: IdentifierMap | None) -> pl.DataFrame:
    """What each distinct identifier is called: identifier, mapped, identifier_prefix (null where it has none)."""
    distinct = identifiers.drop_nulls().unique().alias("identifier")
    mapped = map_identifiers(distinct, mapping)[0].alias("mapped")
    return pl.DataFrame([distinct, mapped, identifier_prefix(mapped).alias("identifier_prefix")])


def item_country(site_country: pl.Expr, level: pl.Expr) -> pl.Expr:
    """The country of a document's item: a regional site's items say theirs, others' are the site's; XX unknown."""
    own, item = site_country, pl.col("country_item")
    regional = pl.when(level == "L").then(pl.coalesce(item, own)).otherwise(pl.coalesce(own, item))
    return regional.fill_null(UNKNOWN_COUNTRY).str.to_uppercase()
