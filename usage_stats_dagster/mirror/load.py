"""A site's day into the mirror's table: replaced as a whole, in one transaction.

What belongs here: COPY, delete, insert, partitions, and the count afterwards. What does not: what a row is (`rows.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl
import psycopg
from psycopg import sql

from usage_stats_dagster.mirror.table import COLUMNS, Destination, MirrorError

COPY_ROWS = 20_000
"""Rows a piece of the COPY: some 8 MB of text."""

_STAGE = sql.Identifier("pg_temp", "mirror_stage")


_WORK_MEM = "64MB"
"""For comparing the day with what is there: a larger day is compared on the server's disk."""


@dataclass(frozen=True)
class Replaced:
    """What a day's replacement did: rows of the day now, inserted and removed ones, robots' rows left out."""

    rows: int
    inserted: int
    removed: int
    robots: int


def replace_day(
    connection: psycopg.Connection,
    to: Destination,
    idsite: int,
    window: tuple[datetime, datetime],
    frames: Iterable[pl.DataFrame],
    *,
    with_robots: bool = False,
) -> Replaced:
    """Makes the frames' rows (`rows.SCHEMA` plus `robot`) the only ones of the site with a time in `window`.

    `window` is in UTC, its end not included. Readers see the old day until the commit, and a writer that dies leaves it.
    Rows that are there already as they should be are left alone: with 18 indexes, writing is what costs. Two writers of
    one site take turns. Raises MirrorError when PostgreSQL refuses the rows, or when an action's id is
    already another site's: nothing is changed then.
    """
    try:
        if to.partitioned:
            _make_partitions(connection, to, window)
        with connection.transaction():
            return _replace(connection, to, idsite, window, frames, with_robots=with_robots)
    except psycopg.Error as e:
        msg = f"site {idsite}, {window[0]:%Y-%m-%d %H:%M} UTC: table {to.table} can't be written ({' '.join(str(e).split())})"
        raise MirrorError(msg) from e


def _replace(
    connection: psycopg.Connection,
    to: Destination,
    idsite: int,
    window: tuple[datetime, datetime],
    frames: Iterable[pl.DataFrame],
    *,
    with_robots: bool,
) -> Replaced:
    table = sql.Identifier(to.table)
    names = sql.SQL(", ").join(map(sql.Identifier, COLUMNS))
    of_day = sql.SQL("old.idsite = {} AND old.action_timestamp >= {} AND old.action_timestamp < {}").format(
        str(idsite), *window
    )
    # The strongest lock first: one taken after a read would wait for who makes a partition, who waits for the reader.
    connection.execute(sql.SQL("LOCK TABLE {} IN ROW EXCLUSIVE MODE").format(table))
    connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s), %s)", [to.table, idsite])
    connection.execute(sql.SQL("SET LOCAL work_mem = {}").format(_WORK_MEM))
    connection.execute(
        sql.SQL("CREATE TEMP TABLE mirror_stage ON COMMIT DROP AS SELECT {} FROM {} WITH NO DATA").format(names, table)
    )
    written, robots = _copy(connection, frames, with_robots=with_robots)
    connection.execute(sql.SQL("ANALYZE {}").format(_STAGE))
    removed = connection.execute(
        sql.SQL(
            "DELETE FROM {} old WHERE {} AND NOT EXISTS (SELECT FROM {} new WHERE new.action_id = old.action_id AND {})"
        ).format(table, of_day, _STAGE, _same())
    ).rowcount
    update = sql.SQL(", ").join(
        sql.SQL("{0} = excluded.{0}").format(sql.Identifier(c)) for c in COLUMNS if c not in to.unique_columns
    )
    inserted = connection.execute(
        sql.SQL(
            "INSERT INTO {table} AS there ({names}) SELECT {names} FROM {stage} new"
            " WHERE NOT EXISTS (SELECT FROM {table} old WHERE {of_day} AND old.action_id = new.action_id)"
            " ON CONFLICT ({unique}) DO UPDATE SET {update} WHERE there.idsite = excluded.idsite"
        ).format(
            table=table,
            names=names,
            stage=_STAGE,
            of_day=of_day,
            unique=sql.SQL(", ").join(map(sql.Identifier, to.unique_columns)),
            update=update,
        )
    ).rowcount
    found = _one(connection.execute(sql.SQL("SELECT count(*) FROM {} old WHERE {}").format(table, of_day)))
    assert isinstance(found, int)
    if found != written:
        msg = (
            f"site {idsite}: {written - found} actions have an action_id that another site has in table {to.table}: "
            "mirror sites of two platforms into two tables (DESTINATION_TABLE)"
        )
        raise MirrorError(msg)
    return Replaced(written, inserted, removed, robots)


def _same() -> sql.Composable:
    """Whether `old` and `new` are equal in every column; json has no equality, its text has."""
    pairs = (
        sql.SQL("new.{0}{1} IS NOT DISTINCT FROM old.{0}{1}").format(
            sql.Identifier(c), sql.SQL("::text" if t == "json" else "")
        )
        for c, t in COLUMNS.items()
    )
    return sql.SQL(" AND ").join(pairs)


def _copy(connection: psycopg.Connection, frames: Iterable[pl.DataFrame], *, with_robots: bool) -> tuple[int, int]:
    """(rows copied, robots' rows left out)."""
    written = robots = 0
    statement = sql.SQL("COPY {} FROM STDIN (FORMAT csv, ENCODING 'UTF8')").format(_STAGE)
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for frame in frames:
            kept = frame if with_robots else frame.filter(pl.col("robot").is_null())
            robots += frame.height - kept.height
            written += kept.height
            for piece in kept.drop("robot").iter_slices(COPY_ROWS):
                copy.write(csv_of(piece))
    return written, robots


def csv_of(frame: pl.DataFrame) -> bytes:
    """Rows as PostgreSQL's CSV: every text in quotes, null as nothing, times with their zone."""
    return frame.write_csv(
        include_header=False,
        quote_style="non_numeric",
        datetime_format="%Y-%m-%d %H:%M:%S%.6f+00",
        null_value="",
    ).encode()


def last_time(connection: psycopg.Connection, to: Destination, idsite: int) -> datetime | None:
    """The site's last action_timestamp in the table."""
    query = sql.SQL("SELECT max(action_timestamp) FROM {} WHERE idsite = {}").format(
        sql.Identifier(to.table), str(idsite)
    )
    found = _one(connection.execute(query))
    assert found is None or isinstance(found, datetime)
    return found


def _make_partitions(connection: psycopg.Connection, to: Destination, window: tuple[datetime, datetime]) -> None:
    """The partitions of the ISO weeks that the window touches, in a transaction of their own.

    Making one locks the whole table for a moment: not for the length of a load. Weeks begin on Monday at midnight in
    the database's time zone, as those do that SocialGouv's function makes.
    """
    weeks = (
        "SELECT to_char(w, 'IYYY\"w\"IW'), w::text, (w + interval '1 week')::text FROM generate_series("
        "date_trunc('week', %s::timestamptz), %s::timestamptz - interval '1 microsecond', interval '1 week') w"
    )
    with connection.transaction():
        for week, start, end in connection.execute(weeks, window).fetchall():
            name = sql.Identifier(f"{to.table}_{week}")
            known = "SELECT to_regclass(%s) IS NOT NULL"
            if _one(connection.execute(known, [name.as_string(connection)])):
                continue
            connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s), 0)", [to.table])
            connection.execute(
                sql.SQL("CREATE TABLE IF NOT EXISTS {} PARTITION OF {} FOR VALUES FROM ({}) TO ({})").format(
                    name, sql.Identifier(to.table), start, end
                )
            )


def _one(cursor: psycopg.Cursor[Any]) -> object:
    row = cursor.fetchone()
    return row[0] if row else None
