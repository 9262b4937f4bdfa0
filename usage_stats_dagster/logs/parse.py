"""Lines to typed rows: what each field of a line means, whatever its format.

What belongs here: status, time, day, referrer as values. What does not: splitting lines into fields (`formats/`), what
becomes of a line (`outcomes.py`).
"""

from __future__ import annotations

import polars as pl

from usage_stats_dagster.logs.formats.base import LogFormat, unmatched
from usage_stats_dagster.schemas import UTC_TIME


def parse(lines: pl.Series, log_format: LogFormat | None, state: str | None, zone: str) -> pl.DataFrame:
    """One row a line: ip, time (UTC), day (of the zone), method, path, status (Int16), referrer, user_agent, host, matched, comment."""
    if log_format is None:  # nothing but blank lines so far
        fields, time = unmatched(len(lines)), pl.Series("time", [None], UTC_TIME).new_from_index(0, len(lines))
    else:
        fields = log_format.fields(lines, state)
        time = log_format.utc(fields.get_column("time"))
    return fields.with_columns(
        time.alias("time"),
        (time if zone == "UTC" else time.dt.convert_time_zone(zone)).dt.date().alias("day"),
        pl.col("status").cast(pl.Int16, strict=False),
        pl.when(~pl.col("referrer").is_in(["-", ""])).then("referrer").alias("referrer"),
        pl.when(pl.col("host") != "-").then("host").alias("host"),
    )
