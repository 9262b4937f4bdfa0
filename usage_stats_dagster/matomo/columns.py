"""Which columns a Matomo has: versions 3, 4 and 5, plugins there or not.

What belongs here: reading `information_schema`, what we can't do without, nulls for what is missing. What does not:
the queries (`queries.py`).
"""

# ruff: noqa: S608
from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from usage_stats_dagster.matomo.database import MatomoDatabaseError, Reader

VISIT, EVENT, ACTION = "log_visit", "log_link_visit_action", "log_action"

REQUIRED = {
    VISIT: ("idvisit", "idsite", "idvisitor", "visit_first_action_time", "visit_last_action_time"),
    EVENT: ("idlink_va", "idvisit", "idvisitor", "idsite", "server_time", "idaction_url", "idaction_name"),
    ACTION: ("idaction", "name", "type", "url_prefix"),
}
TIME_INDEX = "index_idsite_servertime"


@dataclass(frozen=True)
class Columns:
    """A Matomo's three tables, as they are: names with the prefix, columns, and whether events are indexed by time."""

    prefix: str
    have: Mapping[str, frozenset[str]]
    has_time_index: bool

    def table(self, name: str) -> str:
        """The table's name as SQL."""
        return f"`{self.prefix}{name}`"

    def text(self, table: str, alias: str, column: str) -> str:
        """A text column as SQL; null where this Matomo has none of that name."""
        return f"{alias}.{column}" if column in self.have[table] else "CAST(NULL AS CHAR)"

    def number(self, table: str, alias: str, column: str) -> str:
        """A number column as SQL; null where this Matomo has none of that name."""
        return f"{alias}.{column}" if column in self.have[table] else "CAST(NULL AS SIGNED)"


def read_columns(reader: Reader, prefix: str) -> Columns:
    """The tables of that prefix; raises MatomoDatabaseError naming what is missing and which prefixes there are."""
    if not re.fullmatch(r"\w*", prefix):
        msg = f"matomo.table_prefix = {prefix!r}: letters, digits and _ only"
        raise MatomoDatabaseError(msg)
    names = ", ".join(f"'{prefix}{t}'" for t in REQUIRED)
    found = reader.rows(
        f"SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name IN ({names})"
    )
    have = {t: frozenset(str(c) for name, c in found if name == f"{prefix}{t}") for t in REQUIRED}
    missing = [f"{prefix}{t}.{c}" for t, columns in REQUIRED.items() for c in columns if c not in have[t]]
    if missing:
        whole = [f"{prefix}{t}" for t in REQUIRED if not have[t]]
        what = f"no table {', '.join(whole)}" if whole else f"no column {', '.join(missing)}"
        msg = f"the database {reader.database.label} has {what}; {_prefixes(reader)}"
        raise MatomoDatabaseError(msg)
    index = reader.rows(
        "SELECT COUNT(*) FROM information_schema.statistics WHERE table_schema = DATABASE() "
        f"AND table_name = '{prefix}{EVENT}' AND index_name = '{TIME_INDEX}'"
    )
    return Columns(prefix, have, bool(index[0][0]))


def _prefixes(reader: Reader) -> str:
    rows = reader.rows(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() "
        f"AND table_name LIKE '%{EVENT}' ORDER BY 1"
    )
    prefixes = [str(r[0]).removesuffix(EVENT) for r in rows]
    if not prefixes:
        return "it holds no Matomo: is the database's name right, and may the user read it?"
    return f"set matomo.table_prefix to one of {', '.join(map(repr, prefixes))}"
