"""LA Referencia's golden day: documents as their processor wrote them, and the sums over the raw JSON.

What belongs here: reading the fixtures, once as documents to index, once as what a direct computation says.
"""

from __future__ import annotations

import gzip
import json
from datetime import date

import polars as pl

from usage_stats_dagster.items.identifiers import identifier_prefix
from usage_stats_dagster.schemas import DOCUMENTS, LAREFERENCIA_METRICS, METRICS
from usage_stats_dagster_tests.shared import shared

DAY = date(2025, 6, 10)
SITES = (1, 2, 3)


def raw(idsite: int) -> list[dict]:
    """The site's documents, as they stand in the fixture."""
    with gzip.open(shared(f"fixtures/lareferencia/golden_s_day_site{idsite}.jsonl.gz")) as f:
        return [json.loads(line) for line in f]


def documents(idsite: int) -> pl.DataFrame:
    """The same as a frame to index; COUNTER's figures are unknown."""
    rows = [
        {
            **dict.fromkeys(METRICS),
            **d,
            "idsite": idsite,
            "date": DAY,
            "identifier_prefix": None,
            "rules_version": "golden",
            "stats_by_country": [{**dict.fromkeys(METRICS), **c} for c in d["stats_by_country"]],
        }
        for d in raw(idsite)
    ]
    frame = pl.DataFrame(rows, schema=DOCUMENTS.schema)
    return frame.with_columns(identifier_prefix=identifier_prefix(frame["identifier"]))


def everything() -> pl.DataFrame:
    """All sites' raw documents: `idsite`, `identifier`, `level`, `country`, LA Referencia's four, `stats_by_country`."""
    columns = ("identifier", "level", "country", *LAREFERENCIA_METRICS, "stats_by_country")
    return pl.concat([pl.DataFrame(raw(s)).select(*columns).insert_column(0, pl.lit(s).alias("idsite")) for s in SITES])


def sums(rows: pl.DataFrame) -> dict[str, float]:
    """LA Referencia's four over the rows."""
    return rows.select(pl.col(LAREFERENCIA_METRICS).sum()).row(0, named=True)


def by_country(rows: pl.DataFrame) -> pl.DataFrame:
    """`country`, `documents` that it appears in, LA Referencia's four; visitors without a country are xx."""
    nested = rows.select("stats_by_country").with_row_index("document").explode("stats_by_country")
    known = nested.unnest("stats_by_country").with_columns(pl.col("country").fill_null("xx"))
    return known.group_by("country").agg(pl.n_unique("document").alias("documents"), pl.col(LAREFERENCIA_METRICS).sum())
