"""Metrics to documents: identifiers mapped, a period summed, countries nested.

What belongs here: the transform from metrics rows to one document an identifier and period. What does not: how an
identifier is normalised (`items/`), what a document looks like to its readers (`contract.py`).
"""

from __future__ import annotations

from datetime import date
from typing import Literal

import narwhals as nw
import polars as pl

from usage_stats_dagster import engine
from usage_stats_dagster.documents.contract import with_ids
from usage_stats_dagster.engine import Frame
from usage_stats_dagster.items.identifiers import identifier_prefix
from usage_stats_dagster.items.mapping import map_identifiers
from usage_stats_dagster.schemas import DOCUMENTS, METRICS
from usage_stats_dagster.settings import IdentifierMap, Site

UNKNOWN_COUNTRY = "XX"

c = nw.col


def summed(metrics: Frame, identifiers: Frame) -> Frame:
    """One row per mapped identifier and visitors' country, of all the days in the frame, unsorted.

    `metrics`: rows of METRICS_TABLE of one site and period. `identifiers`: identifier, mapped, identifier_prefix, one row
    each; an identifier that has no row there, or maps to null, is left out. Spellings that become one identifier are
    summed. Columns: identifier, identifier_prefix, country, the eight metrics, country_item (of the last day that
    names one; the greatest of those).
    """
    named = metrics.join(identifiers, on="identifier", how="inner").filter(~c("mapped").is_null())
    named = named.drop("identifier").with_columns(identifier=c("mapped"))
    items = named.filter(~c("country_item").is_null()).with_columns(last=c("day").max().over("identifier"))
    country = items.filter(c("day") == c("last")).group_by("identifier").agg(c("country_item").max())
    sums = named.group_by("identifier", "identifier_prefix", "country").agg(
        *[c(name).sum().cast(nw.Int64) for name in METRICS]
    )
    return sums.join(country, on="identifier", how="left")


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
    period = day if grain == "day" else day.replace(day=1)
    versions = metrics["rules_version"].unique().sort()
    identifiers = called(metrics["identifier"], mapping)
    rows = engine.collect(summed(engine.wrap(metrics.lazy()), engine.wrap(identifiers.lazy())))
    country = pl.struct("country", *METRICS).alias("stats_by_country")
    nested = (
        rows.sort("identifier", "country", nulls_last=False)
        .group_by("identifier", maintain_order=True)
        .agg(
            pl.col("identifier_prefix").first(),
            pl.col("country_item").first(),
            *[pl.col(m).sum() for m in METRICS],
            country,
        )
        .with_columns(
            idsite=pl.lit(site.id, pl.Int32),
            year=pl.lit(period.year, pl.Int32),
            month=pl.lit(period.month, pl.Int32),
            day=pl.lit(period.day, pl.Int32),
            date=pl.lit(period, pl.Date),
            level=pl.lit(site.level),
            country=item_country(site),
            rules_version=pl.lit("+".join(versions), pl.String),
        )
    )
    return DOCUMENTS.conform(with_ids(nested).select(*DOCUMENTS.columns))


def called(identifiers: pl.Series, mapping: IdentifierMap | None) -> pl.DataFrame:
    """What each distinct identifier is called: identifier, mapped, identifier_prefix (null where it has none)."""
    distinct = identifiers.drop_nulls().unique().alias("identifier")
    mapped = map_identifiers(distinct, mapping)[0].alias("mapped")
    return pl.DataFrame([distinct, mapped, identifier_prefix(mapped).alias("identifier_prefix")])


def item_country(site: Site) -> pl.Expr:
    """The country of a document's item: a regional site's items say theirs, others' are the site's; XX unknown."""
    own = pl.lit(site.country.upper() if site.country else None, pl.String)
    order = (pl.col("country_item"), own) if site.level == "L" else (own, pl.col("country_item"))
    return pl.coalesce(*order, pl.lit(UNKNOWN_COUNTRY)).str.to_uppercase()
