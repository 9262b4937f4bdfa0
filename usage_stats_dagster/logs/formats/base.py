"""What a log format is: from lines to eight text fields.

What belongs here: the fields every format gives and the base of all formats. What does not: any one format, the choice
between them (`sniff.py`), or what a field's value means (`parse.py`).
"""

from __future__ import annotations

import polars as pl

from usage_stats_dagster.logs.lines import Lines

FIELDS = ("ip", "time", "method", "path", "status", "referrer", "user_agent", "host")
"""Text fields, in this order; null where a format lacks them."""

FORWARDED = "forwarded"
"""Beside them, in formats that have it: the list of X-Forwarded-For, which stands for `ip` unless it is `-`."""

MATCHED = "matched"
COMMENT = "comment"

APACHE_TIME = "%d/%b/%Y:%H:%M:%S %z"
ISO_TIMES = ("%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f")
EPOCH = "epoch"  # seconds since 1970, with a fraction
EPOCH_MILLIS = "epoch ms"


class LogFormat:
    """A format: `fields(lines, state)` gives FIELDS, `matched` and `comment` for each line; `records` the same with values.

    `state` is what earlier lines of the log decide (the W3C family's `#Fields`); `next_state` moves it over a block.
    `times` are the chrono patterns of the time field, tried in order; a pattern without a zone is UTC.
    """

    name: str
    gives: frozenset[str]
    times: tuple[str, ...] = (APACHE_TIME, *ISO_TIMES)

    def fields(self, lines: pl.Series, state: str | None) -> pl.DataFrame:
        """One row a line: FIELDS as String, matched and comment as Boolean."""
        raise NotImplementedError

    def records(self, lines: Lines, state: str | None) -> pl.DataFrame:
        """The fields with `time` in UTC and `status` as Int16, null where it can't be read."""
        return self.parsed(self.fields(lines.text, state))

    def parsed(self, fields: pl.DataFrame) -> pl.DataFrame:
        """The fields with values for time and status."""
        time = self.utc(fields.get_column("time"))
        return fields.with_columns(time.alias("time"), pl.col("status").cast(pl.Int16, strict=False))

    def reads_any(self, lines: Lines) -> bool:
        """Whether one of the lines matches."""
        return bool(self.fields(lines.text, self.next_state(None, lines.codes.data)).get_column(MATCHED).any())

    @property
    def has_state(self) -> bool:
        """Whether earlier lines decide what a line says."""
        return type(self).next_state is not LogFormat.next_state

    def next_state(self, state: str | None, data: bytes | memoryview) -> str | None:
        """The state behind these bytes (whole lines)."""
        del data
        return state

    def utc(self, time: pl.Series) -> pl.Series:
        """Times as UTC Datetime('us'); null where no pattern fits or there is no such date."""
        parsed = _strptime(time, self.times[0])
        for pattern in self.times[1:]:
            if parsed.null_count() == time.null_count():
                break
            parsed = parsed.fill_null(_strptime(time, pattern))
        return parsed


def _strptime(time: pl.Series, pattern: str) -> pl.Series:
    if pattern in (EPOCH, EPOCH_MILLIS):
        to_micros = 1_000_000 if pattern == EPOCH else 1_000
        micros = (time.cast(pl.Float64, strict=False) * to_micros).round().cast(pl.Int64, strict=False)
        return micros.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    parsed = time.str.to_datetime(pattern, time_unit="us", strict=False, exact=True)
    return (
        parsed
        if isinstance(parsed.dtype, pl.Datetime) and parsed.dtype.time_zone
        else parsed.dt.replace_time_zone("UTC")
    )


def complete(fields: pl.DataFrame, matched: pl.Expr, comment: pl.Expr | None = None) -> pl.DataFrame:
    """The fields in their order with those a format lacks as null, and `matched` and `comment` beside them."""
    if FORWARDED in fields.columns:
        listed = pl.when(~pl.col(FORWARDED).is_in(["-", "", "unknown"])).then(FORWARDED)
        fields = fields.with_columns(ip=pl.coalesce(listed, "ip") if "ip" in fields.columns else listed)
    absent = [pl.lit(None, pl.String).alias(f) for f in FIELDS if f not in fields.columns]
    marks = [
        matched.fill_null(value=False).alias(MATCHED),
        (pl.lit(value=False) if comment is None else comment).alias(COMMENT),
    ]
    return fields.with_columns(*absent, *marks).select(*FIELDS, MATCHED, COMMENT)


def unmatched(count: int) -> pl.DataFrame:
    """So many lines of which none matched."""
    none = pl.DataFrame(schema=dict.fromkeys(FIELDS, pl.String)).clear(count)
    return complete(none, pl.lit(value=False))
