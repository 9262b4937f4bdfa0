"""Documents as the JSON that is indexed.

What belongs here: the one serialisation, so that every backend holds the same bytes, and the hash that tells whether a
period's documents changed. What does not: which fields there are (`schemas.DOCUMENTS`), or sending them.
"""

from __future__ import annotations

from datetime import date

import polars as pl
import xxhash

from usage_stats_dagster.schemas import DOCUMENTS


def sources(documents: pl.DataFrame) -> pl.Series:
    """The JSON object of each document (schemas.DOCUMENTS), a String a row, in the frame's order.

    Fields in the schema's order, no white space, text not escaped beyond what JSON asks; `date` as
    `2025-03-01T00:00:00`, as LA Referencia's processor writes it; a missing figure is null.
    """
    fields = [pl.col(c).dt.strftime("%Y-%m-%dT00:00:00") if c == "date" else pl.col(c) for c in DOCUMENTS.columns]
    return documents.select(source=pl.struct(fields).struct.json_encode())["source"]


def content_hashes(documents: pl.DataFrame) -> dict[date, str]:
    """A hash by date over `id` and `source` (columns `date`, `id`, `source`), whatever the order of rows."""
    dates = documents.select("date", "id", "source").sort("id").partition_by("date", as_dict=True)
    # A line feed never stands in a source, so joined sources differ where the sources do.
    joined = {day: b"\n".join(part["source"].cast(pl.Binary).to_list()) for (day,), part in dates.items()}
    return {day: xxhash.xxh3_128_hexdigest(text) for day, text in joined.items()}
