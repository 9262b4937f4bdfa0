"""Session hours: the clock hour of the platform, whatever the engine.

What belongs here: the hour that makes a COUNTER session with the user (R5.1 7.3). What does not: Matomo's visits.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import narwhals as nw

_HOUR = timedelta(hours=1)
_SECOND = timedelta(seconds=1)


def local_hour(zone: ZoneInfo, first: date, last: date) -> nw.Expr:
    """The date and clock hour of `server_time` in the zone, for events of the days `first` to `last`.

    The zone's offsets are written into the expression, since not every engine converts zones. When clocks go back, the
    hour that comes twice is one: the session's key is date and hour as the clock shows them.
    """
    moment = nw.col("server_time")
    start = datetime.combine(first, time(), tzinfo=zone).astimezone(UTC)
    end = datetime.combine(last + timedelta(days=1), time(), tzinfo=zone).astimezone(UTC)
    local = moment + _offset(start, zone)
    for change in _changes(start, end, zone):
        local = nw.when(moment >= nw.lit(change)).then(moment + _offset(change, zone)).otherwise(local)
    return local.dt.truncate("1h")


def _offset(moment: datetime, zone: ZoneInfo) -> timedelta:
    offset = moment.astimezone(zone).utcoffset()
    assert offset is not None  # a ZoneInfo always has one
    return offset


def _changes(start: datetime, end: datetime, zone: ZoneInfo) -> list[datetime]:
    """The moments within [start, end) at which the zone's offset changes, to the second."""
    changes = []
    before = start
    while before < end:
        after = before + _HOUR
        if _offset(before, zone) != _offset(after, zone):
            low, high = before, after
            while high - low > _SECOND:
                middle = low + timedelta(seconds=(high - low) // _SECOND // 2)
                low, high = (middle, high) if _offset(middle, zone) == _offset(before, zone) else (low, middle)
            changes.append(high)
        before = after
    return changes
