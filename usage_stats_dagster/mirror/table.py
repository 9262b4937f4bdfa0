"""The mirror's table: where it is, its columns and indexes, and making it or taking over one that is there.

What belongs here: names and types (SocialGouv matomo-postgres 2.4.1), the connection, running the migrations. What does
not: the statements of a migration (`migrations/`), rows (`rows.py`, `load.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

REVISION = "0001"
"""The newest migration: a table that has it needs no Alembic, whose import costs half a second."""

LONGEST_NAME = 36
"""Bytes of a table's name: PostgreSQL cuts names at 63, and indexes and partitions are named after the table."""

DIMENSIONS = tuple(f"dimension{n}" for n in range(1, 11))

COLUMNS = {
    "action_id": "text",
    "action_timestamp": "timestamptz",
    "idsite": "text",
    "idvisit": "text",
    "actions": "text",
    "country": "text",
    "region": "text",
    "city": "text",
    "operatingsystemname": "text",
    "devicemodel": "text",
    "devicebrand": "text",
    "visitduration": "text",
    "dayssincefirstvisit": "text",
    "visitortype": "text",
    "sitename": "text",
    "userid": "text",
    "serverdateprettyfirstaction": "date",
    "action_type": "text",
    "action_eventcategory": "text",
    "action_eventaction": "text",
    "action_eventname": "text",
    "action_eventvalue": "numeric",
    "action_timespent": "text",
    "usercustomproperties": "json",
    "usercustomdimensions": "json",
    **dict.fromkeys(DIMENSIONS, "text"),
    "action_url": "text",
    "sitesearchkeyword": "text",
    "action_title": "text",
    "visitorid": "text",
    "referrertype": "text",
    "referrername": "text",
    "resolution": "text",
    "experiments": "jsonb",
}
"""Column → type, the 43 of SocialGouv's table."""

INDEXES = {
    **{
        f"idx_{c}": c
        for c in (
            "action_eventaction",
            "action_eventcategory",
            "action_id",
            "action_timestamp",
            "action_type",
            "action_url",
            *DIMENSIONS[:5],
            "idvisit",
            "region",
            "userid",
            "visitorid",
        )
    },
    "idx_category_timestamp": "action_eventcategory, action_timestamp",
    "actions_day": "date(timezone('UTC'::text, action_timestamp))",
}
"""Name without the table's → what is indexed, as PostgreSQL prints it."""


class MirrorError(Exception):
    """The mirror can't be used or written; the message says what and what to do."""


@dataclass(frozen=True)
class Destination:
    """The table that is written: `database` is a URL, a libpq string or a database's name."""

    database: str
    table: str = "matomo"
    partitioned: bool = False

    @property
    def version_table(self) -> str:
        """Where Alembic keeps this table's revision: one for each table, none of it anybody else's."""
        return f"{self.table}_mirror_version"

    @property
    def unique_columns(self) -> tuple[str, ...]:
        """What is unique: with partitions PostgreSQL wants the partition's column in it."""
        return ("action_id", "action_timestamp") if self.partitioned else ("action_id",)


def destination(environ: Mapping[str, str]) -> Destination | None:
    """The destination by SocialGouv's variables; None without PGDATABASE. Raises MirrorError for a name that is too long.

    DESTINATION_TABLE is the table, else MATOMO_TABLE_NAME, else `matomo`. It has partitions when it is the table that
    PARTITIONED_MATOMO_TABLE_NAME names (`matomo_partitioned`).
    """
    database = environ.get("PGDATABASE", "").strip()
    if not database:
        return None
    partitioned = environ.get("PARTITIONED_MATOMO_TABLE_NAME") or "matomo_partitioned"
    table = environ.get("DESTINATION_TABLE") or environ.get("MATOMO_TABLE_NAME") or "matomo"
    if len(table.encode()) > LONGEST_NAME:
        msg = f"DESTINATION_TABLE = {table!r} is too long: use at most {LONGEST_NAME} bytes"
        raise MirrorError(msg)
    return Destination(database, table, partitioned=table == partitioned)


def connect(to: Destination, *, autocommit: bool = True) -> psycopg.Connection:
    """A connection to the destination's database; host, user and password as libpq finds them. Raises MirrorError."""
    try:
        return psycopg.connect(_conninfo(to), autocommit=autocommit, application_name="usage-stats mirror")
    except psycopg.OperationalError as e:
        why = " ".join(str(e).split())
        msg = f"the database that PGDATABASE names can't be opened ({why}): is it running, and are user and password right?"
        raise MirrorError(msg) from e


def _conninfo(to: Destination) -> str:
    """What libpq takes. Its own complaints repeat what they can't read, of which a password may be part: never shown."""
    if "://" not in to.database and "=" not in to.database:
        return psycopg.conninfo.make_conninfo(dbname=to.database)
    try:
        read = psycopg.conninfo.conninfo_to_dict(to.database)
    except psycopg.ProgrammingError:
        read = {"port": "?"}
    if not set(str(read.get("port") or "")) <= set("0123456789,"):
        msg = (
            "PGDATABASE can't be read: use postgresql://user:password@host:port/name, odd characters as %XX, or a name"
        )
        raise MirrorError(msg)
    return to.database


def prepare(connection: psycopg.Connection, to: Destination) -> None:
    """Makes or migrates the table, unless it is at REVISION; takes over one that SocialGouv's program made.

    Raises MirrorError when a table of that name is another: a column's type, or partitions where none are wanted.
    """
    have = revision(connection, to)
    if have == REVISION:
        return
    if have is not None and have > REVISION:
        msg = f"table {to.table} was made by a newer version ({have} > {REVISION}): upgrade usage-stats-dagster"
        raise MirrorError(msg)
    import sqlalchemy as sa  # noqa: PLC0415
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["destination"] = to
    engine = sa.create_engine(
        "postgresql+psycopg://", creator=lambda: connect(to, autocommit=False), poolclass=sa.pool.NullPool
    )
    try:
        with engine.begin() as c:
            # Two first runs at once must not both make it.
            c.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(to.version_table))))
            config.attributes["connection"] = c
            command.upgrade(config, "head")
    except sa.exc.DBAPIError as e:
        msg = f"table {to.table} can't be made ({' '.join(str(e.orig).split())})"
        raise MirrorError(msg) from e


def revision(connection: psycopg.Connection, to: Destination) -> str | None:
    """The table's revision; None when it was not made or taken over yet."""
    name = sql.Identifier(to.version_table)
    there = connection.execute("SELECT to_regclass(%s) IS NOT NULL", [name.as_string(connection)]).fetchone()
    if there == (False,):
        return None
    row = connection.execute(sql.SQL("SELECT version_num FROM {}").format(name)).fetchone()
    return str(row[0]) if row else None
