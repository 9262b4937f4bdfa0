"""The ledger's sums, for the accounting: each a query or two a site, however many days.

What belongs here: counting what the ledger holds. What does not: what must equal what (`pipeline/account/`).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date

import sqlalchemy as sa

from usage_stats_dagster.ledger.ledger import Ledger
from usage_stats_dagster.ledger.tables import (
    LogStatus,
    date_status,
    log_day,
    log_file,
    log_file_summary,
    matomo_position,
)

_IMPORTED = (int(LogStatus.LOADED), int(LogStatus.PARTIAL))


@dataclass
class DayHits:
    """A site's day by its logs: the hash of each one's hits file, and hits by log."""

    inputs: dict[str, str] = field(default_factory=dict)
    by_log: dict[str, int] = field(default_factory=dict)

    @property
    def hits(self) -> int:
        """All logs' hits."""
        return sum(self.by_log.values())


def sites(ledger: Ledger) -> list[int]:
    """Sites that have a log or a day."""
    both = sa.union(sa.select(log_file.c.idsite), sa.select(date_status.c.idsite)).subquery()
    return sorted(r["idsite"] for r in ledger.rows(sa.select(both.c.idsite)))


def unbalanced(ledger: Ledger, idsite: int) -> list[tuple[str, int, int]]:
    """Logs of the site whose lines are not the sum of their outcomes: name, lines read, lines under an outcome."""
    counted = sa.func.coalesce(sa.func.sum(log_file_summary.c.lines), 0)
    query = (
        sa.select(log_file.c.name, log_file.c.lines, counted.label("counted"))
        .outerjoin(log_file_summary, log_file_summary.c.log_file_id == log_file.c.id)
        .where(log_file.c.idsite == idsite)
        .group_by(log_file.c.id, log_file.c.name, log_file.c.lines)
        .having(counted != log_file.c.lines)
    )
    return [(r["name"], r["lines"], int(r["counted"])) for r in ledger.rows(query)]


def lines(ledger: Ledger, idsite: int, first: date | None, last: date | None) -> dict[date | None, dict[str, int]]:
    """Lines by day and outcome. A line without a readable date counts on the day on which its log has most lines; on None
    where no line of its log has a date, and only when no day is asked for.
    """
    found: dict[date | None, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for _, day, outcome, n in ledger.outcomes([idsite], first, last).iter_rows():
        if day is not None:
            found[day][outcome] += n
    undated = (
        sa.select(log_file_summary.c.log_file_id, log_file_summary.c.outcome, log_file_summary.c.lines)
        .join(log_file, log_file.c.id == log_file_summary.c.log_file_id)
        .where(log_file.c.idsite == idsite, log_file_summary.c.day.is_(None))
    )
    without = ledger.rows(undated)
    busiest = busiest_days(ledger, idsite) if without else {}
    for r in without:
        day = busiest.get(r["log_file_id"])
        if (first is None and last is None) or (day is not None and (first or day) <= day <= (last or day)):
            found[day][r["outcome"]] += r["lines"]
    return found


def busiest_days(ledger: Ledger, idsite: int) -> dict[int, date]:
    """By log_file.id the day with most of the log's lines, the first of equals."""
    query = (
        sa.select(log_day.c.log_file_id, log_day.c.day, log_day.c.lines)
        .join(log_file, log_file.c.id == log_day.c.log_file_id)
        .where(log_file.c.idsite == idsite)
        .order_by(log_day.c.lines.desc(), log_day.c.day)
    )
    found: dict[int, date] = {}
    for r in ledger.rows(query):
        found.setdefault(r["log_file_id"], r["day"])
    return found


def hits(ledger: Ledger, idsite: int, first: date | None, last: date | None) -> dict[date, DayHits]:
    """What each day's imported logs have of hits, of days with any."""
    query = (
        sa.select(log_day.c.day, log_day.c.hits, log_day.c.hits_hash, log_file.c.identity)
        .join(log_file, log_file.c.id == log_day.c.log_file_id)
        .where(log_file.c.idsite == idsite, log_day.c.hits > 0, log_file.c.status.in_(_IMPORTED))
    )
    if first is not None:
        query = query.where(log_day.c.day >= first)
    if last is not None:
        query = query.where(log_day.c.day <= last)
    found: dict[date, DayHits] = defaultdict(DayHits)
    for r in ledger.rows(query):
        found[r["day"]].inputs[r["identity"]] = r["hits_hash"]
        found[r["day"]].by_log[r["identity"]] = r["hits"]
    return dict(found)


def sources_sent(ledger: Ledger, idsite: int) -> set[str]:
    """`day/log identity` of which anything was sent to Matomo or passed over."""
    query = sa.select(matomo_position.c.source).where(matomo_position.c.idsite == idsite)
    return {r["source"] for r in ledger.rows(query)}


def lines_of_outcome(ledger: Ledger, outcome: str) -> dict[int, dict[date | None, int]]:
    """By log_file.id the lines of the outcome by day, None for those without a date."""
    summary = log_file_summary.c
    query = sa.select(summary.log_file_id, summary.day, summary.lines).where(summary.outcome == outcome)
    found: dict[int, dict[date | None, int]] = defaultdict(dict)
    for r in ledger.rows(query):
        found[r["log_file_id"]][r["day"]] = r["lines"]
    return dict(found)
