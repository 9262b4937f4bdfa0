"""The embedded index: documents in one SQLite file, replaced and asked without any service.

What belongs here: the replacement of a site's period in one transaction. What does not: the file's tables and errors
(`sqlite_file.py`), the questions (`questions.py`), the checks that all backends share (`interface.py`).
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from itertools import chain
from pathlib import Path
from weakref import finalize

import polars as pl

from usage_stats_dagster.index import countries as visitors
from usage_stats_dagster.index import questions
from usage_stats_dagster.index.interface import (
    EVERYTHING,
    FIGURES,
    DocumentIndexError,
    Grain,
    Granularity,
    IndexReport,
    Replacement,
    Selection,
    check_metric,
    check_period,
    check_replacement,
)
from usage_stats_dagster.index.nearest import nearest
from usage_stats_dagster.index.source import content_hashes
from usage_stats_dagster.index.sqlite_file import connect, explained, transaction
from usage_stats_dagster.index.wanted import NOT_BELIEVED, Wanted
from usage_stats_dagster.parts import by_height
from usage_stats_dagster.schemas import DOCUMENTS, METRICS

_DOCUMENT_COLUMNS = (
    "idsite",
    "date",
    "id",
    "level",
    "identifier",
    "identifier_prefix",
    "country",
    *METRICS,
    "countries",
    "rules_version",
    "hash",
)
_OF_DATE = "idsite, date, identifier_prefix, level, country"
_ROWS_A_STATEMENT = 20
"""Halves the time of a row with a few numbers; more gains nothing."""

_BY_DATE = "idsite = ? AND date = ?"


class EmbeddedIndex:
    """A DocumentIndex in the SQLite file `path`.

    `create=False` is for readers: a missing file is an IndexFileError. A writer waits up to `timeout` seconds for another's
    transaction. Threads may share the object; processes each open their own.
    """

    def __init__(self, path: Path | str, *, create: bool = True, timeout: float = 60.0) -> None:
        self.path = Path(path)
        self._timeout = timeout
        self._lock = threading.RLock()
        self._db: sqlite3.Connection | None = connect(self.path, create=create, timeout=timeout)
        finalize(self, self._db.close)  # at the process's end at the latest

    def close(self) -> None:
        """Close the file; folds the log into it when no other process has it open."""
        with self._lock:
            if self._db is not None:
                self._db.close()
                self._db = None

    def __enter__(self) -> EmbeddedIndex:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _transaction(self, mode: str) -> Iterator[sqlite3.Connection]:
        with self._lock, explained(self.path, self._timeout):
            if self._db is None:
                msg = f"the index {self.path} is closed"
                raise DocumentIndexError(msg)
            with transaction(self._db, mode):
                yield self._db

    # ---- replacing

    def replace(
        self, idsite: int, start: date, end: date, documents: pl.DataFrame, *, grain: Grain = "day"
    ) -> IndexReport:
        """As DocumentIndex.replace. A date whose documents are as they were is not written; nor waited for, if all are."""
        return self.replace_together([Replacement(idsite, start, end, documents, grain)])[0]

    def replace_together(self, replacements: Sequence[Replacement]) -> list[IndexReport]:
        """As DocumentIndex.replace_together: one transaction for all."""
        checked = [check_replacement(r.idsite, r.start, r.end, r.documents, r.grain) for r in replacements]
        if not checked:
            return []
        everything = visitors.packed(pl.concat(checked))
        heights = [documents.height for documents in checked]
        wanted = [Wanted(r, new) for r, new in zip(replacements, by_height(everything, heights), strict=True)]
        with self._transaction("DEFERRED") as db:
            stale = {n for n, w in enumerate(wanted) if w.present(db) != w.periods}
        reports = [IndexReport(unchanged=w.new.height) for w in wanted]
        if stale:
            with self._transaction("IMMEDIATE") as db:
                changes = _Changes()
                for n in sorted(stale):
                    reports[n] = _replace(db, wanted[n], changes)
                changes.write(db)
        return reports

    def rebuild(
        self, idsite: int, periods: Iterable[pl.DataFrame], *, grain: Grain = "day", replace_foreign: bool = False
    ) -> int:
        """As DocumentIndex.rebuild, in one transaction."""
        del replace_foreign
        count, nothing = 0, visitors.packed(DOCUMENTS.empty()).with_columns(date=questions.number_of("date"))
        changes = _Changes()
        with self._transaction("IMMEDIATE") as db:
            for (number,) in db.execute("SELECT DISTINCT date FROM documents WHERE idsite = ?", (idsite,)).fetchall():
                _replace_date(db, idsite, number, nothing, changes)
            changes.write(db)
            db.execute("DELETE FROM periods WHERE idsite = ?", (idsite,))
            for documents in periods:
                _, _, checked = check_period(idsite, documents, grain)
                new = visitors.packed(checked)
                written = new.with_columns(date=questions.number_of("date"))
                hashes = {questions.as_number(day): h for day, h in content_hashes(new).items()}
                dates = {(idsite, n): written.filter(pl.col("date") == n) for n in hashes}
                _Changes([written], dates).write(db)
                for number, content_hash in hashes.items():
                    counted = (idsite, number, grain, written["date"].eq(number).sum(), content_hash)
                    db.execute("INSERT INTO periods VALUES (?, ?, ?, ?, ?)", counted)
                count += new.height
        return count

    # ---- asking

    def _ask(self, statement: questions.Statement) -> pl.DataFrame:
        with self._transaction("DEFERRED") as db:
            return statement.answer(db)

    def _split(self, statement: questions.Statement, keys: Sequence[str]) -> pl.DataFrame:
        with self._transaction("DEFERRED") as db:
            return visitors.summed(statement.pages(db), keys)

    def totals(self, where: Selection = EVERYTHING) -> pl.DataFrame:
        """As DocumentIndex.totals."""
        return self._ask(questions.figures(where, None))

    def by_site(self, where: Selection = EVERYTHING, by: Granularity | None = None) -> pl.DataFrame:
        """As DocumentIndex.by_site."""
        return self._ask(questions.figures(where, "idsite", by))

    def by_period(self, where: Selection, by: Granularity) -> pl.DataFrame:
        """As DocumentIndex.by_period."""
        return self._ask(questions.figures(where, None, by))

    def by_level(self, where: Selection = EVERYTHING, by: Granularity | None = None) -> pl.DataFrame:
        """As DocumentIndex.by_level."""
        return self._ask(questions.figures(where, "level", by))

    def by_country(
        self,
        where: Selection = EVERYTHING,
        by: Granularity | None = None,
        *,
        metric: str = "views",
        limit: int | None = None,
    ) -> pl.DataFrame:
        """As DocumentIndex.by_country."""
        check_metric(metric)
        first = questions.check_limit(limit)
        if where.identifier is None:
            found = self._ask(questions.countries(where, by))
        else:
            found = self._split(questions.documents_with_countries(where, by), [*_period(by), "country"])
        return visitors.ranked(found, metric, first)

    def items(
        self,
        where: Selection = EVERYTHING,
        by: Granularity | None = None,
        *,
        metric: str = "views",
        limit: int | None = None,
        countries: bool = False,
    ) -> pl.DataFrame:
        """As DocumentIndex.items."""
        if not countries:
            return self._ask(questions.top_items(where, by, metric, limit))
        keys = ["idsite", "identifier", *_period(by), "country"]
        found = self._split(questions.documents_of_top_items(where, by, metric, limit), ["place", *keys])
        order = ["place", *_period(by), metric, "country"]
        return found.sort(order, descending=[c == metric for c in order]).select(*keys, *FIGURES)

    def nearest(self, identifier: str, limit: int = 3) -> list[str]:
        """As DocumentIndex.nearest: by shared three-letter pieces, then by difflib's ratio."""
        known = self._ask(questions.distinct_identifiers())["identifier"]
        return nearest(known, identifier, limit)

    def sources(self, where: Selection = EVERYTHING) -> pl.DataFrame:
        """As DocumentIndex.sources."""
        return visitors.sources(self._ask(questions.rows(where)))


def _period(by: Granularity | None) -> list[str]:
    return ["period"] if by else []


@dataclass
class _Changes:
    """What is still to be written once what is no longer wanted is gone. Frames are `visitors.packed`, with `date` as number."""

    inserts: list[pl.DataFrame] = field(default_factory=list)
    """Documents that are new or changed."""
    dates: dict[tuple[int, int], pl.DataFrame] = field(default_factory=dict)
    """All documents of a date on which something changed, by its site and number."""

    def write(self, db: sqlite3.Connection) -> None:
        """Inserts the documents and sums up the dates anew."""
        if any(f.height for f in self.inserts):
            _insert(db, pl.concat(self.inserts))
        for table in ("sums", "sums_by_country"):
            db.executemany(f"DELETE FROM {table} WHERE {_BY_DATE}", self.dates)  # noqa: S608
        # Of the documents that are there now, not of those that were to be written: who compares sums compares those.
        figures = ", ".join(f"sum({m})" for m in METRICS)
        db.executemany(
            f"INSERT INTO sums SELECT {_OF_DATE}, count(*), {figures} FROM documents WHERE {_BY_DATE} GROUP BY {_OF_DATE}",  # noqa: S608
            self.dates,
        )
        if self.dates:
            sums = visitors.of_dates(pl.concat(self.dates.values()))
            _insert_rows(db, "sums_by_country", sums, *sums.columns)


def _replace(db: sqlite3.Connection, wanted: Wanted, changes: _Changes) -> IndexReport:
    """Makes the period hold what is wanted, but for what it leaves to `changes`."""
    present, idsite = wanted.present(db), wanted.idsite
    report = IndexReport()
    stale = [n for n in sorted(present.keys() | wanted.periods.keys()) if present.get(n) != wanted.periods.get(n)]
    fresh = wanted.new.with_columns(date=questions.number_of("date"))
    for number in stale:
        of_date = fresh.filter(pl.col("date") == number)
        anew = number in present and present[number][1] == NOT_BELIEVED
        report = _add(report, _replace_date(db, idsite, number, of_date, changes, anew=anew))
        if number in wanted.periods:
            db.execute(
                "INSERT INTO periods VALUES (?, ?, ?, ?, ?)",
                (idsite, number, wanted.periods[number][0], of_date.height, wanted.periods[number][1]),
            )
    untouched = int((~fresh["date"].is_in(stale)).sum())
    return _add(report, IndexReport(unchanged=untouched))


def _replace_date(
    db: sqlite3.Connection,
    idsite: int,
    number: int,
    new: pl.DataFrame,
    changes: _Changes,
    *,
    anew: bool = False,
) -> IndexReport:
    """Make `new` (as in _Changes) the site's documents of that date; drops its period's row.

    What is to be inserted is left to `changes`. With `anew`, also documents that say of themselves that they are as wanted.
    """
    changes.dates[idsite, number] = new
    db.execute(f"DELETE FROM periods WHERE {_BY_DATE}", (idsite, number))  # noqa: S608
    rows = db.execute(
        f"SELECT document, id, hash FROM documents WHERE {_BY_DATE}",  # noqa: S608
        (idsite, number),
    ).fetchall()
    if not rows:
        changes.inserts.append(new)
        return IndexReport(inserted=new.height)
    old = pl.DataFrame(rows, {"document": pl.Int64, "id": pl.String, "old_hash": pl.Int64}, orient="row")
    kept = old.join(new.select("id", "hash"), on="id", how="left")
    same = kept.clear() if anew else kept.filter(pl.col("old_hash") == pl.col("hash"))
    removed = int(kept["hash"].null_count())
    _delete(db, kept.join(same, on="id", how="anti")["document"].to_list())
    changes.inserts.append(new.join(same, on="id", how="anti"))
    updated = old.height - removed - same.height
    return IndexReport(new.height - updated - same.height, updated, same.height, removed)


def _delete(db: sqlite3.Connection, documents: list[int]) -> None:
    db.executemany("DELETE FROM documents WHERE document = ?", [(d,) for d in documents])


def _insert(db: sqlite3.Connection, new: pl.DataFrame) -> None:
    (last,) = db.execute("SELECT ifnull(max(document), 0) FROM documents").fetchone()
    # In the order of the largest index: each page of it is written once.
    new = new.sort("identifier", "idsite", "date").with_row_index("document", last + 1)
    _insert_rows(db, "documents", new, "document", *_DOCUMENT_COLUMNS)


def _insert_rows(db: sqlite3.Connection, table: str, frame: pl.DataFrame, *columns: str) -> None:
    # Columns zipped: twice as fast as DataFrame.rows().
    values = list(chain.from_iterable(zip(*(frame[c].to_list() for c in columns), strict=True)))
    one = f"(?{', ?' * (len(columns) - 1)})"
    done = 0
    for rows in (_ROWS_A_STATEMENT, 1):
        step = rows * len(columns)
        end = done + (len(values) - done) // step * step
        statement = f"INSERT INTO {table} VALUES {', '.join([one] * rows)}"  # noqa: S608
        db.executemany(statement, (values[i : i + step] for i in range(done, end, step)))
        done = end


def _add(a: IndexReport, b: IndexReport) -> IndexReport:
    return IndexReport(a.inserted + b.inserted, a.updated + b.updated, a.unchanged + b.unchanged, a.removed + b.removed)
