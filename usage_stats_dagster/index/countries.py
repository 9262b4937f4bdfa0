"""Figures by the visitors' country, as the embedded index keeps them beside a document, and their sums by date.

What belongs here: from `stats_by_country` to the text of a row and back, adding it up. What does not: the file's tables
(`sqlite_file.py`), which rows are asked for (`questions.py`).

A document has a dozen countries, so that a row for each would be nine of ten rows that are written. Nobody asks for them
but of items one by one, or of all items together: the latter are summed up by date when they are written.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import polars as pl

from usage_stats_dagster.documents.contract import to_source
from usage_stats_dagster.index.interface import FIGURES, KEYS
from usage_stats_dagster.index.source import PART, hash_of
from usage_stats_dagster.schemas import DOCUMENTS, METRICS
from usage_stats_dagster.threads import in_threads

UNKNOWN = "xx"
"""Where Matomo knows no country of a visitor, its documents have none; here they are unknown."""

_FIELDS = ("country", *METRICS)
_PACKED = pl.Struct({"country": pl.List(pl.String), **dict.fromkeys(METRICS, pl.List(pl.Int64))})
_SUMS = [pl.len().cast(pl.Int64).alias("documents"), *(pl.col(m).sum() for m in METRICS)]


def packed(documents: pl.DataFrame) -> pl.DataFrame:
    """Adds `countries`, `stats_by_country` as text, and `hash` (Int64) over all that a document says.

    The text is a JSON object of lists, `{"country":["ar","br"],"views":[2,6],…}`; null for null.
    """
    if not documents.height:
        return _packed(documents)
    return pl.concat(in_threads(_packed, documents.iter_slices(PART)))


def _packed(documents: pl.DataFrame) -> pl.DataFrame:
    stats = pl.col("stats_by_country")
    lists = [stats.list.eval(pl.element().struct.field(f)).alias(f) for f in _FIELDS]
    countries = pl.when(stats.is_not_null()).then(pl.struct(lists).struct.json_encode())
    made = documents.with_columns(countries=countries)
    said = made.select(made=pl.struct(pl.exclude("stats_by_country")).struct.json_encode())
    return made.hstack(said.select(hash=hash_of("made")))


def unpacked(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows' other columns, `country` and METRICS: a row for each country of `countries` (text), in its order."""
    lists = rows.drop("countries").hstack(rows["countries"].str.json_decode(_PACKED).struct.unnest())
    return lists.filter(pl.col("country").list.len() > 0).explode(_FIELDS)


def of_dates(documents: pl.DataFrame) -> pl.DataFrame:
    """Sums by the columns that a Selection of whole dates asks for and `country` of the visitors.

    `documents`: DOCUMENTS, one row a document; `date` may be of any type. `item_country` is the document's own country.
    """
    keys = ("idsite", "date", "identifier_prefix", "level", "item_country", "country")
    numbered = documents.rename({"country": "item_country"}).with_row_index("document")
    nested = numbered.select("document", *keys[:-1], "stats_by_country").explode("stats_by_country")
    each = _known(nested.drop_nulls("stats_by_country").unnest("stats_by_country"), ["document", *keys])
    return each.group_by(keys).agg(_SUMS).sort(keys)


def summed(pages: Iterable[pl.DataFrame], keys: Sequence[str]) -> pl.DataFrame:
    """Sums by `keys` (`country` among them) over documents that are read a page at a time.

    `pages`: `document`, the other keys, `countries` (text); a document is on one page.
    """
    schema = pl.Schema({k: KEYS.get(k, pl.Int64) for k in keys} | FIGURES)
    parts = [_known(unpacked(page), ["document", *keys]).group_by(keys).agg(_SUMS).cast(schema) for page in pages]
    every = pl.concat([schema.to_frame(), *parts])
    return every.group_by(keys).agg(pl.col(*FIGURES).sum())


def ranked(sums: pl.DataFrame, metric: str, limit: int) -> pl.DataFrame:
    """Of the sums by `country` (and `period`) those of the countries with most of the metric: by period, then rank.

    `limit`: so many countries, -1 for all; those that have equally much in the order of their names.
    """
    places = sums.group_by("country").agg(pl.col(metric).sum()).sort(metric, "country", descending=[True, False])
    first = places.head(limit if limit >= 0 else places.height).select("country").with_row_index("place")
    period = [k for k in ("period",) if k in sums.columns]
    return sums.join(first, on="country").sort(*period, "place").select(*period, "country", *FIGURES)


def sources(documents: pl.DataFrame) -> pl.DataFrame:
    """`idsite`, `date`, `id`, `source` of the documents in their order: the JSON that was indexed, to the byte.

    `documents`: `document` and DOCUMENTS but for year, month and day, which are the date's; `countries` as text.
    """
    stats = (
        unpacked(documents.select("document", "countries"))
        .group_by("document", maintain_order=True)
        .agg(stats_by_country=pl.struct(_FIELDS))
    )
    day, empty = pl.col("date").dt, pl.when(pl.col("countries").is_not_null()).then(pl.lit([]))
    whole = documents.join(stats, on="document", how="left", maintain_order="left").with_columns(
        pl.coalesce("stats_by_country", empty.cast(stats.schema["stats_by_country"])),
        year=day.year(),
        month=day.month().cast(pl.Int32),
        day=day.day().cast(pl.Int32),
    )
    made = to_source(whole.select(*DOCUMENTS.columns).cast(pl.Schema(DOCUMENTS.schema)))
    return documents.select("idsite", "date", "id").with_columns(source=made)


def _known(rows: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """The rows with unknown countries named; one row each again for documents that had both."""
    if not rows["country"].null_count():
        return rows
    return rows.with_columns(pl.col("country").fill_null(UNKNOWN)).group_by(keys).agg(pl.col(METRICS).sum())
