"""The stage `imported_logs`: which files are looked at, in which order, and the statuses of their days afterwards.

What belongs here: what is pending or outdated, which logs may be imported side by side. What does not: what becomes of one
(`one_log.py`), the days' statuses (`status.py`).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import groupby

from sqlalchemy.engine import RowMapping

from usage_stats_dagster.ledger.tables import LogStatus
from usage_stats_dagster.logs.discover import Discovery, FoundLog, discover
from usage_stats_dagster.pipeline import status
from usage_stats_dagster.pipeline.large_logs import import_in_turn
from usage_stats_dagster.pipeline.one_log import MAX_ATTEMPTS, PathReport, import_path
from usage_stats_dagster.pipeline.small_logs import import_together
from usage_stats_dagster.pipeline.stage import batches
from usage_stats_dagster.pipeline.versions import import_version
from usage_stats_dagster.pipeline.workspace import Workspace

SMALL_LOG = 1 << 20
"""Bytes below which a file is imported together with others: what is asked of Polars would cost more than its lines."""

MOST_TOGETHER, BYTES_TOGETHER = 100, 4 << 20
"""Files that are imported together, and their bytes, which may be packed: all their lines are held."""

_SETTLED = (LogStatus.LOADED, LogStatus.IGNORED, LogStatus.HELD, LogStatus.INVALID, LogStatus.PARTIAL)


@dataclass
class ImportReport:
    """What became of every path looked at, and which site-days changed by it."""

    paths: list[PathReport] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)

    @property
    def changed(self) -> set[tuple[int, date]]:
        """Site-days that got other lines."""
        return {(p.idsite, d) for p in self.paths for d in p.days}

    def of(self, *actions: str) -> list[PathReport]:
        """The paths with one of these actions."""
        return [p for p in self.paths if p.action in actions]


def find(ws: Workspace, sites: Iterable[int] | None = None) -> Discovery:
    """The log files that there are."""
    return discover(ws.settings, sites=sites, logs_dir=ws.logs_dir)


def pending(ws: Workspace, found: Discovery) -> list[FoundLog]:
    """The files that differ from what the ledger knows, or are worth another try. Reads no log."""
    sites = ws.ledger.paths_of(sorted({f.idsite for f in found.logs}))
    known = {(s, r["path"]): r for s, rows in sites.items() for r in rows}
    return [f for f in found.logs if not _settled(known.get((f.idsite, str(f.path))), f)]


def _settled(row: RowMapping | None, f: FoundLog) -> bool:
    if row is None:
        return False
    if row["decision"] == "ignore":
        return True
    same = row["size"] == f.size and row["mtime_ns"] == f.mtime_ns
    if row["decision"] == "accept" and row["status"] == LogStatus.HELD:
        return False
    return same and (row["status"] in _SETTLED or row["attempts"] >= MAX_ATTEMPTS)


def import_logs(
    ws: Workspace,
    *,
    sites: Iterable[int] | None = None,
    first: date | None = None,
    last: date | None = None,
    wait_for_quiet: bool = False,
) -> ImportReport:
    """Imports every pending log (of the days `first` to `last`, when given) and refreshes the days' statuses.

    With `wait_for_quiet`, files changed less than `platform.grace_seconds` ago are left for later.
    """
    if not ws.settings.matomo.imports_logs:
        with ws.writing(), ws.timed("imported_logs"):
            status.look_at_matomo(ws, sites, (first, last))
        return ImportReport()
    with ws.writing(), ws.timed("imported_logs"):
        found = find(ws, sites)
        report = ImportReport(problems=found.problems)
        todo = pending(ws, found)
        todo += _outdated(ws, found, todo, first, last)

        total, done = sum(f.size for f in todo), 0
        ws.progress("importing logs", done, total)
        for f, result in _imported(ws, todo, first, last, wait_for_quiet=wait_for_quiet):
            done += f.size
            ws.progress("importing logs", done, total)
            if result is not None:
                report.paths.append(result)
        status.refresh(ws, report.changed, found.sites, (first, last))
        return report


def _imported(
    ws: Workspace, todo: list[FoundLog], first: date | None, last: date | None, *, wait_for_quiet: bool
) -> Iterator[tuple[FoundLog, PathReport | None]]:
    """What became of each of the files; small ones that follow one another are imported together."""
    grace = ws.settings.platform.grace_seconds if wait_for_quiet else 0
    ready = []
    for f in todo:
        if grace and time.time() - f.mtime_ns / 1e9 < grace:
            yield f, PathReport(f.idsite, str(f.path), "waiting", message="changed a moment ago")
        else:
            ready.append(f)
    together = batches(ready, lambda f: f.size, BYTES_TOGETHER, SMALL_LOG, MOST_TOGETHER)
    for is_one, group in groupby(together, lambda batch: len(batch) == 1):
        if is_one:
            yield from import_in_turn(ws, [f for batch in group for f in batch], first, last)
        else:
            for batch in group:
                yield from import_together(ws, batch, first, last)


def _outdated(
    ws: Workspace, found: Discovery, todo: list[FoundLog], first: date | None, last: date | None
) -> list[FoundLog]:
    """Logs of the days asked for that were imported under other settings: a run of a day follows today's settings."""
    if first is None or last is None:
        return []
    have = {(f.idsite, str(f.path)) for f in todo}
    more = []
    for idsite in found.sites:
        wanted = import_version(ws, ws.settings.site(idsite))
        days = [first + timedelta(k) for k in range((last - first).days + 1)]
        on_days = {r["identity"] for r in ws.ledger.log_days(idsite, days)}
        if not on_days:
            continue
        logs = [r for r in ws.ledger.logs(idsite) if r["identity"] in on_days and r["import_version"] != wanted]
        identities = {r["identity"] for r in logs}
        # A log that was renamed since, as rotation does, is known by its identity under its new path.
        renamed = {p for p, r in ws.ledger.paths(idsite).items() if r["identity"] in identities}
        old = {r["path"] for r in logs} | renamed
        more += [
            f for f in found.logs if f.idsite == idsite and str(f.path) in old and (idsite, str(f.path)) not in have
        ]
    return more


def import_outdated(ws: Workspace, found: Discovery, idsite: int, first: date, last: date) -> ImportReport:
    """Imports again those of the files that have lines on the site's days and were imported under other settings."""
    mine = Discovery([f for f in found.logs if f.idsite == idsite], [], [idsite])
    report = ImportReport()
    with ws.writing():
        for f in _outdated(ws, mine, [], first, last):
            result = import_path(ws, f, None, None)
            if result is not None:
                report.paths.append(result)
        status.refresh(ws, report.changed, [idsite])
    return report
