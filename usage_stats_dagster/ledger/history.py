"""Questions over many days that staleness and warnings ask: each one query, its answer a frame.

What belongs here: sums and groups over all days, without a row a day in Python objects. What does not: a day's own rows
(`ledger.py`), what the answers mean (`pipeline/stale.py`, `watch/`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl
import sqlalchemy as sa

from usage_stats_dagster.ledger.ledger import Ledger
from usage_stats_dagster.ledger.tables import date_status, log_day, log_file

_MADE = date_status.c.rules_version.is_not(None)


@dataclass(frozen=True)
class Scope:
    """Sites (None: all) and days (None: open; both ends included)."""

    sites: Sequence[int] | None = None
    first: date | None = None
    last: date | None = None

    def of(self, idsite: sa.Column[int], day: sa.Column[date] | None = None) -> list[sa.ColumnElement[bool]]:
        """The scope as conditions on a table's columns."""
        found: list[sa.ColumnElement[bool]] = []
        if self.sites is not None:
            found.append(idsite.in_(self.sites))
        if day is not None and self.first is not None:
            found.append(day >= self.first)
        if day is not None and self.last is not None:
            found.append(day <= self.last)
        return found


def rules_versions(ledger: Ledger, scope: Scope) -> pl.DataFrame:
    """The rules versions that stored figures are of: idsite, version, days, first, last."""
    s = date_status.c
    query = (
        sa.select(
            s.idsite,
            s.rules_version.label("version"),
            sa.func.count().label("days"),
            sa.func.min(s.day).label("first"),
            sa.func.max(s.day).label("last"),
        )
        .where(_MADE, *scope.of(s.idsite, s.day))
        .group_by(s.idsite, s.rules_version)
        .order_by(s.idsite, s.rules_version)
    )
    return _frame(
        ledger, query, {"idsite": pl.Int32, "version": pl.String, "days": pl.Int64, "first": pl.Date, "last": pl.Date}
    )


def import_versions(ledger: Ledger, scope: Scope) -> pl.DataFrame:
    """The import versions that logs are of: idsite, version, logs, identity (of one of them)."""
    f = log_file.c
    query = (
        sa.select(
            f.idsite,
            f.import_version.label("version"),
            sa.func.count().label("logs"),
            sa.func.min(f.identity).label("identity"),
        )
        .where(*scope.of(f.idsite))
        .group_by(f.idsite, f.import_version)
        .order_by(f.idsite, f.import_version)
    )
    return _frame(ledger, query, {"idsite": pl.Int32, "version": pl.String, "logs": pl.Int64, "identity": pl.String})


def days_of_rules(ledger: Ledger, scope: Scope, versions: Mapping[int, Sequence[str]]) -> pl.DataFrame:
    """The days of each site whose figures are of one of its versions: idsite, day, version."""
    s = date_status.c
    schema = {"idsite": pl.Int32, "day": pl.Date, "version": pl.String}
    found = [pl.DataFrame(schema=schema)]
    for idsite, of in sorted(versions.items()):
        query = sa.select(s.idsite, s.day, s.rules_version).where(
            s.idsite == idsite, s.rules_version.in_(of), *scope.of(s.idsite, s.day)
        )
        found.append(_frame(ledger, query, schema))
    return pl.concat(found).sort("idsite", "day")


def days_of_imports(ledger: Ledger, scope: Scope, versions: Mapping[int, Sequence[str]]) -> pl.DataFrame:
    """The days with figures on which the sites' logs of these import versions have lines: idsite, day, version, identity, path."""
    f, d, s = log_file.c, log_day.c, date_status.c
    schema = {"idsite": pl.Int32, "day": pl.Date, "version": pl.String, "identity": pl.String, "path": pl.String}
    found = [pl.DataFrame(schema=schema)]
    for idsite, of in sorted(versions.items()):
        logs = (
            sa.select(f.idsite, d.day, f.import_version, f.identity, f.path)
            .join(log_day, d.log_file_id == f.id)
            .where(f.idsite == idsite, f.import_version.in_(of), *scope.of(f.idsite, d.day))
        )
        made = sa.select(s.day).where(s.idsite == idsite, _MADE, *scope.of(s.idsite, s.day))
        # Joined here: without statistics SQLite starts from the days and reads every site's logs for each.
        days = _frame(ledger, made, {"day": pl.Date})
        found.append(_frame(ledger, logs, schema).join(days, on="day", how="semi"))
    return pl.concat(found).sort("idsite", "day", "identity")


def day_counts(ledger: Ledger, scope: Scope) -> pl.DataFrame:
    """The day-status rows without their texts: idsite, day, status, decision, files_loaded, files_expected, counts (a dict or null)."""
    s = date_status.c
    query = (
        sa.select(s.idsite, s.day, s.status, s.decision, s.files_loaded, s.files_expected, s.counts)
        .where(*scope.of(s.idsite, s.day))
        .order_by(s.idsite, s.day)
    )
    return _frame(
        ledger,
        query,
        {
            "idsite": pl.Int32, "day": pl.Date, "status": pl.Int16, "decision": pl.String, "files_loaded": pl.Int32,
            "files_expected": pl.Int32, "counts": pl.Object,
        },
    )  # fmt: skip


def extents(ledger: Ledger, scope: Scope) -> pl.DataFrame:
    """Each site's first and last day: idsite, first, last."""
    s = date_status.c
    query = (
        sa.select(s.idsite, sa.func.min(s.day).label("first"), sa.func.max(s.day).label("last"))
        .where(*scope.of(s.idsite, s.day))
        .group_by(s.idsite)
        .order_by(s.idsite)
    )
    return _frame(ledger, query, {"idsite": pl.Int32, "first": pl.Date, "last": pl.Date})


def hits_by_server(ledger: Ledger, scope: Scope) -> pl.DataFrame:
    """Lines of the logs whose path names a server: idsite, server, day, lines."""
    f, d = log_file.c, log_day.c
    query = (
        sa.select(f.idsite, f.server, d.day, sa.func.sum(d.lines).label("lines"))
        .join(log_day, d.log_file_id == f.id)
        .where(f.server.is_not(None), *scope.of(f.idsite, d.day))
        .group_by(f.idsite, f.server, d.day)
        .order_by(f.idsite, f.server, d.day)
    )
    return _frame(ledger, query, {"idsite": pl.Int32, "server": pl.String, "day": pl.Date, "lines": pl.Int64})


def servers_of_logs(ledger: Ledger, scope: Scope) -> pl.DataFrame:
    """The server of each log that has lines on the days: idsite, log_identity, server."""
    f, d = log_file.c, log_day.c
    query = (
        sa.select(f.idsite, f.identity, f.server)
        .distinct()
        .join(log_day, d.log_file_id == f.id)
        .where(f.server.is_not(None), *scope.of(f.idsite, d.day))
    )
    return _frame(ledger, query, {"idsite": pl.Int32, "log_identity": pl.String, "server": pl.String})


def _frame(ledger: Ledger, query: sa.Select[Any], schema: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(ledger.tuples(query), schema=schema, orient="row", infer_schema_length=None)
