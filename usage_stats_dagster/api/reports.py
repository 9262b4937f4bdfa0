"""LA Referencia's two answers, as their widgets read them: figures by level and time, figures by country.

What belongs here: from an index's frames to the JSON that OpenSearch's aggregations would give. What does not: which
documents are asked for (`sources.py`), parameters and errors (`lareferencia.py`).

Values are floats, as OpenSearch sums are. The shapes are those of lareferencia-usage-stats-service: whoever reads one
reads the other.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from usage_stats_dagster.api.periods import bucketed, granularity, milliseconds
from usage_stats_dagster.index.interface import DocumentIndex, Selection
from usage_stats_dagster.schemas import LAREFERENCIA_METRICS

Json = dict[str, Any]

ORDERS = ("documents", "usage", *LAREFERENCIA_METRICS)
"""What may rank countries: documents that they appear in, usage (views, downloads and outlinks together), one figure."""

_USAGE = ("views", "downloads", "outlinks")  # conversions are views and downloads counted already


def by_level_and_time(index: DocumentIndex, where: Selection, unit: str) -> Json:
    """`views` … `outlinks` in all, by `level`, and by `time`: a bucket a unit (periods.UNITS) that has documents.

    One question to the index. Levels from R to L, as the terms are ordered.
    """
    answer = bucketed(index.by_level(where, granularity(unit)), unit, "level")
    levels = answer.drop("period").group_by("level").agg(pl.selectors.integer().sum())
    time = [
        {
            "key_as_string": f"{period}T00:00:00.000Z",
            "key": milliseconds(period),
            "doc_count": int(rows["documents"].sum()),
            "level": _levels(rows),
        }
        for (period,), rows in answer.partition_by("period", as_dict=True, maintain_order=True).items()
    ]
    return {**_sums(levels), "level": _levels(levels), "time": {"buckets": time}}


def by_country(index: DocumentIndex, where: Selection, limit: int, order: str) -> Json:
    """`views` … `outlinks` in all, and in `country` the first `limit` countries of the visitors with each figure.

    Ranked by `order` (ORDERS), ties by country. All four lists name the same countries, so that who reads the names from
    one of them finds each in the others.
    """
    countries = index.by_country(where)
    rank = pl.sum_horizontal(_USAGE) if order == "usage" else pl.col(order)
    first = countries.sort(rank, "country", descending=[True, False]).head(limit)
    documents = int(countries["documents"].sum())
    others = documents - int(first["documents"].sum())
    lists = {
        metric: {
            "doc_count_error_upper_bound": 0,
            "sum_other_doc_count": others,
            "buckets": [
                {"key": country, "doc_count": count, "count": {"value": float(value)}}
                for country, count, value in first.select("country", "documents", metric).iter_rows()
            ],
        }
        for metric in LAREFERENCIA_METRICS
    }
    return {**_sums(index.totals(where)), "country": {"doc_count": documents, **lists}}


def _sums(rows: pl.DataFrame) -> Json:
    return {m: {"value": float(rows[m].sum())} for m in LAREFERENCIA_METRICS}


def _levels(rows: pl.DataFrame) -> Json:
    buckets = [
        {
            "key": row["level"],
            "doc_count": row["documents"],
            **{m: {"value": float(row[m])} for m in LAREFERENCIA_METRICS},
        }
        for row in rows.sort("level", descending=True).iter_rows(named=True)
    ]
    return {"doc_count_error_upper_bound": 0, "sum_other_doc_count": 0, "buckets": buckets}
