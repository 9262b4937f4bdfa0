"""Documents back from the embedded index's columns, as the JSON that was indexed.

What belongs here: which documents the columns tell to the byte, and making their JSON again. What does not: the JSON's
form (`documents/contract.py`), reading the file (`questions.py`).
"""

from __future__ import annotations

import polars as pl

from usage_stats_dagster.documents.contract import to_source
from usage_stats_dagster.schemas import DOCUMENTS, METRICS


def not_told(documents: pl.DataFrame) -> pl.DataFrame:
    """`document`, `source` of the documents that the file's columns don't tell to the byte.

    `documents`: `document` and DOCUMENTS, `date` as stored. Usually none: figures of visitors without a country (Matomo's
    null, summed as xx), countries out of order, or a year, month and day that are not the date's.
    """
    stats, previous = pl.col("stats_by_country"), pl.col("document").shift(1)
    countries = documents.select("document", stats, length=stats.list.len()).explode("stats_by_country")
    country = stats.struct.field("country")
    unordered = (previous == pl.col("document")) & (country <= country.shift(1))
    # The one row of an empty list has no country either; a null list has no length.
    odd = countries.filter((country.is_null() & (pl.col("length") > 0)) | pl.col("length").is_null() | unordered)
    number = pl.col("year") * 10000 + pl.col("month") * 100 + pl.col("day")
    wanted = documents.filter(
        pl.col("document").is_in(odd["document"].unique().implode()) | number.ne_missing(pl.col("date"))
    )
    date = pl.date(pl.col("date") // 10000, pl.col("date") // 100 % 100, pl.col("date") % 100)
    return wanted.select("document", to_source(wanted.with_columns(date=date)).alias("source"))


def rebuilt(documents: pl.DataFrame, nested: pl.DataFrame, kept: pl.DataFrame) -> pl.DataFrame:
    """`idsite`, `date`, `id`, `source` in the order of `documents`, from what `questions.rows` answers."""
    stats = nested.group_by("document", maintain_order=True).agg(stats_by_country=pl.struct("country", *METRICS))
    day = pl.col("date").dt
    whole = documents.join(stats, on="document", how="left", maintain_order="left").with_columns(
        pl.col("stats_by_country").fill_null([]),
        year=day.year(),
        month=day.month().cast(pl.Int32),
        day=day.day().cast(pl.Int32),
    )
    made = whole.select("document", "idsite", "date", "id", made=to_source(whole.cast(pl.Schema(DOCUMENTS.schema))))
    answer = made.join(kept, on="document", how="left", maintain_order="left")
    return answer.select("idsite", "date", "id", source=pl.coalesce("source", "made"))
