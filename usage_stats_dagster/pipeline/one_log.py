"""What becomes of one log file: imported, grown, a copy, broken, held back.

What belongs here: the decision for a path, and noting it. What does not: which paths are looked at (`imports.py`), which
of them together (`small_logs.py`), parsing (`log_import.py`). A broken file never stops the others: it gets a status, a
message and a bounded number of tries.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy.engine import RowMapping

from usage_stats_dagster.ledger.tables import LogStatus
from usage_stats_dagster.logs.discover import FoundLog
from usage_stats_dagster.logs.first_record import first_record_time
from usage_stats_dagster.logs.identity import HEAD_BYTES, Head, digest, read_head
from usage_stats_dagster.logs.judge import ReadOptions
from usage_stats_dagster.logs.read import LogReader
from usage_stats_dagster.logs.sniff import UnknownFormatError
from usage_stats_dagster.pipeline.log_import import parse_log
from usage_stats_dagster.pipeline.overlap import overlapping
from usage_stats_dagster.pipeline.versions import import_parts, import_version
from usage_stats_dagster.pipeline.workspace import Workspace

MAX_ATTEMPTS = 3

Made = TypeVar("Made")


class LogConflictError(Exception):
    """Two files can't both be this log; the message names both and what to do."""


@dataclass(frozen=True)
class PathReport:
    """What became of one path: `action` is imported, grown, same, empty, waiting, held, failed, invalid or unchanged."""

    idsite: int
    path: str
    action: str
    identity: str | None = None
    lines: int = 0
    days: tuple[date, ...] = ()
    message: str | None = None


@dataclass(frozen=True)
class Due:
    """A log that is to be imported (anew): what is known of it already, and who reads it."""

    found: FoundLog
    head: Head
    known: RowMapping | None
    version: str
    accepted: bool
    reader: LogReader


Begun = Due | PathReport | None
"""What is known of a path before its lines are read: what is to be done, or what became of it already."""


def import_path(ws: Workspace, f: FoundLog, first: date | None, last: date | None) -> PathReport | None:
    """Decides and does what is due for one file; None when it has no line on the days asked for."""
    return ended(ws, begun(ws, f, first, last))


def begun(ws: Workspace, f: FoundLog, first: date | None, last: date | None) -> Begun:
    """Decides what is due; reads no line but the first ones, and the bytes of a log that is known."""
    return guarded(ws, f, lambda: _decided(ws, f, first, last))


def _decided(ws: Workspace, f: FoundLog, first: date | None, last: date | None) -> Begun:
    row = ws.ledger.path(f.idsite, str(f.path))
    head = read_head(f.path)
    if not head.data:
        return _note(ws, f, "empty", LogStatus.LOADED, message="empty: no record in it")
    if first is not None and last is not None and not _may_cover(ws, f, head, first, last):
        return None
    known = _lineage(ws, f.idsite, head)
    site = ws.settings.site(f.idsite)
    version = import_version(ws, site)
    prefix_at = None
    if known is not None:
        d = digest(f.path, prefix_at=known["bytes"])
        if (
            d.content_hash == known["content_hash"]
            and known["import_version"] == version
            and known["status"] == LogStatus.LOADED
        ):
            return _same(ws, f, known)
        if d.bytes < known["bytes"] or d.prefix_hash != known["content_hash"]:
            return _shorter_or_other(ws, f, known, d.bytes, d.content_hash)
        prefix_at = known["bytes"]
    options = ReadOptions(
        site=site,
        settings=ws.settings,
        lookups=ws.lookups(site),
        key=ws.key,
        whole_lines_only=time.time() - f.mtime_ns / 1e9 < ws.settings.platform.grace_seconds,
        prefix_at=prefix_at,
    )
    accepted = row is not None and row["decision"] == "accept"
    return Due(f, head, known, version, accepted, LogReader(f.path, options))


def ended(ws: Workspace, begun: Begun) -> PathReport | None:
    """Does what is due, and tells what became of the path."""
    if not isinstance(begun, Due):
        return begun
    return guarded(ws, begun.found, lambda: _import(ws, begun))


def guarded(ws: Workspace, f: FoundLog, work: Callable[[], Made]) -> Made | PathReport:
    """What `work` gives, or what is wrong with the file, which is noted."""
    try:
        return work()
    except UnknownFormatError as e:
        return _note(ws, f, "invalid", LogStatus.INVALID, message=str(e))
    except LogConflictError as e:
        return _note(ws, f, "failed", LogStatus.FAILED, message=str(e), attempts=MAX_ATTEMPTS)
    except OSError as e:
        row = ws.ledger.path(f.idsite, str(f.path))
        attempts = 1 + (row["attempts"] if row is not None and row["mtime_ns"] == f.mtime_ns else 0)
        way = "is it readable for this user?" if isinstance(e, PermissionError) else "it is tried again"
        return _note(
            ws, f, "failed", LogStatus.FAILED, message=f"can't be read: {e.strerror or e} ({way})", attempts=attempts
        )


def _may_cover(ws: Workspace, f: FoundLog, head: Head, first: date, last: date) -> bool:
    """Whether the file can have lines on the days: by the date in its path (rotation names it a day late), else by its first record."""
    if f.log_date is not None and first - timedelta(1) <= f.log_date <= last + timedelta(2):
        return True
    start = first_record_time(head.data, ws.settings.site(f.idsite))
    if start is None:
        return f.log_date is None
    return start.astimezone(ws.settings.zone).date() <= last and (f.log_date is None or f.log_date >= first)


def _lineage(ws: Workspace, idsite: int, head: Head) -> RowMapping | None:
    """The imported log that this file is, or continues."""
    known = ws.ledger.log(idsite, head.identity)
    if known is not None:
        return known
    short = ws.ledger.provisional(idsite, HEAD_BYTES)
    return next((r for r in short if r["identity"] == head.identity_at(r["head_length"])), None)


def is_copy(ws: Workspace, f: FoundLog, head: Head) -> bool:
    """Whether the file is, content for content, a log that is imported whole: renamed, recompressed, touched."""
    known = _lineage(ws, f.idsite, head)
    if known is None or known["status"] != LogStatus.LOADED:
        return False
    if known["import_version"] != import_version(ws, ws.settings.site(f.idsite)):
        return False
    return bool(digest(f.path).content_hash == known["content_hash"])


def _same(ws: Workspace, f: FoundLog, known: RowMapping) -> PathReport:
    where = None if known["path"] == str(f.path) else f"the same log as {known['path']}"
    return _note(ws, f, "same", LogStatus.LOADED, identity=known["identity"], message=where)


def _shorter_or_other(ws: Workspace, f: FoundLog, known: RowMapping, length: int, content_hash: str) -> PathReport:
    """An older, shorter copy has no effect; a log that shrank or diverged is an error that names both."""
    other = Path(known["path"])
    if (
        length < known["bytes"]
        and other != f.path
        and other.is_file()
        and digest(other, prefix_at=length).prefix_hash == content_hash
    ):
        return _note(
            ws,
            f,
            "same",
            LogStatus.LOADED,
            identity=known["identity"],
            message=f"the beginning of {other}, which is imported",
        )
    what = "is shorter than" if length < known["bytes"] else "differs from"
    msg = (
        f"starts like {other} (imported up to byte {known['bytes']:,}) but {what} what was imported: "
        f"restore it, or, if it is another log, say so with `usage-stats logs ignore {f.path}`; the imported figures stay"
    )
    raise LogConflictError(msg)


def _import(ws: Workspace, due: Due) -> PathReport:
    f, head, known = due.found, due.head, due.known
    parsed = parse_log(ws.lake, f, head, due.reader, ws.progress)
    try:
        if not due.accepted:
            twin = overlapping(ws, parsed, known)
            if twin is not None:
                parsed.discard()
                msg = (
                    f"most of its lines stand in {twin} too: held back so that nothing counts twice; "
                    f"`usage-stats logs accept {f.path}` imports it all the same, `usage-stats logs ignore {f.path}` leaves it out"
                )
                return _note(ws, f, "held", LogStatus.HELD, identity=head.identity, message=msg)
        old_days = ws.ledger.days_of_log(known["id"]) if known is not None else []
        old = [known["identity"]] if known is not None else []
        parts = import_parts(ws, due.reader.options.site)
        values, outcomes, days = parsed.commit(ws.lake, due.version, old, parts)
    except BaseException:
        parsed.discard()
        raise
    supersedes = known["identity"] if known is not None and known["identity"] != head.identity else None
    with ws.ledger.write() as c:
        ws.ledger.put_log(c, values, outcomes, days, supersedes=supersedes)
        ws.ledger.put_path(
            c, f.idsite, str(f.path), size=f.size, mtime_ns=f.mtime_ns, identity=head.identity, status=values["status"],
            log_date=f.log_date, message=values["message"], attempts=0,
        )  # fmt: skip
    return PathReport(
        f.idsite, str(f.path), "grown" if known is not None else "imported", head.identity, values["lines"],
        tuple(sorted({*parsed.days, *old_days})), values["message"],
    )  # fmt: skip


def _note(
    ws: Workspace,
    f: FoundLog,
    action: str,
    status_: LogStatus,
    *,
    identity: str | None = None,
    message: str | None = None,
    attempts: int = 0,
) -> PathReport:
    values: dict[str, Any] = {
        "identity": identity,
        "status": int(status_),
        "message": message,
        "attempts": attempts,
        "log_date": f.log_date,
    }
    with ws.ledger.write() as c:
        ws.ledger.put_path(c, f.idsite, str(f.path), size=f.size, mtime_ns=f.mtime_ns, **values)
    days = (f.log_date,) if action == "empty" and f.log_date else ()
    return PathReport(f.idsite, str(f.path), action, identity, 0, days, message)
