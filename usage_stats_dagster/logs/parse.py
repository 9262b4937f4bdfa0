"""Lines to typed rows: what each field of a line means, whatever its format.

What belongs here: status, time, day, referrer as values. What does not: splitting lines into fields (`formats/`), what
becomes of a line (`outcomes.py`).
"""

from __future__ import annotations

import polars as pl

from usage_stats_dagster.logs.formats.base import LogFormat, unmatched
from usage_stats_dagster.logs.lines import Lines


def parse(lines: Lines | pl.Series, log_format: LogFormat | None, state: str | None, zone: str) -> pl.DataFrame:
    """One row a line: ip, time (UTC), day (of the zone), method, path, status (Int16), referrer, user_agent, host, matched, comment."""
    lines = Lines.of(lines.to_list()) if isinstance(lines, pl.Series) else lines
    # No format: nothing but blank lines so far.
    records = log_format.records(lines, state) if log_format else LogFormat().parsed(unmatched(len(lines)))
    time = pl.col("time") if zone == "UTC" else pl.col("time").dt.convert_time_zone(zone)
    return records.with_columns(
        time.dt.date().alias("day"),
        pl.when(~pl.col("referrer").is_in(["-", ""])).then("referrer").alias("referrer"),
        pl.when(pl.col("host") != "-").then("host").alias("host"),
    )
