"""When a log begins: the time of its first record that can be read, from its head alone.

What belongs here: enough parsing to tell which day to ask for. What does not: reading the log (`read.py`).
"""

from __future__ import annotations

from datetime import datetime

from usage_stats_dagster.logs.lines import Lines
from usage_stats_dagster.logs.parse import parse
from usage_stats_dagster.logs.sniff import UnknownFormatError, detect
from usage_stats_dagster.settings import Site


def first_record_time(head: bytes, site: Site) -> datetime | None:
    """The earliest time in the first records (UTC); None when their format needs more than these bytes to be told."""
    lines = head.decode("utf-8", "replace").splitlines()[:-1] or [head.decode("utf-8", "replace")]
    custom = (site.format_regex, site.format_time) if site.format_regex else None
    try:
        log_format = detect(lines, forced=site.format, custom=custom)
    except UnknownFormatError:
        return None
    found: datetime | None = parse(Lines.of(lines), log_format, None, "UTC")["time"].min()  # type: ignore[assignment]
    return found
