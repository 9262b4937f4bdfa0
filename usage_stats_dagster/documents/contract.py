"""The documents' contract: ids, JSON source and mapping, as LA Referencia's services read them.

What belongs here: what a document looks like to its readers. What does not: its figures (`build.py`), how it reaches
an index (`index/`).

The index of a site is `{prefix}-{idsite}`. Field names and types are those of lareferencia-usage-stats-processor, with
`idsite` as the number that its mapping says, and in addition: COUNTER's four at both levels, `identifier.keyword`,
`identifier_prefix`, `rules_version`.
"""

from __future__ import annotations

from typing import Any

import polars as pl
import xxhash

from usage_stats_dagster.schemas import DOCUMENTS, METRICS

_LONG = {"type": "long"}
_KEYWORD = {"type": "keyword"}
_FIGURES = dict.fromkeys(METRICS, _LONG)


def index_body(replicas: int = 1) -> dict[str, Any]:
    """Settings and mapping of a site's index.

    `identifier` stays analysed text, since readers ask for it with match_phrase and rely on what the analyser drops.
    One shard, so that an item's documents are together and a top list is exact. Nothing is refreshed by the clock: what
    is written is seen when its writer says so.
    """
    properties = {
        "id": _KEYWORD,
        "idsite": _LONG,
        "year": _LONG,
        "month": _LONG,
        "day": _LONG,
        "date": {"type": "date"},
        "level": _KEYWORD,
        "identifier": {"type": "text", "fields": {"keyword": {"type": "keyword", "ignore_above": 8191}}},
        "identifier_prefix": _KEYWORD,
        "country": _KEYWORD,
        **_FIGURES,
        "stats_by_country": {"type": "nested", "properties": {"country": _KEYWORD, **_FIGURES}},
        "rules_version": _KEYWORD,
    }
    return {
        "settings": {"index": {"number_of_shards": 1, "number_of_replicas": replicas, "refresh_interval": "-1"}},
        "mappings": {"dynamic": "strict", "properties": properties},
    }


def with_ids(documents: pl.DataFrame) -> pl.DataFrame:
    """Adds `id`: xxh64 of `idsite-identifier-year-month-day` as 16 hexadecimal digits, numbers not padded."""
    key = pl.format("{}-{}-{}-{}-{}", "idsite", "identifier", "year", "month", "day")
    keys = documents.select(key).to_series().to_list()
    return documents.with_columns(id=pl.Series([xxhash.xxh64_hexdigest(k.encode()) for k in keys], dtype=pl.String))


def to_source(documents: pl.DataFrame) -> pl.Series:
    """The JSON object of each document (DOCUMENTS) as indexed: a String a row, in the frame's order; the `_id` is its `id`.

    Fields in the schema's order, no white space, text not escaped beyond what JSON asks; `date` as
    `2025-03-01T00:00:00`, as LA Referencia's processor writes it; a missing figure is null. By Polars: a quarter of the
    time of orjson over rows, and a test holds that the bytes are the same.
    """
    fields = [pl.col(c).dt.strftime("%Y-%m-%dT00:00:00") if c == "date" else pl.col(c) for c in DOCUMENTS.columns]
    return documents.select(source=pl.struct(fields).struct.json_encode())["source"]
