"""Taking things out of the ledger, and putting back what the lake says: what `doctor` does to it.

What belongs here: the transactions. What does not: deciding what is wrong (`pipeline/doctor.py`, `pipeline/rebuild.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from usage_stats_dagster.ledger.ledger import Ledger
from usage_stats_dagster.ledger.tables import (
    date_status,
    log_day,
    log_file,
    log_file_summary,
    log_path,
    matomo_position,
)


@dataclass
class Decisions:
    """What operators said: by site and day (decision, reason), by site and path."""

    days: dict[tuple[int, date], tuple[str, str | None]] = field(default_factory=dict)
    paths: dict[tuple[int, str], str] = field(default_factory=dict)


LedgerRows = tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]
"""A log, its lines by outcome, its days: as `Ledger.put_log` takes them."""


def decisions(ledger: Ledger) -> Decisions:
    """Those that the ledger holds."""
    days = ledger.rows(sa.select(date_status).where(date_status.c.decision.is_not(None)))
    paths = ledger.rows(sa.select(log_path).where(log_path.c.decision.is_not(None)))
    return Decisions(
        {(r["idsite"], r["day"]): (r["decision"], r["reason"]) for r in days},
        {(r["idsite"], r["path"]): r["decision"] for r in paths},
    )


def has_sent(ledger: Ledger) -> bool:
    """Whether it knows how far any log was sent to Matomo."""
    return bool(ledger.rows(sa.select(matomo_position.c.source).limit(1)))


def replace_logs(ledger: Ledger, logs: Sequence[LedgerRows], kept: Decisions) -> None:
    """Makes these the only logs, and forgets every path and day but operators' decisions. What was sent to Matomo stays."""
    with ledger.write(durable=True) as c:
        for table in (log_file_summary, log_day, log_file, log_path, date_status):
            c.execute(sa.delete(table))
        for values, outcomes, days in logs:
            ledger.put_log(c, values, outcomes, days, supersedes=None)
        for (idsite, path), decision in kept.paths.items():
            # Of no size that a file has: the path is looked at again, under the decision.
            ledger.put_path(c, idsite, path, decision=decision, size=-1, mtime_ns=0, status=0, attempts=0)
        for (idsite, day), (decision, reason) in kept.days.items():
            ledger.put_status(c, idsite, day, decision=decision, reason=reason)


def forget_log(ledger: Ledger, idsite: int, identity: str) -> None:
    """Forgets a log and that its paths were read, so that the next import takes it as new. Positions of sending stay."""
    with ledger.write(durable=True) as c:
        _forget(c, idsite, identity)


def _forget(c: Connection, idsite: int, identity: str) -> None:
    where = sa.and_(log_file.c.idsite == idsite, log_file.c.identity == identity)
    for ident in c.execute(sa.select(log_file.c.id).where(where)).scalars().all():
        for table in (log_file_summary, log_day):
            c.execute(sa.delete(table).where(table.c.log_file_id == ident))
        c.execute(sa.delete(log_file).where(log_file.c.id == ident))
    paths = sa.and_(log_path.c.idsite == idsite, log_path.c.identity == identity)
    c.execute(sa.update(log_path).where(paths).values(size=-1, status=0, attempts=0))
