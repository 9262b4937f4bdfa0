"""Formats that are a pattern with named groups; also the custom one of a site.

What belongs here: matching by Polars' Rust regexes, which run in linear time whatever the pattern or the line. What does
not: the patterns (`apache.py`, `cloud.py` …).
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from usage_stats_dagster.logs.formats.base import APACHE_TIME, FIELDS, FORWARDED, ISO_TIMES, LogFormat, complete
from usage_stats_dagster.logs.lines import Lines

# A quoted field: a backslash keeps a quote inside; stray quotes stay inside too, as long as what follows the field fits.
IN_QUOTES = r"(?:[^\\]|\\.|\\)*?"
PATH = rf"(?P<path>{IN_QUOTES})"


class RegexFormat(LogFormat):
    """Lines that one pattern reads; its groups are FIELDS, or `date` and `clock` for a time in two parts.

    Where the pattern has IN_QUOTES or PATH, a simpler one is tried first, in which they hold neither quote nor backslash
    (nor blank): it reads the same from the lines it matches, four times faster.
    """

    def __init__(self, name: str, pattern: str, *, times: tuple[str, ...] = (APACHE_TIME, *ISO_TIMES)) -> None:
        self.name = name
        self.times = times
        self.pattern = pattern
        self._simple = pattern.replace(PATH, r'(?P<path>[^ \t"\\]+)').replace(IN_QUOTES, r'[^"\\]*')
        groups = pl.Series("text", [""]).str.extract_groups(pattern).struct.fields
        self.gives = frozenset("time" if g in ("date", "clock") else g for g in groups) & {*FIELDS, FORWARDED}

    def fields(self, lines: pl.Series, state: str | None) -> pl.DataFrame:
        """See LogFormat."""
        del state
        found = groups_of(lines, self._simple)
        if self._simple != self.pattern:
            found = self.fill(lines, found)
        return complete(self.tidy(found), pl.col("time").is_not_null())

    def fill(self, lines: pl.Series, fast: pl.DataFrame) -> pl.DataFrame:
        """The fields that a faster way gave, with those of the pattern where their `time` is null."""
        left = fast.get_column("time").is_null()
        if not left.any():
            return fast
        slow = groups_of(lines.filter(left), self.pattern)
        absent = [pl.lit(None, pl.String).alias(c) for c in fast.columns if c not in slow.columns]
        both = pl.concat([fast, slow.with_columns(absent).select(fast.columns)], rechunk=True)
        row, slow_row = pl.int_range(fast.height), fast.height - 1 + left.cum_sum().cast(pl.Int64)
        return both[pl.select(pl.when(left).then(slow_row).otherwise(row)).to_series()]

    def tidy(self, found: pl.DataFrame) -> pl.DataFrame:
        """What is left to do on the groups; date and clock in one here."""
        if "date" in found.columns and "clock" in found.columns:
            return found.with_columns(time=pl.concat_str("date", "clock", separator=" "))
        return found


def reading_any(formats: Sequence[LogFormat], lines: Lines) -> list[LogFormat]:
    """Those of the formats that read one of the lines at least; the patterns are all looked for in one go.

    Polars keeps a pattern compiled for this, not for its groups.
    """
    patterns = {f.name: pl.col("text").str.contains(f.pattern).any() for f in formats if isinstance(f, RegexFormat)}
    found = lines.text.to_frame("text").select(**patterns).row(0, named=True)
    return [f for f in formats if (found[f.name] if f.name in found else f.reads_any(lines))]


def groups_of(lines: pl.Series, pattern: str) -> pl.DataFrame:
    """The pattern's named groups as columns; a row of nulls where it does not match."""
    return lines.alias("text").str.extract_groups(pattern).struct.unnest()


class CustomFormat(RegexFormat):
    """A site's own pattern. `format_time` is a strftime pattern (default: Apache's, then ISO 8601); without a zone it is UTC.

    Groups: those of FIELDS, `date` beside `time` for a clock apart, `referer` for `referrer`; others are read over.
    Raises ValueError, which says what is wrong, for a pattern that Rust's engine refuses or that lacks path or time.
    """

    def __init__(self, pattern: str, format_time: str | None = None) -> None:
        pattern = pattern.replace("(?P<referer>", "(?P<referrer>")
        if "(?P<date>" in pattern:
            pattern = pattern.replace("(?P<time>", "(?P<clock>")
        times = (format_time,) if format_time else (APACHE_TIME, *ISO_TIMES)
        try:
            super().__init__("custom", pattern, times=times)
        except pl.exceptions.PolarsError as e:
            msg = f"this pattern can't be used (no look-around, no back-reference, groups as (?P<name>…)): {pattern!r}: {e}"
            raise ValueError(msg) from e
        if not {"path", "time"} <= self.gives:
            msg = f"the pattern needs the groups path and time (or date): {pattern!r}"
            raise ValueError(msg)

    def tidy(self, found: pl.DataFrame) -> pl.DataFrame:
        """See RegexFormat; a date alone is midnight of its day."""
        if "date" in found.columns and "clock" not in found.columns:
            return found.rename({"date": "time"})
        return super().tidy(found)
