"""Which format a log is in, decided from a sample of its lines.

What belongs here: the choice, and the error that explains a failed one. What does not: the formats (`formats/`).

Upstream decides on the first line that any pattern matches, by the number of the pattern's groups. Here the format that
reads most of the sample wins, then the one that gives more fields, then the one that stands first: one odd line in front
decides nothing.
"""

from __future__ import annotations

import polars as pl

from usage_stats_dagster.logs.addresses import blot
from usage_stats_dagster.logs.formats import FORMATS, NAMES, named
from usage_stats_dagster.logs.formats.base import LogFormat
from usage_stats_dagster.logs.formats.regex import CustomFormat

_SHOWN = 300


class UnknownFormatError(Exception):
    """No format reads the log, or the one that was asked for does not."""


def detect(
    sample_lines: list[str], *, forced: str | None = None, custom: tuple[str, str | None] | None = None
) -> LogFormat:
    """The format of the lines. `custom` is a site's regex and the pattern of its time; it wins over `forced`, that over the sample.

    Raises UnknownFormatError with the first line (addresses blotted out), what was tried, and how to say it.
    """
    lines = pl.Series("text", [line for line in sample_lines if line.strip()], pl.String)
    if custom is not None:
        wanted: LogFormat | None = _custom(*custom)
    else:
        wanted = _named(forced, lines) if forced else None
    if wanted is not None:
        if lines.len() and not _score(wanted, lines):
            raise UnknownFormatError(_message(lines, f"the format asked for, {wanted.name}, reads none of them"))
        return wanted
    scores = [(_score(f, lines), len(f.gives), -i, f) for i, f in enumerate(FORMATS)]
    best = max(scores, key=lambda s: s[:3])
    if not best[0]:
        raise UnknownFormatError(_message(lines, f"none of these reads any: {', '.join(f.name for f in FORMATS)}"))
    return best[3]


def _named(name: str, lines: pl.Series) -> LogFormat:
    found = named(name)
    if found is None:
        raise UnknownFormatError(_message(lines, f"there is no format {name!r}; there are: {', '.join(NAMES)}"))
    return found


def _custom(pattern: str, time: str | None) -> LogFormat:
    try:
        return CustomFormat(pattern, time)
    except ValueError as e:
        raise UnknownFormatError(f"format_regex: {e}") from e


def _score(log_format: LogFormat, lines: pl.Series) -> int:
    """How many lines the format reads, their time included."""
    data = "\n".join(lines.to_list()).encode() + b"\n"
    fields = log_format.fields(lines, log_format.next_state(None, data))
    return int(
        fields.select((pl.col("matched") & log_format.utc(fields.get_column("time")).is_not_null()).sum()).item()
    )


def _message(lines: pl.Series, tried: str) -> str:
    first = blot(lines[0][:_SHOWN]) if lines.len() else "(no line)"
    return (
        f"can't tell the log's format. First line: {first!r}\n  tried on {lines.len()} lines: {tried}\n"
        "  the site's setting `format` names one; `format_regex` gives a pattern with the groups "
        "(?P<ip>…) (?P<time>…) (?P<method>…) (?P<path>…) (?P<status>…) (?P<referrer>…) (?P<user_agent>…) (?P<host>…), "
        "`format_time` the pattern of its time"
    )
