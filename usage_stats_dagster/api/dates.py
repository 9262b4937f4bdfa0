"""What readers write for a date: `2025-06-01`, `2025-06`, `now-1y`, `2025-06-30||/M`, as OpenSearch's date math.

What belongs here: from such a text to the first or last day that it lets in. What does not: buckets (`periods.py`).

A document is dated at its period's midnight, so an instant within a day lets that day in as an end, but not as a start:
`now-1y` begins with the day after, as it does on OpenSearch. One rule is better here: an end of `2025-06` or `2025` means
the whole of it, where OpenSearch takes its first day.
"""

from __future__ import annotations

import calendar
import re
from datetime import UTC, date, datetime, timedelta

_DATE = re.compile(
    r"(?P<year>\d{4})(?:-(?P<month>\d{2})(?:-(?P<day>\d{2})"
    r"(?:T(?P<hour>\d{2})(?::(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d{1,9}))?)?)?(?P<zone>Z|[+-]\d{2}:?\d{2})?)?)?)?",
    re.ASCII,
)
_STEP = re.compile(r"([+-])(\d{1,6})([yMwdhHms])|/([yMwdhHms])", re.ASCII)
_SECONDS = {"w": 604_800, "d": 86_400, "h": 3_600, "H": 3_600, "m": 60, "s": 1}
_UNITS = {"year": "y", "month": "M", "day": "d", "hour": "h", "minute": "m", "second": "s"}
_TICK = timedelta(microseconds=1)


class DateError(ValueError):
    """The text is no date; the message says how dates are written."""


def first_day(name: str, text: str, now: datetime) -> date:
    """The first day whose midnight is not before what parameter `name` says; `now` has no zone. Raises DateError."""
    instant = _instant(name, text, now, up=False)
    midnight = instant.replace(hour=0, minute=0, second=0, microsecond=0)
    return (midnight if instant == midnight else _shifted(midnight, 1, "d")).date()


def last_day(name: str, text: str, now: datetime) -> date:
    """The last day whose midnight is not after what parameter `name` says; `now` has no zone. Raises DateError."""
    return _instant(name, text, now, up=True).date()


def _instant(name: str, text: str, now: datetime, *, up: bool) -> datetime:
    """The instant, rounded up to the last one of what is meant, or down to its first."""
    try:
        return _computed(text.strip(), now, up=up)
    except (ValueError, OverflowError) as e:
        why = "" if str(e) == "" or isinstance(e, OverflowError) else f" ({e})"
        msg = f"{name} {text!r} is no date{why}: write one such as 2025-06-01, 2025-06, now or now-1y"
        raise DateError(msg) from e


def _computed(text: str, now: datetime, *, up: bool) -> datetime:
    if text.startswith("now"):
        found, steps = now, text[3:]
    else:
        written, _, steps = text.partition("||")
        match = _DATE.fullmatch(written)
        if match is None:
            raise ValueError
        found = _written(match, up=up)
    position = 0
    while position < len(steps):
        step = _STEP.match(steps, position)
        if step is None:
            raise ValueError
        sign, count, unit, rounded = step.groups()
        found = _rounded(found, rounded, up=up) if rounded else _shifted(found, int(sign + count), unit)
        position = step.end()
    return found


def _written(match: re.Match[str], *, up: bool) -> datetime:
    parts = {k: int(match[k]) for k in _UNITS if match[k] is not None}
    found = datetime(**{"month": 1, "day": 1, **parts})  # type: ignore[arg-type]
    if match["fraction"]:
        found = found.replace(microsecond=int(match["fraction"][:6].ljust(6, "0")))
    elif up:
        found = _rounded(found, _UNITS[list(parts)[-1]], up=True)
    zone = match["zone"]
    if zone and zone != "Z":
        found = datetime.strptime(
            f"{found.isoformat()}{zone}", f"%Y-%m-%dT%H:%M:%S{'.%f' if found.microsecond else ''}%z"
        )
        found = found.astimezone(UTC).replace(tzinfo=None)
    return found


def _rounded(instant: datetime, unit: str, *, up: bool) -> datetime:
    """The first instant of the unit that it lies in, or the last."""
    first = instant.replace(microsecond=0)
    if unit in "yM":
        first = first.replace(day=1, hour=0, minute=0, second=0, month=1 if unit == "y" else first.month)
    elif unit in "wd":
        first = first.replace(hour=0, minute=0, second=0) - timedelta(days=first.weekday() if unit == "w" else 0)
    elif unit in "hH":
        first = first.replace(minute=0, second=0)
    elif unit == "m":
        first = first.replace(second=0)
    return _shifted(first, 1, unit) - _TICK if up else first


def _shifted(instant: datetime, count: int, unit: str) -> datetime:
    """The instant so many units on; a month's last day where the day does not exist."""
    if unit not in "yM":
        return instant + timedelta(seconds=count * _SECONDS[unit])
    months = instant.year * 12 + instant.month - 1 + count * (12 if unit == "y" else 1)
    year, month = divmod(months, 12)
    if not 1 <= year <= 9999:
        raise OverflowError
    return instant.replace(year=year, month=month + 1, day=min(instant.day, calendar.monthrange(year, month + 1)[1]))
