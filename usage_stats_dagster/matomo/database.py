"""A Matomo's MariaDB or MySQL: connections that only read, and the rows of a query.

What belongs here: the address, the two clients (connectorx, and pymysql as fallback and control), time limits, errors
that say what to do. What does not: which queries are asked (`queries.py`), what rows mean (`extract.py`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import polars as pl

from usage_stats_dagster.arrow import frame

if TYPE_CHECKING:
    import pymysql

PASSWORD_VARIABLE = "USAGE_STATS_MATOMO_PASSWORD"  # noqa: S105  (a variable's name)
STREAMED_ROWS = 8_000
"""Rows of one of pymysql's batches, each a tuple."""

READ_ONLY = (
    "SET SESSION TRANSACTION READ ONLY",
    "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
)
_CONNECT_SECONDS = 20
_SCHEMES = ("mysql", "mariadb", "mysql+pymysql", "mariadb+pymysql")

Client = Literal["connectorx", "pymysql"]


class MatomoDatabaseError(Exception):
    """The database can't be read as asked; the message says why and what to do, and holds no password."""


class ClientFailedError(MatomoDatabaseError):
    """connectorx gave up on a query (it also panics); pymysql may still read it."""


@dataclass(frozen=True)
class Database:
    """A database by its URL: `mysql://user@host:3306/name`, `?unix_socket=…` and `?ssl=true` allowed.

    The password comes from USAGE_STATS_MATOMO_PASSWORD, or stands in the URL where that comes from the environment.
    """

    url: str

    @cached_property
    def _parts(self) -> dict[str, Any]:
        try:
            parts = urlsplit(self.url)
            port = parts.port or 3306
        except ValueError as e:
            raise MatomoDatabaseError(_shape(e)) from e
        name = unquote(parts.path.lstrip("/"))
        if parts.scheme not in _SCHEMES or not name or not re.fullmatch(r"[^/`\x00]+", name):
            raise MatomoDatabaseError(_shape(f"scheme {parts.scheme!r}, database {name!r}"))
        password = unquote(parts.password) if parts.password is not None else os.environ.get(PASSWORD_VARIABLE, "")
        return {
            "host": parts.hostname or "localhost", "port": port, "user": unquote(parts.username or ""),
            "password": password, "database": name, **dict(parse_qsl(parts.query)),
        }  # fmt: skip

    @property
    def label(self) -> str:
        """Host, port and name, for messages."""
        p = self._parts
        return f"{p.get('unix_socket') or '{host}:{port}'.format(**p)}/{p['database']}"

    @property
    def has_columns(self) -> bool:
        """Whether `columns` reaches it: sockets and TLS are left to pymysql."""
        return not (self._parts.keys() & {"unix_socket", "ssl"})

    def connect(self) -> pymysql.Connection[Any]:
        """A connection whose transactions can only read; times are UTC, text is UTF-8 whatever the tables hold."""
        import pymysql  # noqa: PLC0415

        p = self._parts
        where: dict[str, Any] = (
            {"unix_socket": p["unix_socket"]} if "unix_socket" in p else {"host": p["host"], "port": p["port"]}
        )
        if p.get("ssl", "").lower() in ("true", "1", "required"):
            where["ssl"] = {"check_hostname": True}
        try:
            connection = _connection_class()(
                user=p["user"], password=p["password"], database=p["database"], charset="utf8mb4", autocommit=True,
                connect_timeout=_CONNECT_SECONDS, init_command="; ".join(["SET time_zone = '+00:00'"]), **where,
            )  # fmt: skip
            with connection.cursor() as c:
                for statement in READ_ONLY:
                    c.execute(statement)
        except pymysql.MySQLError as e:
            msg = (
                f"the database {self.label} does not answer: {_reason(e)}; check matomo.database_url "
                f"(mysql://user@host:3306/name) and the password in {PASSWORD_VARIABLE}"
            )
            raise MatomoDatabaseError(msg) from e
        return connection

    @contextmanager
    def connection(self) -> Iterator[Reader]:
        """A connection for a few queries."""
        connection = self.connect()
        try:
            yield Reader(self, connection)
        finally:
            connection.close()

    def columns(self, query: str) -> pl.DataFrame:
        """The rows of the query by connectorx, over a connection of its own, in memory as a whole. Raises ClientFailedError.

        Its `arrow_stream` would hold Python's lock for as long as the server takes, which stops every other thread, and ends
        like a complete answer where the connection breaks.
        """
        import connectorx  # noqa: PLC0415  (55 MB that only this mode needs)

        p = self._parts
        user = (
            f"{quote(p['user'], safe='')}:{quote(p['password'], safe='')}"
            if p["password"]
            else quote(p["user"], safe="")
        )
        url = f"mysql://{user}@{p['host']}:{p['port']}/{quote(p['database'], safe='')}"
        try:
            return frame(connectorx.read_sql(url, query, return_type="arrow", pre_execution_query=list(READ_ONLY)))
        except BaseException as e:  # a Rust panic is no Exception
            if not isinstance(e, Exception) and type(e).__name__ != "PanicException":
                raise
            text = str(e).replace(p["password"], "…") if p["password"] else str(e)
            msg = f"connectorx could not read from {self.label}: {text[:400]}"
            raise ClientFailedError(msg) from None


class Reader:
    """A pymysql connection: small answers whole, large ones batch by batch."""

    def __init__(self, database: Database, connection: pymysql.Connection[Any]) -> None:
        self.database = database
        self._connection = connection

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """All rows of a small answer."""
        import pymysql  # noqa: PLC0415

        try:
            with self._connection.cursor() as c:
                c.execute(query)
                return list(c.fetchall())
        except pymysql.MySQLError as e:
            raise self._failed(e) from e

    def stream(self, query: str, schema: pl.Schema) -> Iterator[pl.DataFrame]:
        """The rows as frames of the schema, a batch at a time."""
        import pymysql  # noqa: PLC0415
        from pymysql.cursors import SSCursor  # noqa: PLC0415

        try:
            with self._connection.cursor(SSCursor) as c:
                c.execute(query)
                while rows := c.fetchmany(STREAMED_ROWS):
                    yield pl.DataFrame(rows, schema=schema, orient="row")
        except pymysql.MySQLError as e:
            raise self._failed(e) from e

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Everything read within is of one moment."""
        self.rows("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
        try:
            yield
        finally:
            self.rows("COMMIT")

    def _failed(self, e: Exception) -> MatomoDatabaseError:
        return MatomoDatabaseError(f"the database {self.database.label} refused a query: {_reason(e)}")


@cache
def _connection_class() -> type[pymysql.Connection[Any]]:
    """pymysql's connection; where the URL does not ask for TLS, which is then used unchecked if the server offers it, it
    does not read the system's certificates for each connection: 40 ms."""
    import ssl  # noqa: PLC0415

    import pymysql  # noqa: PLC0415

    class Connection(pymysql.Connection):
        def _create_ssl_ctx(self, sslp: dict[str, Any]) -> ssl.SSLContext:
            if sslp:
                return super()._create_ssl_ctx(sslp)  # type: ignore[misc,no-any-return]
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            return context

    return Connection


def _reason(e: Exception) -> str:
    return str(e.args[-1] if e.args else e)


def _shape(why: object) -> str:
    return f"matomo.database_url can't be used ({why}): it has the form mysql://user@host:3306/name"
