"""The questions that the embedded index answers, as SQL.

What belongs here: from a Selection to a statement, from its rows to a frame. What does not: connections and writing.
All values are parameters; the text of a statement is built from constants only.

Dates are stored as numbers, 20250301: they sort as dates, months and years are a division away, and a person reads them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import polars as pl

from usage_stats_dagster.index.interface import FIGURES, KEYS, Granularity, Selection, check_metric
from usage_stats_dagster.schemas import DOCUMENTS, METRICS

_PERIOD = {"day": "d.date", "month": "d.date / 100 * 100 + 1", "year": "d.date / 10000 * 10000 + 101"}
_COLUMN = {"idsite": "d.idsite", "level": "d.level", "identifier": "d.identifier", "country": "c.country"}
_NESTED = "documents d JOIN countries c USING (document)"


@dataclass(frozen=True)
class Statement:
    """One SQL query, its parameters and the columns that it gives; columns of type Date come as numbers."""

    sql: str
    parameters: tuple[object, ...]
    columns: Mapping[str, pl.DataType | type[pl.DataType]]

    def answer(self, db: sqlite3.Connection) -> pl.DataFrame:
        """Run it: the rows as a frame of `columns`."""
        dates = [c for c, t in self.columns.items() if t == pl.Date]
        schema = {c: pl.Int32 if t == pl.Date else t for c, t in self.columns.items()}
        rows = db.execute(self.sql, self.parameters).fetchall()
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
    sql = f"SELECT {_named(group)} {_sums('d')} FROM documents d WHERE {condition} {ordered}"  # noqa: S608
    return _statement(sql, parameters, group)


def top_items(
    where: Selection, by: Granularity | None, metric: str, limit: int | None, *, countries: bool
) -> Statement:
    """Sums over the documents of the items ranked first; an item's rows by period, then most of the metric."""
    condition, parameters = _condition(where)
    group = _group(by, "idsite", "identifier", *(["country"] if countries else []))
    origin, table = (_NESTED, "c") if countries else ("documents d", "d")
    order = [
        "r.place",
        *([group["period"]] if by else []),
        _most(table, metric),
        *([group["country"]] if countries else []),
    ]
    sql = f"""
        WITH ranked AS (
            SELECT d.idsite, d.identifier, row_number() OVER (ORDER BY {_most("d", metric)}, d.identifier, d.idsite) AS place
            FROM documents d WHERE {condition} GROUP BY d.identifier, d.idsite ORDER BY place LIMIT ?)
        SELECT {_named(group)} {_sums(table)}
        FROM {origin} JOIN ranked r ON r.identifier = d.identifier AND r.idsite = d.idsite
        WHERE {condition} GROUP BY {", ".join(group.values())} ORDER BY {", ".join(order)}
    """  # noqa: S608
    return _statement(sql, (*parameters, _limit(limit), *parameters), group)


def top_countries(where: Selection, by: Granularity | None, metric: str, limit: int | None) -> Statement:
    """Sums over the nested figures of the countries ranked first, ordered by period, then rank."""
    condition, parameters = _condition(where)
    group = _group(by, "country")
    order = [*([group["period"]] if by else []), "r.place"]
    sql = f"""
        WITH ranked AS (
            SELECT c.country, row_number() OVER (ORDER BY {_most("c", metric)}, c.country) AS place
            FROM {_NESTED} WHERE {condition} GROUP BY c.country ORDER BY place LIMIT ?)
        SELECT {_named(group)} {_sums("c")}
        FROM {_NESTED} JOIN ranked r ON r.country = c.country
        WHERE {condition} GROUP BY {", ".join(group.values())} ORDER BY {", ".join(order)}
    """  # noqa: S608
    return _statement(sql, (*parameters, _limit(limit), *parameters), group)


def rows(where: Selection) -> tuple[Statement, Statement, Statement]:
    """The documents' own columns by `document`, their countries', and the sources that are kept as they were."""
    condition, parameters = _condition(where)
    columns = {c: t for c, t in DOCUMENTS.schema.items() if c not in ("year", "month", "day", "stats_by_country")}
    listed = ", ".join(f"d.{c}" for c in columns)
    figures = ", ".join(f"c.{m}" for m in METRICS)
    return (
        Statement(
            f"SELECT d.document, {listed} FROM documents d WHERE {condition} ORDER BY d.idsite, d.date, d.id",  # noqa: S608
            parameters,
            {"document": pl.Int64, **columns},
        ),
        Statement(
            f"SELECT c.document, c.country, {figures} FROM {_NESTED} WHERE {condition} ORDER BY c.document, c.country",  # noqa: S608
            parameters,
            {"document": pl.Int64, "country": pl.String, **dict.fromkeys(METRICS, pl.Int64)},
        ),
        Statement(
            f"SELECT s.document, s.source FROM documents d JOIN sources s USING (document) WHERE {condition}",  # noqa: S608
            parameters,
            {"document": pl.Int64, "source": pl.String},
        ),
    )


def distinct_identifiers() -> Statement:
    """Every identifier once, `identifier`."""
    return Statement("SELECT DISTINCT identifier FROM documents", (), {"identifier": pl.String})


def _group(by: Granularity | None, *keys: str) -> dict[str, str]:
    """The answer's key columns, in the order of KEYS, and what each is in SQL (d: documents, c: countries)."""
    if by is not None and by not in _PERIOD:
        msg = f"no granularity {by!r}; there are {', '.join(_PERIOD)}"
        raise ValueError(msg)
    expressions = {k: _COLUMN[k] for k in keys} | ({"period": _PERIOD[by]} if by else {})
    return {k: expressions[k] for k in KEYS if k in expressions}


def _named(group: dict[str, str]) -> str:
    return "".join(f"{expression} AS {name}, " for name, expression in group.items())


def _sums(table: str) -> str:
    return ", ".join(["count(*) AS documents", *(f"ifnull(sum({table}.{m}), 0) AS {m}" for m in METRICS)])


def _most(table: str, metric: str) -> str:
    return f"ifnull(sum({table}.{check_metric(metric)}), 0) DESC"


def _limit(limit: int | None) -> int:
    if limit is not None and limit < 0:
        msg = f"a limit can't be negative: {limit}"
        raise ValueError(msg)
    return -1 if limit is None else limit


def _statement(sql: str, parameters: tuple[object, ...], group: dict[str, str]) -> Statement:
    return Statement(sql, parameters, {**{k: KEYS[k] for k in group}, **FIGURES})


def _condition(where: Selection) -> tuple[str, tuple[object, ...]]:
    """The selection as a condition on documents d, and its parameters."""
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
