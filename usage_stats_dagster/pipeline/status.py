"""The stage `day_status`: how far each site's day has come, and which days need work.

What belongs here: the six statuses as a function of the ledger. What does not: doing the work.

queue: no log of the day is imported. partial: some of the logs that the site expects. loaded: all of them. pretable:
visits and events are written. calculated: metrics and documents. done: the documents are indexed. A log that comes
late or changes puts the day back to loaded (or partial).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl
import xxhash
from sqlalchemy.engine import RowMapping

from usage_stats_dagster.ledger.tables import DayStatus, LogStatus
from usage_stats_dagster.pipeline.decisions import remember_day
from usage_stats_dagster.pipeline.workspace import Workspace
from usage_stats_dagster.schemas import EVENTS, HITS
from usage_stats_dagster.settings import Site

GOES_ON = ("lost", "partial")
"""An operator's words that let a day go on as it is: the rest is lost, or partial figures are wanted."""

_WAITING = (LogStatus.FAILED, LogStatus.INVALID, LogStatus.HELD)
Window = tuple[date | None, date | None]


@dataclass(frozen=True)
class DayLogs:
    """What the ledger has for a site's day: logs that cover it, logs with a few stray lines on it, incomplete ones, broken ones."""

    loaded: int
    strays: int
    partial: int
    waiting: int
    inputs_hash: str


def refresh(
    ws: Workspace, changed: Iterable[tuple[int, date]], sites: Iterable[int], window: Window = (None, None)
) -> None:
    """Recomputes the status of the changed site-days, and of those in the window that have a row or a waiting log.

    And of those whose logs were imported by a process that died before it came to this.
    """
    if not ws.settings.matomo.imports_logs:
        look_at_matomo(ws, list(sites) or None, window, list(changed))
        return
    by_site: dict[int, set[date]] = defaultdict(set)
    for idsite, day in changed:
        by_site[idsite].add(day)
    sites = list(sites)
    for idsite, day in ws.ledger.unrefreshed(sites):
        by_site[idsite].add(day)
    if window != (None, None):
        for r in ws.ledger.statuses(sites, *window):
            by_site[r["idsite"]].add(r["day"])
    paths = ws.ledger.paths_of(sorted({*sites, *by_site}))
    for idsite in sites:
        by_site[idsite] |= {r["log_date"] for r in paths[idsite] if r["log_date"] and r["status"] in _WAITING}
    rows = statuses_of(ws, [(idsite, day) for idsite, days in by_site.items() for day in days])
    with ws.ledger.write() as c:
        for idsite, days in sorted(by_site.items()):
            site = ws.settings.site(idsite)
            logs = day_logs(ws, site, sorted(days), paths[idsite])
            for day in sorted(days):
                old = rows.get((idsite, day))
                values = _status(site, day, logs[day], old)
                if old is None or any(old[k] != v for k, v in values.items()):
                    ws.ledger.put_status(c, idsite, day, **values)


def look_at_matomo(
    ws: Workspace, sites: Iterable[int] | None, window: Window = (None, None), changed: Sequence[tuple[int, date]] = ()
) -> None:
    """Refreshes the statuses where a Matomo is the source: its database or its API says which days are over and changed."""
    if ws.settings.matomo.mode == "database":
        from usage_stats_dagster.pipeline import extraction  # noqa: PLC0415  (a database's clients)

        extraction.look(ws, sites, window, changed)
        return
    from usage_stats_dagster.pipeline import api_extraction  # noqa: PLC0415

    if changed and window == (None, None):
        for idsite, day in changed:
            api_extraction.look(ws, [idsite], (day, day))
    else:
        api_extraction.look(ws, sites, window)


def day_logs(ws: Workspace, site: Site, days: Sequence[date], paths: Iterable[RowMapping]) -> dict[date, DayLogs]:
    """Logs by day: those that cover it whole, those that are incomplete, and those of the site's paths that wait for somebody."""
    loaded: dict[date, int] = defaultdict(int)
    strays: dict[date, int] = defaultdict(int)
    partial: dict[date, int] = defaultdict(int)
    waiting: dict[date, int] = defaultdict(int)
    inputs: dict[date, list[str]] = defaultdict(list)
    for r in ws.ledger.log_days(site.id, days):
        inputs[r["day"]].append(f"{r['identity']}:{r['content_hash']}:{r['hits_hash']}")
        covers = r["log_date"] == r["day"] if site.path_pattern and r["log_date"] else r["covers"]
        if covers and r["status"] == LogStatus.LOADED:
            loaded[r["day"]] += 1
        elif r["status"] == LogStatus.PARTIAL:
            partial[r["day"]] += 1
        else:
            strays[r["day"]] += 1
    for r in paths:
        if r["log_date"] is None:
            continue
        if r["status"] in _WAITING:
            waiting[r["log_date"]] += 1
        elif r["status"] == LogStatus.LOADED and r["identity"] is None:  # an empty log: loaded, and nothing in it
            loaded[r["log_date"]] += 1
    return {
        d: DayLogs(
            loaded[d],
            strays[d],
            partial[d],
            waiting[d],
            xxhash.xxh3_128_hexdigest("\n".join(sorted(inputs[d])).encode()),
        )
        for d in days
    }


def _status(site: Site, day: date, logs: DayLogs, row: RowMapping | None) -> dict[str, Any]:
    expected = site.expected_files(day)
    if expected is None:
        # Nobody said how many logs to expect: whatever is there counts, and what comes later opens the day again.
        complete = logs.loaded + logs.strays > 0 and logs.partial == 0 and logs.waiting == 0
    else:
        complete = logs.loaded >= expected
    decision = row["decision"] if row is not None else None
    if complete or decision in GOES_ON:
        status = DayStatus.LOADED
        if row is not None and row["status"] >= DayStatus.LOADED:
            # Between an import and this the row names no inputs: then it is those of the figures that may be the same.
            known = row["inputs_hash"] or (row["done_inputs_hash"] if row["status"] == DayStatus.DONE else "")
            status = DayStatus(row["status"]) if known == logs.inputs_hash else status
    else:
        status = DayStatus.PARTIAL if logs.loaded or logs.partial or logs.strays else DayStatus.QUEUE
    message = None
    if logs.waiting:
        message = f"{logs.waiting} log(s) of the day can't be imported: `usage-stats logs` says why"
    elif logs.partial and status == DayStatus.PARTIAL:
        message = f"{logs.partial} log(s) of the day are incomplete: still being written, or cut off"
    elif logs.strays and not logs.loaded:
        message = "only a few lines, of a log that is mainly of another day"
    return {
        "status": int(status),
        "files_expected": expected,
        "files_loaded": logs.loaded,
        "inputs_hash": logs.inputs_hash,
        "message": message,
    }


def goes_on(row: RowMapping) -> bool:
    """Whether the stages after `day_status` take the day."""
    return bool(row["status"] >= DayStatus.LOADED or row["decision"] in GOES_ON)


def is_unrefreshed(row: RowMapping) -> bool:
    """Whether a log of the day was imported by a process that died before it came to the day's status."""
    return not row["inputs_hash"]


def is_current(row: RowMapping, next_day: RowMapping | None) -> bool:
    """Whether the indexed figures were made of today's logs and of the next day's first seconds as they are now."""
    tail = next_day["head_hash"] if next_day is not None else ""
    return bool(
        row["status"] == DayStatus.DONE
        and row["done_inputs_hash"] == row["inputs_hash"]
        and row["done_tail_hash"] == tail
    )


def days_to_run(
    ws: Workspace, sites: Sequence[int] | None = None, window: Window = (None, None)
) -> list[tuple[int, date]]:
    """Site-days that go on and whose indexed figures are not of today's logs, and those that nobody has looked at since
    their logs were imported (a process died in between). Reads the ledger only."""
    first, last = window
    rows = ws.ledger.statuses(sites, first, ws.settings.day_after(last) if last else None)
    by_key = {(r["idsite"], r["day"]): r for r in rows}
    return [
        (s, d)
        for (s, d), r in by_key.items()
        if (last is None or d <= last)
        and ((goes_on(r) and not is_current(r, by_key.get((s, ws.settings.day_after(d))))) or is_unrefreshed(r))
    ]


def advance(ws: Workspace, idsite: int, day: date, status: DayStatus, **values: Any) -> None:  # noqa: ANN401
    """Raises a day's status to what a stage has reached; `counts` are merged into what is there."""
    advance_all(ws, [Reached(idsite, day, status, values)], statuses_of(ws, [(idsite, day)]))


@dataclass(frozen=True)
class Reached:
    """How far a stage has brought a site's day; `values` as in `advance`."""

    idsite: int
    day: date
    status: DayStatus
    values: dict[str, Any]


def statuses_of(ws: Workspace, keys: Iterable[tuple[int, date]]) -> dict[tuple[int, date], RowMapping]:
    """The day-status rows of the site-days that have one."""
    wanted = set(keys)
    if not wanted:
        return {}
    days = [d for _, d in wanted]
    rows = ws.ledger.statuses(sorted({s for s, _ in wanted}), min(days), max(days))
    return {k: r for r in rows if (k := (r["idsite"], r["day"])) in wanted}


def advance_all(ws: Workspace, reached: Sequence[Reached], rows: dict[tuple[int, date], RowMapping]) -> None:
    """As `advance`, for several site-days in one transaction; `rows` are theirs as they are now."""
    by_columns: dict[tuple[str, ...], list[tuple[int, date, dict[str, Any]]]] = defaultdict(list)
    with ws.ledger.write() as c:
        for r in reached:
            row = rows.get((r.idsite, r.day))
            values = {**r.values, "status": int(r.status)}
            if "counts" in values:
                values["counts"] = {**((row["counts"] if row is not None else None) or {}), **values["counts"]}
            if row is None:
                ws.ledger.put_status(c, r.idsite, r.day, **values)
            else:
                by_columns[tuple(sorted(values))].append((r.idsite, r.day, values))
        for same in by_columns.values():
            ws.ledger.put_statuses(c, same)


def decide(ws: Workspace, idsite: int, day: date, decision: str | None, reason: str | None) -> None:
    """Records the operator's word on a day (`lost`, `partial`, or None to take it back) and recomputes its status."""
    with ws.writing():
        remember_day(ws.lake, idsite, day, decision, reason)
        with ws.ledger.write() as c:
            ws.ledger.put_status(c, idsite, day, decision=decision, reason=reason)
        refresh(ws, [(idsite, day)], [idsite])


def lines_balance(ws: Workspace, sites: Sequence[int], days: Sequence[date]) -> list[tuple[str, int, int]]:
    """For every log that has lines on the days: its name, lines under an outcome, lines read. Unequal: the accounting is broken."""
    rows = []
    for s in sites:
        logs = {r["log_file_id"]: r for r in ws.ledger.log_days(s, days)}
        for ident, counted, read in ws.ledger.lines_of_logs(list(logs)):
            rows.append((f"site {s}: {logs[ident]['name']}", counted, read))
    return rows


def hits_balance(ws: Workspace, sites: Sequence[int], days: Sequence[date]) -> list[tuple[str, int, int]]:
    """For every site's day: rows in its hits files, lines whose outcome is hit."""
    if not days:
        return []
    rows = []
    inputs, hits = ws.ledger.inputs(min(days), max(days), sites), _hit_lines(ws, sites, days)
    for s in sites:
        for day in days:
            of_day = inputs.get((s, day), [])
            if of_day or hits.get((s, day)):
                files = [ws.lake.hits_file(HITS, s, day, i.identity) for i in of_day]
                stored = ws.lake.scan_found(HITS, files).select(pl.len()).collect().item()
                rows.append((f"site {s}, {day}", stored, hits.get((s, day), 0)))
    return rows


def counted_hits(ws: Workspace, keys: Sequence[tuple[int, date]]) -> list[int]:
    """For each site-day the lines whose outcome is hit, by the ledger; what a Matomo's database counts, where that is the source."""
    if ws.settings.matomo.mode == "database":
        rows = statuses_of(ws, keys)
        counts = [(rows[key]["counts"] if key in rows else None) or {} for key in keys]
        return [int(c.get("matomo_events", 0)) for c in counts]
    if ws.settings.matomo.mode == "api":  # which has no count of the events of a platform's day but their list
        manifests = [ws.lake.manifest(EVENTS, *key) for key in keys]
        return [m.rows if m is not None else 0 for m in manifests]
    hits = _hit_lines(ws, sorted({s for s, _ in keys}), [d for _, d in keys])
    return [hits.get(key, 0) for key in keys]


def _hit_lines(ws: Workspace, sites: Sequence[int], days: Sequence[date]) -> dict[tuple[int, date], int]:
    if not days:
        return {}
    lines = ws.ledger.outcomes(sites, min(days), max(days))
    return {(s, d): n for s, d, outcome, n in lines.iter_rows() if outcome == "hit"}


def day_count(n: int) -> str:
    """`1 day`, `2 days`."""
    return f"{n} day" if n == 1 else f"{n} days"
