"""The questions that the embedded index answers, as SQL.

What belongs here: from a Selection to a statement, from its rows to a frame. What does not: connections and writing.
All values are parameters; the text of a statement is built from constants only.

Dates are stored as numbers, 20250301: they sort as dates, months and years are a division away, and a person reads them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date

import polars as pl

from usage_stats_dagster.index.interface import FIGURES, KEYS, Granularity, Selection, check_metric
from usage_stats_dagster.schemas import DOCUMENTS, METRICS

_PERIOD = {"day": "d.date", "month": "d.date / 100 * 100 + 1", "year": "d.date / 10000 * 10000 + 101"}
_COLUMN = {"idsite": "d.idsite", "level": "d.level", "identifier": "d.identifier", "country": "d.visitors"}
_WITH_COUNTRIES: dict[str, type[pl.DataType]] = {"document": pl.Int64, "countries": pl.String}
PAGE = 10_000
"""Documents whose countries are in memory at a time."""

_DOCUMENTS, _SUMS, _SUMS_BY_COUNTRY = "documents d", "sums d", "sums_by_country d"


@dataclass(frozen=True)
class Statement:
    """One SQL query, its parameters and the columns that it gives; columns of type Date come as numbers."""

    sql: str
    parameters: tuple[object, ...]
    columns: Mapping[str, pl.DataType | type[pl.DataType]]

    def answer(self, db: sqlite3.Connection) -> pl.DataFrame:
        """Run it: the rows as a frame of `columns`."""
        return self._frame(db.execute(self.sql, self.parameters).fetchall())

    def pages(self, db: sqlite3.Connection) -> Iterator[pl.DataFrame]:
        """Run it: the rows as frames of `columns`, some at a time."""
        cursor = db.execute(self.sql, self.parameters)
        while page := cursor.fetchmany(PAGE):
            yield self._frame(page)

    def _frame(self, rows: list[tuple[object, ...]]) -> pl.DataFrame:
        dates = [c for c, t in self.columns.items() if t == pl.Date]
        schema = {c: pl.Int32 if t == pl.Date else t for c, t in self.columns.items()}
        day = [pl.date(pl.col(c) // 10000, pl.col(c) // 100 % 100, pl.col(c) % 100).alias(c) for c in dates]
        return pl.DataFrame(rows, schema, orient="row").with_columns(day)


def as_number(day: date) -> int:
    """The date as it is stored."""
    return day.year * 10000 + day.month * 100 + day.day


def number_of(column: str) -> pl.Expr:
    """The same for a Date column: Int32."""
    c = pl.col(column).dt
    return c.year() * 10000 + c.month().cast(pl.Int32) * 100 + c.day().cast(pl.Int32)


def figures(where: Selection, key: str | None, by: Granularity | None = None) -> Statement:
    """Sums over documents by `key` (idsite or level) and period, ordered by these; one row without either."""
    condition, parameters = _condition(where)
    group = _group(by, *([key] if key else []))
    listed = ", ".join(group.values())
    ordered = f"GROUP BY {listed} ORDER BY {listed}" if group else ""
    origin = _SUMS if where.identifier is None else _DOCUMENTS
    sql = f"SELECT {_named(group)} {_sums(origin)} FROM {origin} WHERE {condition} {ordered}"  # noqa: S608
    return _statement(sql, parameters, group)


def top_items(where: Selection, by: Granularity | None, metric: str, limit: int | None) -> Statement:
    """Sums over the documents of the items ranked first; an item's rows by period."""
    group = _group(by, "idsite", "identifier")
    sums, order = _sums(_DOCUMENTS), ", ".join(["r.place", *([group["period"]] if by else [])])
    sql, parameters = _of_top_items(where, metric, limit, f"{_named(group)} {sums}")
    return _statement(f"{sql} GROUP BY {', '.join(group.values())} ORDER BY {order}", parameters, group)


def documents_of_top_items(where: Selection, by: Granularity | None, metric: str, limit: int | None) -> Statement:
    """The documents of the items ranked first, with `place` of the item and `countries` as text, unordered."""
    group = _group(by, "idsite", "identifier")
    sql, parameters = _of_top_items(where, metric, limit, f"{_named(group)} r.place, d.document, d.countries")
    return Statement(sql, parameters, {**{k: KEYS[k] for k in group}, "place": pl.Int64, **_WITH_COUNTRIES})


def _of_top_items(where: Selection, metric: str, limit: int | None, columns: str) -> tuple[str, tuple[object, ...]]:
    condition, parameters = _condition(where)
    sql = f"""
        WITH ranked AS (
            SELECT d.idsite, d.identifier, row_number() OVER (ORDER BY {_most(metric)}, d.identifier, d.idsite) AS place
            FROM documents d WHERE {condition} GROUP BY d.identifier, d.idsite ORDER BY place LIMIT ?)
        SELECT {columns} FROM documents d JOIN ranked r ON r.identifier = d.identifier AND r.idsite = d.idsite
        WHERE {condition}"""  # noqa: S608
    return sql, (*parameters, check_limit(limit), *parameters)


def countries(where: Selection, by: Granularity | None) -> Statement:
    """Sums by the visitors' country and period, unordered; for a Selection that names no item."""
    condition, parameters = _condition(where)
    group = _group(by, "country")
    listed = ", ".join(group.values())
    origin = _SUMS_BY_COUNTRY
    sql = f"SELECT {_named(group)} {_sums(origin)} FROM {origin} WHERE {condition} GROUP BY {listed}"  # noqa: S608
    return _statement(sql, parameters, group)


def documents_with_countries(where: Selection, by: Granularity | None) -> Statement:
    """The documents with their period, if asked for, and `countries` as text, unordered."""
    condition, parameters = _condition(where)
    group = _group(by)
    sql = f"SELECT {_named(group)} d.document, d.countries FROM documents d WHERE {condition}"  # noqa: S608
    return Statement(sql, parameters, {**{k: KEYS[k] for k in group}, **_WITH_COUNTRIES})


def rows(where: Selection) -> Statement:
    """The documents, with `document` and `countries` as text; without what is told by these or by the date."""
    condition, parameters = _condition(where)
    told = ("year", "month", "day", "stats_by_country")
    columns = {**_WITH_COUNTRIES, **{c: t for c, t in DOCUMENTS.columns.items() if c not in told}}
    listed = ", ".join(f"d.{c}" for c in columns)
    sql = f"SELECT {listed} FROM documents d WHERE {condition} ORDER BY d.idsite, d.date, d.id"  # noqa: S608
    return Statement(sql, parameters, columns)


def distinct_identifiers() -> Statement:
    """Every identifier once, `identifier`."""
    return Statement("SELECT DISTINCT identifier FROM documents", (), {"identifier": pl.String})


def _group(by: Granularity | None, *keys: str) -> dict[str, str]:
    """The answer's key columns, in the order of KEYS, and what each is in SQL (d: documents, or their sums)."""
    if by is not None and by not in _PERIOD:
        msg = f"no granularity {by!r}; there are {', '.join(_PERIOD)}"
        raise ValueError(msg)
    expressions = {k: _COLUMN[k] for k in keys} | ({"period": _PERIOD[by]} if by else {})
    return {k: expressions[k] for k in KEYS if k in expressions}


def _named(group: dict[str, str]) -> str:
    return "".join(f"{expression} AS {name}, " for name, expression in group.items())


def _sums(origin: str) -> str:
    documents = "count(*)" if origin == _DOCUMENTS else "ifnull(sum(d.documents), 0)"
    return ", ".join([f"{documents} AS documents", *(f"ifnull(sum(d.{m}), 0) AS {m}" for m in METRICS)])


def _most(metric: str) -> str:
    return f"ifnull(sum(d.{check_metric(metric)}), 0) DESC"


def check_limit(limit: int | None) -> int:
    """The limit as SQL has it, -1 for none; raises ValueError for a negative one."""
    if limit is not None and limit < 0:
        msg = f"a limit can't be negative: {limit}"
        raise ValueError(msg)
    return -1 if limit is None else limit


def _statement(sql: str, parameters: tuple[object, ...], group: dict[str, str]) -> Statement:
    return Statement(sql, parameters, {**{k: KEYS[k] for k in group}, **FIGURES})


def _condition(where: Selection) -> tuple[str, tuple[object, ...]]:
    """The selection as a condition on documents d, or on their sums where it names no item, and its parameters."""
    one: dict[str, object] = {
        "d.identifier = ?": where.identifier,
        "d.identifier_prefix = ?": where.identifier_prefix,
        "d.date >= ?": where.start and as_number(where.start),
        "d.date <= ?": where.end and as_number(where.end),
        "d.level = ?": where.level,
        "d.country = ?": where.country,
    }
    conditions = [c for c, value in one.items() if value is not None]
    parameters = [value for value in one.values() if value is not None]
    if where.sites is not None:
        conditions.append(f"d.idsite IN ({', '.join('?' * len(where.sites))})")
        parameters.extend(where.sites)
    return " AND ".join(conditions) or "1", tuple(parameters)
