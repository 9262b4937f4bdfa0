"""Reading and writing the ledger.

What belongs here: opening it (migrations included) and its queries, each one transaction. What does not: deciding
what a status should be (`pipeline/status.py`).
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, cast
from weakref import finalize

import polars as pl
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine, RowMapping
from sqlalchemy.exc import DBAPIError

from usage_stats_dagster.ledger.tables import (
    LogStatus,
    date_status,
    log_day,
    log_file,
    log_file_summary,
    log_path,
    matomo_position,
    metadata,
)

REVISION = "0002"
"""The newest migration: a ledger that is there already needs no Alembic, whose import costs half a second."""

_BUSY_SECONDS = 60.0
"""How long to wait for another's transaction; `?timeout=` in the ledger's URL says otherwise."""

_CHUNK = 400
_WRITES, _DURABLE = "usage_stats_writes", "usage_stats_durable"


class LedgerError(Exception):
    """The ledger can't be used; the message says why and what to do."""


def now() -> datetime:
    """UTC without zone, as the ledger stores times."""
    return datetime.now(UTC).replace(tzinfo=None)


@dataclass(frozen=True)
class DayInput:
    """One log's share of a site's day."""

    identity: str
    content_hash: str
    hits: int
    hits_hash: str


class Ledger:
    """The ledger at an SQLAlchemy URL; made and migrated on first use."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._writing = threading.RLock()
        try:
            self._engine = _engine(url)
            finalize(self, self._engine.dispose)  # at the process's end at the latest: the log is folded into the file
            self._migrate()
        except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError, ImportError) as e:
            msg = f"ledger.url = {url!r} can't be used ({e}): use 'sqlite:///data/ledger.db' or another SQLAlchemy URL"
            raise LedgerError(msg) from e
        except (DBAPIError, OSError) as e:
            raise _explained(url, "opened", e) from e

    @property
    def url_without_password(self) -> str:
        """The URL as it may be shown."""
        return sa.engine.make_url(self.url).render_as_string(hide_password=True)

    @contextmanager
    def write(self, *, durable: bool = False) -> Iterator[Connection]:
        """One transaction; a `durable` one outlasts a power cut (SQLite's WAL may else lose the last ones, unbroken).

        Threads take turns: of two that each look for a row and insert it where there is none, MySQL would end one.
        """
        try:
            with self._writing, self._connect(write=True, durable=durable) as c, c.begin():
                yield c
        except DBAPIError as e:
            raise _explained(self.url, "written", e) from e

    def _connect(self, *, write: bool = False, durable: bool = False) -> Connection:
        return self._engine.connect().execution_options(**{_WRITES: write, _DURABLE: durable})

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """The whole ledger as it is in this moment, however long it is read and whoever writes meanwhile."""
        with self._engine.connect() as c:
            if c.dialect.name != "sqlite":  # whose transactions see one moment anyhow
                c.execution_options(isolation_level="REPEATABLE READ")
            c.execute(sa.select(log_file.c.id).limit(1)).all()  # the moment is that of the first question
            yield c

    def rows(self, query: sa.Select[Any]) -> Sequence[RowMapping]:
        """All rows of a query."""
        try:
            with self._connect() as c:
                return c.execute(query).mappings().all()
        except DBAPIError as e:
            raise _explained(self.url, "read", e) from e

    def tuples(self, query: sa.Select[Any]) -> list[tuple[Any, ...]]:
        """All rows of a query as plain tuples: of many rows, several times as fast."""
        with self._engine.connect() as c:
            return [tuple(r) for r in c.execute(query)]

    def frame(self, query: sa.Select[Any], schema: dict[str, pl.DataType | type[pl.DataType]]) -> pl.DataFrame:
        """All rows of a query as a frame of the given schema."""
        return pl.DataFrame([dict(r) for r in self.rows(query)], schema=schema)

    # --- logs -----------------------------------------------------------------------------------------------------

    def paths(self, idsite: int) -> dict[str, RowMapping]:
        """What is known of the site's paths."""
        return {r["path"]: r for r in self.paths_of([idsite])[idsite]}

    def paths_of(self, idsites: Sequence[int]) -> dict[int, list[RowMapping]]:
        """What is known of the paths of each of the sites."""
        found: dict[int, list[RowMapping]] = {s: [] for s in idsites}
        for k in range(0, len(idsites), _CHUNK):
            for r in self.rows(sa.select(log_path).where(log_path.c.idsite.in_(idsites[k : k + _CHUNK]))):
                found[r["idsite"]].append(r)
        return found

    def all_paths(self) -> Sequence[RowMapping]:
        """What is known of every path."""
        return self.rows(sa.select(log_path).order_by(log_path.c.idsite, log_path.c.path))

    def path(self, idsite: int, path: str) -> RowMapping | None:
        """What is known of one path."""
        found = self.rows(sa.select(log_path).where(log_path.c.idsite == idsite, log_path.c.path == path))
        return found[0] if found else None

    def provisional(self, idsite: int, length: int) -> Sequence[RowMapping]:
        """The site's logs whose identity was taken from less than `length` bytes."""
        return self.rows(sa.select(log_file).where(log_file.c.idsite == idsite, log_file.c.head_length < length))

    def days_of_log(self, log_file_id: int) -> list[date]:
        """The days on which a log has lines."""
        return [r["day"] for r in self.rows(sa.select(log_day.c.day).where(log_day.c.log_file_id == log_file_id))]

    def logs(self, idsite: int | None = None) -> Sequence[RowMapping]:
        """The logs of a site, or of all, by site and first time."""
        query = sa.select(log_file).order_by(log_file.c.idsite, log_file.c.first_time, log_file.c.identity)
        return self.rows(query if idsite is None else query.where(log_file.c.idsite == idsite))

    def log(self, idsite: int, identity: str) -> RowMapping | None:
        """One log."""
        found = self.rows(sa.select(log_file).where(log_file.c.idsite == idsite, log_file.c.identity == identity))
        return found[0] if found else None

    def put_path(self, c: Connection, idsite: int, path: str, **values: Any) -> None:  # noqa: ANN401
        """Remembers what became of a path."""
        values.setdefault("checked_at", now())
        done = c.execute(
            sa.update(log_path).where(log_path.c.idsite == idsite, log_path.c.path == path).values(**values)
        )
        if not done.rowcount:
            c.execute(sa.insert(log_path).values(idsite=idsite, path=path, **values))

    def put_log(
        self,
        c: Connection,
        values: dict[str, Any],
        outcomes: list[dict[str, Any]],
        days: list[dict[str, Any]],
        *,
        supersedes: str | None,
    ) -> None:
        """Replaces all that is known of a log (and of the provisional identity that it had).

        The days that it touches, or touched, have no `inputs_hash` from then on until their status is refreshed.
        """
        names = [values["identity"], *([supersedes] if supersedes else [])]
        where = sa.and_(log_file.c.idsite == values["idsite"], log_file.c.identity.in_(names))
        old = [r[0] for r in c.execute(sa.select(log_file.c.id).where(where))]
        before = c.execute(sa.select(log_day.c.day).where(log_day.c.log_file_id.in_(old))).scalars().all()
        if old:
            for table in (log_file_summary, log_day):
                c.execute(sa.delete(table).where(table.c.log_file_id.in_(old)))
            c.execute(sa.delete(log_file).where(log_file.c.id.in_(old)))
        key = c.execute(sa.insert(log_file).values(**values, imported_at=now())).inserted_primary_key
        ident = cast("tuple[int]", key)[0]
        if outcomes:
            c.execute(sa.insert(log_file_summary), [{"log_file_id": ident, **o} for o in outcomes])
        if days:
            c.execute(sa.insert(log_day), [{"log_file_id": ident, **d} for d in days])
        for day in {*(d["day"] for d in days), *before}:  # until `status.refresh`: a crash must not lose them
            self.put_status(c, values["idsite"], day, inputs_hash="")
        if supersedes:
            _inherit_positions(c, values["idsite"], supersedes, values["identity"])

    def log_days(self, idsite: int, days: Sequence[date] | None = None) -> Sequence[RowMapping]:
        """The site's logs by day: log columns and the day's counts. `days` limits to those days."""
        query = (
            sa.select(
                log_day,
                log_file.c.identity,
                log_file.c.content_hash,
                log_file.c.status,
                log_file.c.log_date,
                log_file.c.name,
            )
            .join(log_file, log_file.c.id == log_day.c.log_file_id)
            .where(log_file.c.idsite == idsite)
        )
        if days is None:
            return self.rows(query)
        found: list[RowMapping] = []
        for k in range(0, len(days), _CHUNK):
            found.extend(self.rows(query.where(log_day.c.day.in_(days[k : k + _CHUNK]))))
        return found

    def day_inputs(self, idsite: int, day: date) -> list[DayInput]:
        """The imported logs that have hits on the day, by identity."""
        return self.inputs(day, day, [idsite]).get((idsite, day), [])

    def inputs(self, first: date, last: date, idsites: Sequence[int]) -> dict[tuple[int, date], list[DayInput]]:
        """As `day_inputs`, of every site-day from first to last that has hits."""
        good = (int(LogStatus.LOADED), int(LogStatus.PARTIAL))
        query = (
            sa.select(
                log_file.c.idsite,
                log_day.c.day,
                log_file.c.identity,
                log_file.c.content_hash,
                log_day.c.hits,
                log_day.c.hits_hash,
            )
            .join(log_file, log_file.c.id == log_day.c.log_file_id)
            .where(log_day.c.day >= first, log_day.c.day <= last, log_day.c.hits > 0, log_file.c.status.in_(good))
            .order_by(log_file.c.identity)
        )
        found: dict[tuple[int, date], list[DayInput]] = {}
        for k in range(0, len(idsites), _CHUNK):
            for r in self.rows(query.where(log_file.c.idsite.in_(idsites[k : k + _CHUNK]))):
                share = DayInput(r["identity"], r["content_hash"], r["hits"], r["hits_hash"])
                found.setdefault((r["idsite"], r["day"]), []).append(share)
        return found

    def hits(self, first: date, last: date) -> dict[tuple[int, date], int]:
        """Hits by site and day, of the days that have any."""
        query = (
            sa.select(log_file.c.idsite, log_day.c.day, sa.func.sum(log_day.c.hits).label("hits"))
            .join(log_file, log_file.c.id == log_day.c.log_file_id)
            .where(log_day.c.day >= first, log_day.c.day <= last)
            .group_by(log_file.c.idsite, log_day.c.day)
        )
        return {(r["idsite"], r["day"]): r["hits"] for r in self.rows(query)}

    def outcomes(self, idsites: Sequence[int] | None, first: date | None, last: date | None) -> pl.DataFrame:
        """Lines by site, day and outcome (columns idsite, day, outcome, lines); day null where a line has no readable date.

        Without dates all days and the undated lines; with dates those days only.
        """
        query = (
            sa.select(
                log_file.c.idsite,
                log_file_summary.c.day,
                log_file_summary.c.outcome,
                sa.func.sum(log_file_summary.c.lines).label("lines"),
            )
            .join(log_file, log_file.c.id == log_file_summary.c.log_file_id)
            .group_by(log_file.c.idsite, log_file_summary.c.day, log_file_summary.c.outcome)
        )
        if idsites is not None:
            query = query.where(log_file.c.idsite.in_(idsites))
        if first is not None:
            query = query.where(log_file_summary.c.day >= first)
        if last is not None:
            query = query.where(log_file_summary.c.day <= last)
        return self.frame(query, {"idsite": pl.Int32, "day": pl.Date, "outcome": pl.String, "lines": pl.Int64}).sort(
            "idsite", "day", "outcome"
        )

    def lines_of_logs(self, ids: Sequence[int]) -> list[tuple[int, int, int]]:
        """For each log_file.id: lines under any outcome, lines read."""
        total = sa.func.coalesce(sa.func.sum(log_file_summary.c.lines), 0)
        query = sa.select(log_file.c.id, total.label("counted"), log_file.c.lines).outerjoin(
            log_file_summary, log_file_summary.c.log_file_id == log_file.c.id
        )
        found: list[tuple[int, int, int]] = []
        for k in range(0, len(ids), _CHUNK):
            part = query.where(log_file.c.id.in_(ids[k : k + _CHUNK])).group_by(log_file.c.id, log_file.c.lines)
            found.extend((r["id"], r["counted"], r["lines"]) for r in self.rows(part))
        return found

    # --- days -----------------------------------------------------------------------------------------------------

    def statuses(
        self, idsites: Sequence[int] | None = None, first: date | None = None, last: date | None = None
    ) -> Sequence[RowMapping]:
        """The day-status rows, by site and day."""
        query = sa.select(date_status).order_by(date_status.c.idsite, date_status.c.day)
        if idsites is not None:
            query = query.where(date_status.c.idsite.in_(idsites))
        if first is not None:
            query = query.where(date_status.c.day >= first)
        if last is not None:
            query = query.where(date_status.c.day <= last)
        return self.rows(query)

    def status(self, idsite: int, day: date) -> RowMapping | None:
        """One site's day."""
        found = self.statuses([idsite], day, day)
        return found[0] if found else None

    def unrefreshed(self, idsites: Sequence[int]) -> list[tuple[int, date]]:
        """Site-days whose logs were imported, but whose status was not refreshed since."""
        query = sa.select(date_status.c.idsite, date_status.c.day).where(
            date_status.c.idsite.in_(idsites), date_status.c.inputs_hash == ""
        )
        return [(r["idsite"], r["day"]) for r in self.rows(query)]

    def put_status(self, c: Connection, idsite: int, day: date, **values: Any) -> None:  # noqa: ANN401
        """Sets columns of a site's day."""
        values["updated_at"] = now()
        where = sa.and_(date_status.c.idsite == idsite, date_status.c.day == day)
        if not c.execute(sa.update(date_status).where(where).values(**values)).rowcount:
            values.setdefault("status", 0)
            c.execute(sa.insert(date_status).values(idsite=idsite, day=day, **values))

    def put_statuses(self, c: Connection, rows: Sequence[tuple[int, date, dict[str, Any]]]) -> None:
        """Sets columns of several site-days that are there already; of all rows the same columns."""
        if not rows:
            return
        when = now()
        names = sorted(rows[0][2])
        update = (
            sa.update(date_status)
            .where(date_status.c.idsite == sa.bindparam("_idsite"), date_status.c.day == sa.bindparam("_day"))
            .values({n: sa.bindparam(f"_{n}") for n in (*names, "updated_at")})
        )
        c.execute(
            update,
            [{"_idsite": s, "_day": d, "_updated_at": when, **{f"_{n}": v[n] for n in names}} for s, d, v in rows],
        )

    def _migrate(self) -> None:
        with self._connect() as c:
            if self._is_current(c):
                return
        with self._connect(write=True) as c, c.begin():
            if self._is_current(c):  # another process was faster
                return
            if not sa.inspect(c).get_table_names():
                # From nothing to the newest version needs no Alembic, whose import takes longer than the tables.
                metadata.create_all(c)
                _version_table.create(c)
                c.execute(_version_table.insert().values(version_num=REVISION))
                return
            from alembic import command  # noqa: PLC0415
            from alembic.config import Config  # noqa: PLC0415

            config = Config()
            config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
            config.attributes["connection"] = c
            command.upgrade(config, "head")

    def _is_current(self, c: Connection) -> bool:
        if not sa.inspect(c).has_table("alembic_version"):
            return False
        have = c.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
        if have is not None and have > REVISION:
            msg = f"the ledger at {self.url} was made by a newer version ({have} > {REVISION}): upgrade usage-stats-dagster"
            raise LedgerError(msg)
        return bool(have == REVISION)


_version_table = sa.Table(
    "alembic_version", sa.MetaData(), sa.Column("version_num", sa.String(32), primary_key=True, nullable=False)
)


def _inherit_positions(c: Connection, idsite: int, old: str, new: str) -> None:
    """What was sent to Matomo under a log's provisional identity counts as sent under the one that it grew into."""
    source = matomo_position.c.source
    where = sa.and_(matomo_position.c.idsite == idsite, source.endswith(f"/{old}"))
    for (name,) in c.execute(sa.select(source).where(where)).all():
        renamed = {"source": name.removesuffix(old) + new}
        c.execute(sa.update(matomo_position).where(matomo_position.c.idsite == idsite, source == name).values(renamed))


def _engine(url: str) -> Engine:
    if not url.startswith("sqlite"):
        return sa.create_engine(url, pool_pre_ping=True)
    name = sa.engine.make_url(url).database
    if name and name != ":memory:":
        Path(name).parent.mkdir(parents=True, exist_ok=True)
    seconds = _busy_seconds(url)
    engine = sa.create_engine(url, connect_args={"timeout": seconds})

    @sa.event.listens_for(engine, "connect")
    def _pragmas(connection: Any, _record: Any) -> None:  # noqa: ANN401
        # Left to itself, the driver begins no transaction before CREATE: a migration killed half way would stay half done.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={seconds * 1000:.0f}")
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def _begin(c: Connection) -> None:
        options = c.get_execution_options()
        if options.get(_DURABLE):
            c.connection.cursor().execute("PRAGMA synchronous=FULL")
        # Who writes waits here for another writer, before reading anything that the other may change.
        c.exec_driver_sql("BEGIN IMMEDIATE" if options.get(_WRITES) else "BEGIN")

    return engine


def _busy_seconds(url: str) -> float:
    given = sa.engine.make_url(url).query.get("timeout")
    return float(given) if isinstance(given, str) else _BUSY_SECONDS


def _explained(url: str, done: str, error: DBAPIError | OSError) -> LedgerError:
    """What a database's error means for whoever runs this, and what to do."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        way = (
            f"another program has been writing to it for more than {_busy_seconds(url):g} s: run again when it is done"
        )
    elif code == sqlite3.SQLITE_FULL:
        way = "the disk is full: make room and run again, nothing is half done"
    elif code == sqlite3.SQLITE_READONLY:
        way = "it is read-only: make it and its folder writable"
    elif code == sqlite3.SQLITE_NOTADB:
        way = "it is another kind of file: name the ledger's in ledger.url"
    elif done == "opened":
        way = "is its folder there and writable?"
    else:
        way = "nothing of this step is in it; run again when the database is well"
    return LedgerError(f"the ledger at {url} can't be {done} ({cause}): {way}")
