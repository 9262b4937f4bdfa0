"""The embedded index's file: what is in it, how it is opened, and what its errors mean.

What belongs here: tables, pragmas, the check of kind and version, transactions. What does not: replacing and asking
(`embedded.py`).

Write-ahead log with `synchronous=FULL`: each commit is on disk before it is acknowledged, and readers go on reading the
last commit while a writer writes. The file must lie on a local disk (the log's shared memory does not work over NFS).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from usage_stats_dagster.index.interface import DocumentIndexError, IndexBusyError, IndexFileError
from usage_stats_dagster.schemas import METRICS

APPLICATION_ID = 0x55534458  # "USDX": `file` and sqlite3 show it
VERSION = 3
_WAL_LIMIT = 64 << 20  # bytes of log kept after a large replacement

_METRICS = ", ".join(f"{m} INTEGER" for m in METRICS)
_OF_DATE = "idsite INTEGER NOT NULL, date INTEGER NOT NULL, identifier_prefix TEXT, level TEXT, country TEXT"

# A document's JSON is made of its row on request. The sums are by date what questions that name no item ask for.
_TABLES = (
    f"""CREATE TABLE documents (document INTEGER PRIMARY KEY, idsite INTEGER NOT NULL, date INTEGER NOT NULL, id TEXT NOT NULL,
    level TEXT, identifier TEXT NOT NULL, identifier_prefix TEXT, country TEXT, {_METRICS}, countries TEXT,
    rules_version TEXT, hash INTEGER NOT NULL) STRICT""",
    f"CREATE TABLE sums ({_OF_DATE}, documents INTEGER NOT NULL, {_METRICS}) STRICT",
    f"CREATE TABLE sums_by_country ({_OF_DATE}, visitors TEXT NOT NULL, documents INTEGER NOT NULL, {_METRICS}) STRICT",
    """CREATE TABLE periods (idsite INTEGER NOT NULL, date INTEGER NOT NULL, grain TEXT NOT NULL, documents INTEGER NOT NULL,
    content_hash TEXT NOT NULL, PRIMARY KEY (idsite, date)) STRICT, WITHOUT ROWID""",
    "CREATE INDEX documents_by_date ON documents (idsite, date)",
    "CREATE INDEX sums_by_date ON sums (idsite, date)",
    "CREATE INDEX sums_by_prefix ON sums (identifier_prefix, idsite, date)",
    "CREATE INDEX countries_by_date ON sums_by_country (idsite, date)",
    "CREATE INDEX countries_by_prefix ON sums_by_country (identifier_prefix, idsite, date)",
    "CREATE INDEX documents_by_identifier ON documents (identifier, idsite, date)",
    "CREATE INDEX documents_by_prefix ON documents (identifier_prefix, idsite, date)",
)


def connect(path: Path, *, create: bool, timeout: float) -> sqlite3.Connection:
    """A connection in autocommit mode to an index of this version; makes the file only with `create`.

    Raises IndexFileError when the file is missing, of another kind or of another version; IndexBusyError as `explained`.
    """
    if create:
        path.parent.mkdir(parents=True, exist_ok=True)
    elif not path.is_file():
        raise _none_yet(path)
    with explained(path, timeout):
        # Threads share the connection behind the owner's lock.
        db = sqlite3.connect(path, timeout=timeout, isolation_level=None, check_same_thread=False)
        try:
            _prepare(db, path, create=create)
        except BaseException:
            db.close()
            raise
    return db


def _none_yet(path: Path) -> IndexFileError:
    return IndexFileError(
        f"there is no index at {path} yet: run `usage-stats run` first, or name the file in index.path"
    )


def _prepare(db: sqlite3.Connection, path: Path, *, create: bool) -> None:
    if not create and _is_blank(db):  # just being made, or whoever made it was killed
        raise _none_yet(path)
    if create and _is_blank(db):
        db.execute("PRAGMA journal_mode = WAL")
        with transaction(db):
            if _is_blank(db):  # nobody was faster
                for statement in _TABLES:
                    db.execute(statement)
                db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                db.execute(f"PRAGMA user_version = {VERSION}")
    kind, version = (db.execute(f"PRAGMA {p}").fetchone()[0] for p in ("application_id", "user_version"))
    if kind != APPLICATION_ID:
        msg = f"{path} is an SQLite database, but no index of documents: name another file in index.path"
        raise IndexFileError(msg)
    if version != VERSION:
        msg = f"{path} is an index of version {version}, this program reads {VERSION}: move it away and say `usage-stats reindex`"
        raise IndexFileError(msg)
    db.execute("PRAGMA synchronous = FULL")
    db.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT}")
    db.execute("PRAGMA cache_size = -65536")  # KiB


def _is_blank(db: sqlite3.Connection) -> bool:
    return not db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]


@contextmanager
def transaction(db: sqlite3.Connection, mode: str = "IMMEDIATE") -> Iterator[None]:
    """One transaction: committed at the end, rolled back by any exception. `DEFERRED` for a reader's snapshot."""
    db.execute(f"BEGIN {mode}")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # SQLite itself may have rolled back, as when the disk is full
            db.execute("ROLLBACK")
        raise


@contextmanager
def explained(path: Path, timeout: float) -> Iterator[None]:
    """SQLite's errors as DocumentIndexError with the file's name and what to do."""
    try:
        yield
    except sqlite3.Error as e:
        primary = getattr(e, "sqlite_errorcode", 0) & 0xFF
        if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            msg = f"another process has been writing to the index {path} for more than {timeout:g} s: try again when it is done"
            raise IndexBusyError(msg) from e
        if primary in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            msg = f"{path} is no index of documents, or is damaged ({e}): move it away and say `usage-stats reindex`"
            raise IndexFileError(msg) from e
        if primary == sqlite3.SQLITE_FULL:
            msg = f"the index {path} can't grow ({e}): nothing was changed; make room and try again"
            raise DocumentIndexError(msg) from e
        msg = f"the index {path}: {e}: is there room, and are the file and its folder writable? Nothing was changed; run again then"
        raise DocumentIndexError(msg) from e
