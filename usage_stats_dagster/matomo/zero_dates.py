"""Zero dates made safe: `0000-00-00 00:00:00`, which MySQL stores and no client library can hold.

What belongs here: the SQL that turns them into null. What does not: the queries (`queries.py`).

connectorx panics on one (a BaseException that ends the process's thread), pymysql hands out a string: so no time
leaves the server without this.
"""

from __future__ import annotations


def safe_time(column: str) -> str:
    """The time column as SQL, null where it is a zero date."""
    return f"NULLIF({column}, 0)"
