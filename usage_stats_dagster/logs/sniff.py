"""Which format a log is in, decided from a sample of its lines.

What belongs here: the choice, and the error that explains a failed one. What does not: the formats (`formats/`).

Upstream decides on the first line that any pattern matches, by the number of the pattern's groups: one line in common form
in front costs all agents of a combined log. Here, of the formats that read nearly as much of the sample as the best does, the
one wins that gives the most fields, then the one that reads more, then the one that stands first.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from usage_stats_dagster.logs.addresses import blot
from usage_stats_dagster.logs.formats import FORMATS, NAMES, named
from usage_stats_dagster.logs.formats.base import LogFormat
from usage_stats_dagster.logs.formats.regex import CustomFormat, reading_any
from usage_stats_dagster.logs.formats.w3c import W3C, W3cFormat
from usage_stats_dagster.logs.lines import Lines

_SHOWN = 300
_NEARLY = 0.9
_HARDLY = 0.2
_FEW, _FEWEST = 60, 8


class UnknownFormatError(Exception):
    """No format reads the log, or the one that was asked for does not."""


def detect(
    sample_lines: list[str], *, forced: str | None = None, custom: tuple[str, str | None] | None = None
) -> LogFormat:
    """The format of the lines. `custom` is a site's regex and the pattern of its time; it wins over `forced`, that over the sample.

    Raises UnknownFormatError with the first line (addresses blotted out), what was tried, and how to say it.
    """
    lines = [line for line in sample_lines if line.strip()]
    if custom is not None:
        wanted: LogFormat | None = _custom(*custom)
    else:
        wanted = _named(forced, lines) if forced else None
    if wanted is not None:
        headed = isinstance(wanted, W3cFormat) and wanted.reads_header("\n".join(sample_lines))
        if lines and not headed and not _score(wanted, Lines.of(lines)):
            raise UnknownFormatError(_message(lines, f"the format asked for, {wanted.name}, reads none of them"))
        return wanted
    fewest = Lines.of(_spread(lines, _FEWEST))
    scores = _scores(_spread(lines, _FEW), reading_any(FORMATS, fewest))
    if not _clear(scores):
        scores = _scores(lines, FORMATS)
    most = max(scores.values())
    if not most:
        if member := next((f for f in W3C if f.reads_header("\n".join(sample_lines))), None):
            return member
        raise UnknownFormatError(_message(lines, f"none of these reads any: {', '.join(f.name for f in FORMATS)}"))
    return max((f for f in FORMATS if scores[f] >= most * _NEARLY), key=lambda f: (len(f.gives), scores[f]))


def _spread(lines: list[str], count: int) -> list[str]:
    return lines[:: max(1, len(lines) // count)]


def _scores(sample: list[str], tried: Sequence[LogFormat]) -> dict[LogFormat, int]:
    """What each format reads of the sample; 0 for those not tried."""
    lines = Lines.of(sample)
    return {f: _score(f, lines) if f in tried else 0 for f in FORMATS}


def _clear(scores: dict[LogFormat, int]) -> bool:
    """Whether each format reads just as much as the best or next to nothing: more lines would not change the choice."""
    most = max(scores.values())
    return most > 0 and all(s == most or s < most * _HARDLY for s in scores.values())


def _named(name: str, lines: list[str]) -> LogFormat:
    found = named(name)
    if found is None:
        raise UnknownFormatError(_message(lines, f"there is no format {name!r}; there are: {', '.join(NAMES)}"))
    return found


def _custom(pattern: str, time: str | None) -> LogFormat:
    try:
        return CustomFormat(pattern, time)
    except ValueError as e:
        raise UnknownFormatError(f"format_regex: {e}") from e


def _score(log_format: LogFormat, lines: Lines) -> int:
    """How many lines the format reads, their time included."""
    records = log_format.records(lines, log_format.next_state(None, lines.codes.data))
    return int(records.select((pl.col("matched") & pl.col("time").is_not_null()).sum()).item())


def _message(lines: list[str], tried: str) -> str:
    first = blot(lines[0], _SHOWN) if lines else "(no line)"
    return (
        f"can't tell the log's format. First line: {first!r}\n  tried on {len(lines)} lines: {tried}\n"
        "  the site's setting `format` names one; `format_regex` gives a pattern with the groups "
        "(?P<ip>…) (?P<time>…) (?P<method>…) (?P<path>…) (?P<status>…) (?P<referrer>…) (?P<user_agent>…) (?P<host>…), "
        "`format_time` the pattern of its time"
    )
