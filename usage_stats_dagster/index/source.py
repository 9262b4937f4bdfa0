"""Hashes over documents as indexed: what tells whether a document, or a period, changed.

What belongs here: hashes that every backend compares. What does not: the JSON itself (`documents/contract.py`).
"""

from __future__ import annotations

from datetime import date

import polars as pl
import polars_hash  # noqa: F401  (registers nchash)
import xxhash

from usage_stats_dagster.documents.contract import to_source
from usage_stats_dagster.threads import in_threads

PART = 10_000
"""Documents that are encoded at a time in one thread."""


def encoded(documents: pl.DataFrame) -> pl.DataFrame:
    """Adds `source`, the document's JSON, and `hash` (Int64), xxh3 over it: signed, since SQLite has no other number."""
    if not documents.height:
        return _encoded(documents)
    return pl.concat(in_threads(_encoded, documents.iter_slices(PART)))


def _encoded(documents: pl.DataFrame) -> pl.DataFrame:
    documents = documents.with_columns(to_source(documents).alias("source"))
    return documents.with_columns(hash=hash_of("source"))


def hash_of(text: str) -> pl.Expr:
    """xxh3 of a column's text as a signed number."""
    return pl.col(text).nchash.xxh3_64().reinterpret(signed=True)  # type: ignore[attr-defined,no-any-return]


def content_hashes(documents: pl.DataFrame) -> dict[date, str]:
    """A hash by date over columns `date`, `id` and `hash`, whatever the order of rows."""
    dates = documents.select("date", "id", "hash").sort("id").partition_by("date", as_dict=True)
    return {day: _hash(part["id"], part["hash"]) for (day,), part in dates.items()}


def _hash(ids: pl.Series, hashes: pl.Series) -> str:
    text = xxhash.xxh3_128("\n".join(ids.to_list()).encode())
    text.update(hashes.to_numpy().tobytes())
    return text.hexdigest()
