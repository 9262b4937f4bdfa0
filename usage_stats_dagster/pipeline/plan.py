"""Which days a sensor should ask for, and why: from the files that are there and the ledger, nothing else.

What belongs here: the decision, as plain data. What does not: Dagster, or doing the work.
"""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date

from usage_stats_dagster.ledger.tables import LogStatus
from usage_stats_dagster.logs.discover import FoundLog
from usage_stats_dagster.logs.first_record import first_record_time
from usage_stats_dagster.logs.identity import read_head
from usage_stats_dagster.pipeline import imports, one_log, status
from usage_stats_dagster.pipeline.stage import fingerprint
from usage_stats_dagster.pipeline.workspace import Workspace

TICK_SECONDS = 20.0
"""How long one look may read logs to tell copies from new ones; the rest is looked at next time."""


@dataclass
class Plan:
    """Days that need a run, each with a hash of what makes it need one; and what was left alone."""

    days: dict[date, str] = field(default_factory=dict)
    reasons: dict[date, list[str]] = field(default_factory=dict)
    looked_at: int = 0
    waiting: int = 0
    copies: int = 0
    problems: list[tuple[str, str]] = field(default_factory=list)

    def summary(self) -> str:
        """One line of numbers."""
        text = f"{self.looked_at} logs, {len(self.days)} days need a run, {self.waiting} still being written, {self.copies} copies"
        return f"{text}, {len(self.problems)} problems" if self.problems else text


def plan(ws: Workspace) -> Plan:
    """Looks at the log folders and the ledger. Copies (renamed, recompressed) are noted in the ledger and need no run."""
    result = Plan()
    if not ws.settings.matomo.imports_logs:
        with ws.writing():
            status.look_at_matomo(ws, None)
    found = imports.find(ws)
    result.looked_at = len(found.logs)
    result.problems = list(found.problems)
    give_up = time.monotonic() + TICK_SECONDS
    why: dict[date, list[str]] = defaultdict(list)
    marks: dict[date, list[str]] = defaultdict(list)
    for f in imports.pending(ws, found) if ws.settings.matomo.imports_logs else ():
        if time.time() - f.mtime_ns / 1e9 < ws.settings.platform.grace_seconds or time.monotonic() > give_up:
            result.waiting += 1
            continue
        day, mark = _look(ws, f, result)
        if day is not None:
            marks[day].append(mark)
            why[day].append(f"new or changed log {f.path.name}")
    for idsite, day in status.days_to_run(ws):
        row, nxt = ws.ledger.status(idsite, day), ws.ledger.status(idsite, ws.settings.day_after(day))
        marks[day].append(fingerprint(idsite, row["inputs_hash"] if row else "", nxt["head_hash"] if nxt else ""))
        why[day].append(
            f"site {idsite} has logs that its figures don't have yet, or the next day's first seconds changed"
        )
    first, today = ws.settings.platform.start_date, ws.settings.today()
    result.days = {d: fingerprint(*sorted(m)) for d, m in sorted(marks.items()) if first <= d <= today}
    result.reasons = {d: sorted(set(r)) for d, r in why.items() if d in result.days}
    if ahead := sorted(d for d in marks if d > today):
        result.problems.append(
            (
                str(ahead[0]),
                f"{status.day_count(len(ahead))} of the logs lie in the future: they wait; is a server's clock wrong?",
            )
        )
    return result


def _look(ws: Workspace, f: FoundLog, result: Plan) -> tuple[date | None, str]:
    """The day to ask for on behalf of a pending file, and the hash of what it is now."""
    try:
        head = read_head(f.path)
    except OSError as e:
        result.problems.append((str(f.path), f"can't be read: {e.strerror or e}"))
        return _fallback_day(f), fingerprint(f.path, f.size, f.mtime_ns)
    if not head.data or one_log.is_copy(ws, f, head):
        with ws.writing():
            one_log.import_path(ws, f, None, None)
            row = ws.ledger.path(f.idsite, str(f.path))
            changed = (
                {(f.idsite, f.log_date)}
                if f.log_date and row is not None and row["status"] == LogStatus.LOADED and not head.data
                else set()
            )
            status.refresh(ws, changed, [f.idsite])
        result.copies += 1
        return None, ""
    start = first_record_time(head.data, ws.settings.site(f.idsite))
    day = start.astimezone(ws.settings.zone).date() if start else _fallback_day(f)
    if day is not None and day < ws.settings.platform.start_date:
        day = _fallback_day(f)
    return day, fingerprint(f.idsite, head.identity, f.size, f.mtime_ns if f.size == 0 else "")


def _fallback_day(f: FoundLog) -> date:
    """The day in the path, else the day of the last change: a broken file must be seen, not passed over."""
    return f.log_date or date.fromtimestamp(f.mtime_ns / 1e9)
