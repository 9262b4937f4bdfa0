"""The ledger made anew from the lake: logs from their manifests, days from the tables' manifests and the index.

What belongs here: what each manifest says of the ledger's rows. What does not: the transactions (`ledger/repair.py`), finding
what is wrong (`doctor.py`).

A log whose hits are not what its manifest says is left out: the next run imports it again. What was sent to Matomo stands
in no table of the lake: those rows are kept, and where there are none a backup has to bring them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, datetime
from typing import Any

import orjson
from sqlalchemy.engine import RowMapping

from usage_stats_dagster.index.interface import EVERYTHING
from usage_stats_dagster.lake.store import Manifest
from usage_stats_dagster.ledger import counts, repair
from usage_stats_dagster.ledger.counts import DayHits
from usage_stats_dagster.ledger.ledger import LedgerError
from usage_stats_dagster.ledger.repair import LedgerRows
from usage_stats_dagster.ledger.tables import DayStatus
from usage_stats_dagster.logs.identity import read_head
from usage_stats_dagster.pipeline import imports, one_log, status
from usage_stats_dagster.pipeline.decisions import remembered
from usage_stats_dagster.pipeline.documents import day_counts
from usage_stats_dagster.pipeline.workspace import Workspace
from usage_stats_dagster.schemas import DOCUMENTS, EVENTS, HITS, METRICS, METRICS_TABLE, VISITS

Finding = tuple[str, str, str]
"""What, state (ok, note, wrong), finding: as `doctor.examine` has them."""

_DAY_TABLES = (VISITS, EVENTS, METRICS_TABLE)


def rebuild(ws: Workspace) -> list[Finding]:
    """Replaces the ledger's logs, paths and days by what the lake says. Raises LedgerError where that would send hits twice."""
    if ws.settings.matomo.send and not repair.has_sent(ws.ledger):
        msg = (
            "the ledger can't be rebuilt while matomo.send is on: only it knows which hits Matomo has, and they would be sent "
            "again. `usage-stats restore` a backup; or rebuild with matomo.send = false and send to a new site of Matomo"
        )
        raise LedgerError(msg)
    findings: list[Finding] = []
    with ws.writing():
        logs = list(_logs(ws, findings))
        sites = {s for s, _ in ws.lake.site_days(*_DAY_TABLES)} | {values["idsite"] for values, _, _ in logs}
        kept, old = remembered(ws.lake, sites | {s.id for s in ws.settings.sites}), repair.decisions(ws.ledger)
        kept.days.update(old.days)
        kept.paths.update(old.paths)
        repair.replace_logs(ws.ledger, logs, kept)
        days = {(values["idsite"], d["day"]) for values, _, of in logs for d in of} | set(kept.days)
        if ws.settings.matomo.imports_logs:
            days |= _paths(ws)
            status.refresh(ws, days, sorted({s for s, _ in days}))
        _days(ws)
    made = ws.ledger.statuses()
    done = sum(r["status"] == DayStatus.DONE for r in made)
    findings.append(("ledger", "ok", f"rebuilt: {len(logs)} logs, {len(made)} days, {done} of them done"))
    return findings


def _logs(ws: Workspace, findings: list[Finding]) -> Iterator[LedgerRows]:
    for name, path in ws.lake.everything():
        if not name.startswith("imports/") or not name.endswith(".json"):
            continue
        try:
            values, outcomes, days = ledger_rows(path.read_bytes())
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as e:
            findings.append(
                ("lake", "wrong", f"{path}: no log's manifest ({e}): its log is imported again by the next run")
            )
            continue
        idsite, identity = values["idsite"], values["identity"]
        files = {
            d["day"]: (ws.lake.hits_file(HITS, idsite, d["day"], identity), d["hits_hash"]) for d in days if d["hits"]
        }
        wrong = next((f for f, wanted in files.values() if ws.lake.content_hash(f) != wanted), None)
        if wrong is not None:
            findings.append(
                ("lake", "note", f"{wrong}: not the hits of {values['path']}, which the next run imports again")
            )
            continue
        yield values, outcomes, days


def ledger_rows(manifest: bytes) -> LedgerRows:
    """A log's manifest as the ledger's rows."""
    raw = orjson.loads(manifest)
    log = raw["log"]
    log["log_date"] = _date(log["log_date"])
    log |= {k: datetime.fromisoformat(log[k]) if log[k] else None for k in ("first_time", "last_time")}
    outcomes = [{**o, "day": _date(o["day"])} for o in raw["outcomes"]]
    return log, outcomes, [{**d, "day": _date(d["day"])} for d in raw["days"]]


def _date(text: str | None) -> date | None:
    return date.fromisoformat(text) if text else None


def _paths(ws: Workspace) -> set[tuple[int, date]]:
    """Notes the files whose content is imported already, so that a run has nothing to do; the days of empty ones."""
    days = set()
    for f in imports.find(ws).logs:
        try:
            head = read_head(f.path)
            if not head.data or one_log.is_copy(ws, f, head):
                report = one_log.import_path(ws, f, None, None)
                days |= {(f.idsite, d) for d in (report.days if report else ())}
        except OSError:
            continue  # the next run says what is wrong with it
    return days


def _days(ws: Workspace) -> None:
    """Raises each day's status to what its tables and the index show."""
    indexed = {(r["idsite"], r["period"]): r for r in ws.index.by_site(EVERYTHING, "day").iter_rows(named=True)}
    rows = {(r["idsite"], r["day"]): r for r in ws.ledger.statuses()}
    logs = ws.settings.matomo.imports_logs
    hits = {s: counts.hits(ws.ledger, s, None, None) for s in counts.sites(ws.ledger)}
    with ws.ledger.write() as c:
        for idsite, day in sorted(set(rows) if logs else {*rows, *ws.lake.site_days(EVENTS)}):
            of = hits.get(idsite, {}).get(day, DayHits())
            values = _reached(ws, idsite, day, rows.get((idsite, day)), of, indexed)
            if values:
                ws.ledger.put_status(c, idsite, day, **values)


def _reached(
    ws: Workspace,
    idsite: int,
    day: date,
    row: RowMapping | None,
    hits: DayHits,
    indexed: Mapping[tuple[int, date], Mapping[str, Any]],
) -> dict[str, Any]:
    """What a day's manifests say of its row. Where an operator took the day back, its status stays."""
    visits, events, metrics = (ws.lake.manifest(t, idsite, day) for t in _DAY_TABLES)
    matomo = ws.settings.matomo
    if visits is None or events is None or (matomo.mode == "embedded" and events.inputs != hits.inputs):
        return {}
    values: dict[str, Any] = {"head_hash": events.counts["head_hash"], "counts": _counts(visits, events)}
    if not matomo.imports_logs:
        values |= {"inputs_hash": events.inputs["matomo"], "files_loaded": 0}
        if matomo.mode == "database":
            values["counts"] |= {"matomo_events": events.rows}
    inputs = values.get("inputs_hash") or (row["inputs_hash"] if row is not None else "")
    reached = DayStatus.PRETABLE
    first = day if ws.settings.site(idsite).grain == "day" else day.replace(day=1)
    documents = ws.lake.manifest(DOCUMENTS, idsite, first)
    if metrics is not None and documents is not None and _follows(events, metrics, documents):
        reached = DayStatus.CALCULATED
        values["counts"] |= day_counts(metrics, documents)
        values["rules_version"] = metrics.rules_version
        have = indexed.get((idsite, first), {"documents": 0, **dict.fromkeys(METRICS, 0)})
        if have["documents"] == documents.rows and all(have[m] == documents.counts[m] for m in METRICS):
            reached = DayStatus.DONE
            values |= {"done_inputs_hash": inputs, "done_tail_hash": metrics.inputs["tail"]}
            values["counts"] |= {"indexed": documents.rows}
    if row is None or row["status"] >= DayStatus.LOADED:
        values["status"] = int(reached)
    return values


def _follows(events: Manifest, metrics: Manifest, documents: Manifest) -> bool:
    """Whether the metrics are of these events and the documents of these metrics."""
    return (
        metrics.inputs["events"] == events.content_hash
        and documents.inputs.get(str(metrics.day)) == metrics.content_hash
    )


def _counts(visits: Manifest, events: Manifest) -> dict[str, int]:
    of_visits = visits.counts.get("counted_here", visits.rows)
    more = {k: events.counts[k] for k in ("left_out_by_api",) if k in events.counts}
    return {"visits": of_visits, "events": events.rows, "robots": events.counts["robots"], **more}
