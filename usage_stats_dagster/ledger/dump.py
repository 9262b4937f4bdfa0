"""The ledger's tables as lines of JSON, and back: the same from and into any database.

What belongs here: rows ↔ lines. What does not: the archive that they go into (`pipeline/backup/`).

A line is a row as an object: dates and times ISO, bytes base64, JSON columns as they are.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from usage_stats_dagster.ledger.ledger import Ledger
from usage_stats_dagster.ledger.tables import metadata

_ROWS = 2_000
"""Rows read or inserted at a time."""


def table_names() -> list[str]:
    """The ledger's tables, those that others refer to first."""
    return [t.name for t in metadata.sorted_tables]


def dump(connection: Connection, name: str) -> Iterator[bytes]:
    """The table's rows by primary key, some thousand lines at a time."""
    table = metadata.tables[name]
    query = sa.select(table).order_by(*table.primary_key.columns).execution_options(yield_per=_ROWS)
    names = [str(c.name) for c in table.columns]  # SQLAlchemy's own are no plain text to orjson
    for rows in connection.execute(query).partitions():
        lines = (orjson.dumps(dict(zip(names, map(_out, r), strict=True))) for r in rows)
        yield b"".join(line + b"\n" for line in lines)


def is_empty(ledger: Ledger) -> bool:
    """Whether no table has a row."""
    return not any(ledger.rows(sa.select(sa.literal(1)).select_from(t).limit(1)) for t in metadata.sorted_tables)


def load(ledger: Ledger, tables: Mapping[str, Iterable[bytes]]) -> dict[str, int]:
    """Makes the lines the ledger's only rows, in one transaction; returns rows by table. A table without lines is empty."""
    counts = {}
    with ledger.write(durable=True) as c:
        for table in reversed(metadata.sorted_tables):
            c.execute(sa.delete(table))
        for table in metadata.sorted_tables:
            counts[table.name] = _load_table(c, table, tables.get(table.name, ()))
        if c.dialect.name == "postgresql":
            for table in metadata.sorted_tables:
                _move_sequence(c, table)
    return counts


def _load_table(c: Connection, table: sa.Table, lines: Iterable[bytes]) -> int:
    count = 0
    rows: list[dict[str, Any]] = []
    for line in lines:
        raw = orjson.loads(line)
        rows.append({k: _in(table.c[k], v) for k, v in raw.items() if k in table.c})
        if len(rows) == _ROWS:
            c.execute(sa.insert(table), rows)
            count, rows = count + len(rows), []
    if rows:
        c.execute(sa.insert(table), rows)
    return count + len(rows)


def _move_sequence(c: Connection, table: sa.Table) -> None:
    """PostgreSQL's next number goes on after the rows that brought theirs along."""
    column = table.autoincrement_column
    if column is not None:
        last = c.execute(sa.select(sa.func.max(column))).scalar()
        sequence = sa.func.pg_get_serial_sequence(table.name, column.name)
        if c.execute(sa.select(sequence)).scalar():
            c.execute(sa.select(sa.func.setval(sequence, last or 1, last is not None)))


def _out(value: Any) -> Any:  # noqa: ANN401  (whatever a column holds)
    return base64.b64encode(value).decode() if isinstance(value, bytes | memoryview) else value


def _in(column: sa.Column[Any], value: Any) -> Any:  # noqa: ANN401
    match column.type:
        case _ if value is None:
            return None
        case sa.Date():
            return date.fromisoformat(value)
        case sa.DateTime():
            return datetime.fromisoformat(value)
        case sa.LargeBinary():
            return base64.b64decode(value)
    return value
