"""Which days to mirror when nobody names them: SocialGouv's rules, by their environment variables.

What belongs here: STARTDATE, FORCE_STARTDATE, INITIAL_OFFSET, and their order. What does not: reading the table's last
time (`load.py`), which of the days the lake has (`stage.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from usage_stats_dagster.mirror.table import MirrorError

LOOK_BACK = timedelta(days=2)
"""Days before the last time in the table that are read again: visits that were still open then."""

AHEAD = timedelta(days=1)
DEFAULT_OFFSET = "3"

_YES = {"1", "true", "yes", "on"}
_NO = {"", "0", "false", "no", "off"}


def days_to_mirror(
    environ: Mapping[str, str],
    *,
    argument: date | None,
    last: datetime | None,
    now: datetime,
    zone: ZoneInfo,
) -> tuple[date, date]:
    """First and last day, both included, in the platform's zone (SocialGouv matomo-postgres 2.4.1).

    First, the first of these that there is: `argument`; STARTDATE if FORCE_STARTDATE; two days before `last`, the last
    action_timestamp in the table; STARTDATE; now less INITIAL_OFFSET days (3). Last: now and a day.
    Raises MirrorError naming the variable that can't be read.
    """
    end = (now + AHEAD).astimezone(zone).date()
    if argument is not None:
        return argument, end
    start = _day(environ, "STARTDATE", zone)
    if start is not None and truth(environ, "FORCE_STARTDATE"):
        return start, end
    if last is not None:
        return (last - LOOK_BACK).astimezone(zone).date(), end
    if start is not None:
        return start, end
    return (now - timedelta(days=_offset(environ))).astimezone(zone).date(), end


def _day(environ: Mapping[str, str], name: str, zone: ZoneInfo) -> date | None:
    text = environ.get(name, "").strip()
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as e:
        msg = f"{name} = {text!r} is no date: use YYYY-MM-DD"
        raise MirrorError(msg) from e
    return moment.date() if moment.tzinfo is None else moment.astimezone(zone).date()


def truth(environ: Mapping[str, str], name: str) -> bool:
    """A variable that is true or false; false when it is not set. Raises MirrorError for another word."""
    text = environ.get(name, "").strip().lower()
    if text not in _YES | _NO:
        msg = f"{name} = {text!r}: use true or false"
        raise MirrorError(msg)
    return text in _YES


def _offset(environ: Mapping[str, str]) -> int:
    text = environ.get("INITIAL_OFFSET", "").strip() or DEFAULT_OFFSET
    if not (text.isascii() and text.isdigit() and len(text) <= 5):
        msg = f"INITIAL_OFFSET = {text!r}: use a number of days, such as {DEFAULT_OFFSET}"
        raise MirrorError(msg)
    return int(text)
