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


@dataclass(frozen=True)
class Replaced:
    """What a day's replacement did: rows written, rows that were there, robots' rows left out."""

    written: int
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
    Two writers of one site take turns. Raises MirrorError when PostgreSQL refuses the rows, or when an action's id is
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
    of_day = sql.SQL("idsite = {} AND action_timestamp >= {} AND action_timestamp < {}").format(str(idsite), *window)
    connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s), %s)", [to.table, idsite])
    connection.execute(
        sql.SQL("CREATE TEMP TABLE mirror_stage ON COMMIT DROP AS SELECT {} FROM {} WITH NO DATA").format(names, table)
    )
    written, robots = _copy(connection, frames, with_robots=with_robots)
    removed = connection.execute(sql.SQL("DELETE FROM {} WHERE {}").format(table, of_day)).rowcount
    changed = [c for c in COLUMNS if c not in to.unique_columns]
    update = sql.SQL(", ").join(sql.SQL("{0} = excluded.{0}").format(sql.Identifier(c)) for c in changed)
    inserted = connection.execute(
        sql.SQL(
            "INSERT INTO {} AS old ({}) SELECT {} FROM {} ON CONFLICT ({}) DO UPDATE SET {} WHERE old.idsite = excluded.idsite"
        ).format(table, names, names, _STAGE, sql.SQL(", ").join(map(sql.Identifier, to.unique_columns)), update)
    ).rowcount
    if inserted != written:
        msg = (
            f"site {idsite}: {written - inserted} actions have an action_id that another site has in table {to.table}: "
            "mirror sites of two platforms into two tables (DESTINATION_TABLE)"
        )
        raise MirrorError(msg)
    found = _one(connection.execute(sql.SQL("SELECT count(*) FROM {} WHERE {}").format(table, of_day)))
    if found != written:
        msg = f"site {idsite}: table {to.table} has {found} rows of the day, {written} were written"
        raise MirrorError(msg)
    return Replaced(written, removed, robots)


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
