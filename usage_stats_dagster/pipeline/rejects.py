"""Lines that did not become hits, read back: from which file, which line, why.

What belongs here: the stored rejects, and reading other outcomes' lines out of the logs again. What does not: judging lines
(`logs/outcomes.py`).

Every line that no format could read is stored when its log is imported. Lines of other outcomes are as many as the hits or
more, and stand in the log: they are read from it when somebody asks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import polars as pl
from sqlalchemy.engine import RowMapping

from usage_stats_dagster.ledger import counts
from usage_stats_dagster.logs.drops import DROPS
from usage_stats_dagster.logs.identity import read_head
from usage_stats_dagster.logs.judge import ReadOptions
from usage_stats_dagster.logs.outcomes import OUTCOMES
from usage_stats_dagster.logs.read import LogReader
from usage_stats_dagster.pipeline.account.book import reason
from usage_stats_dagster.pipeline.log_import import side_file
from usage_stats_dagster.pipeline.versions import import_version
from usage_stats_dagster.pipeline.workspace import Workspace
from usage_stats_dagster.schemas import REJECTS

STORED = "invalid"
DROPPED = tuple(o for o in OUTCOMES if o != "hit")
"""The outcomes that can be asked for."""

SCHEMA = pl.Schema(
    {
        "idsite": pl.Int32,
        "log": pl.String,
        "line": pl.Int64,
        "outcome": pl.String,
        "day": pl.Date,
        "reason": pl.String,
        "length": pl.Int64,
        "head": pl.String,
    }
)
"""One row a line. `length`: bytes, of rejects only; `head`: what is shown of it, without addresses."""


@dataclass(frozen=True)
class Wanted:
    """Which lines: `log` is a part of the path; a line without a date is of each day of its log."""

    sites: Sequence[int] | None = None
    first: date | None = None
    last: date | None = None
    log: str | None = None
    outcome: str = STORED
    limit: int = 50


@dataclass
class Found:
    """The first lines, how many there are by the ledger, and what stood in the way."""

    lines: pl.DataFrame
    total: int = 0
    notes: list[str] = field(default_factory=list)


def rejects(ws: Workspace, wanted: Wanted) -> Found:
    """The first `limit` lines, log by log in order of time. Raises ValueError for an outcome that there is none of."""
    if wanted.outcome not in DROPPED:
        msg = f"no outcome {wanted.outcome!r} to read back; there are {', '.join(DROPPED)}"
        raise ValueError(msg)
    found = Found(pl.DataFrame(schema=SCHEMA))
    by_log = counts.lines_of_outcome(ws.ledger, wanted.outcome)
    for log in ws.ledger.logs():
        if (wanted.sites is not None and log["idsite"] not in wanted.sites) or (wanted.log or "") not in log["path"]:
            continue
        count = _count(ws, log, by_log.get(log["id"], {}), wanted)
        found.total += count
        room = wanted.limit - found.lines.height
        if not count or room <= 0:
            continue
        parts = _stored(ws, log) if wanted.outcome == STORED else _again(ws, log, wanted, found)
        for part in parts:
            more = part.select(SCHEMA.names()).head(room)
            found.lines, room = pl.concat([found.lines, more]), room - more.height
            if room <= 0:
                break
    return found


def _count(ws: Workspace, log: RowMapping, by_day: dict[date | None, int], wanted: Wanted) -> int:
    """Lines of the log that are wanted, by the ledger's counts of the outcome."""
    if wanted.first is None and wanted.last is None:
        return sum(by_day.values())
    undated = by_day.get(None, 0)
    if undated and not any(_within(d, wanted) for d in ws.ledger.days_of_log(log["id"])):
        undated = 0
    return undated + sum(n for d, n in by_day.items() if d is not None and _within(d, wanted))


def _within(day: date, wanted: Wanted) -> bool:
    return (wanted.first or day) <= day <= (wanted.last or day)


def _stored(ws: Workspace, log: RowMapping) -> Iterator[pl.DataFrame]:
    """The log's rejects. Comment lines (`#Fields: …`) are invalid lines too, but none that anybody looks for."""
    path = side_file(ws.lake, "rejects", log["idsite"], log["identity"], "parquet")
    rows = ws.lake.scan_found(REJECTS, [path]).collect()
    if rows.height:
        yield rows.with_columns(outcome=pl.lit(STORED), day=pl.lit(None, pl.Date), **_of(log))


def _again(ws: Workspace, log: RowMapping, wanted: Wanted, found: Found) -> Iterator[pl.DataFrame]:
    """The lines as today's settings judge them, read from the log's file."""
    site = ws.settings.site(log["idsite"])
    path = _file(ws, log)
    if path is None:
        found.notes.append(
            f"{log['path']}: gone, so that its lines can't be read back; `usage-stats account` has the first"
        )
        return
    if log["import_version"] != import_version(ws, site):
        found.notes.append(f"{path}: imported under other settings than today's, by which its lines are judged here")
    options = ReadOptions(site, ws.settings, ws.lookups(site), ws.key, every_drop=True)
    why = reason("lines", wanted.outcome, ws.settings, site.id)
    for block in LogReader(path, options):
        mine = block.drops.filter(pl.col("outcome") == wanted.outcome, pl.col("line") <= log["lines"])
        if wanted.first is not None:
            mine = mine.filter(pl.col("day") >= wanted.first)
        if wanted.last is not None:
            mine = mine.filter(pl.col("day") <= wanted.last)
        yield mine.select(*DROPS, head="text", length=pl.lit(None, pl.Int64), reason=pl.lit(why)).with_columns(
            **_of(log)
        )


def _file(ws: Workspace, log: RowMapping) -> Path | None:
    """Where the log lies now: under the name by which it was imported, or one that it was seen under since."""
    known = [log["path"], *(r["path"] for r in ws.ledger.all_paths() if r["identity"] == log["identity"])]
    for path in dict.fromkeys(map(Path, known)):
        try:
            if read_head(path).identity_at(log["head_length"]) == log["identity"]:
                return path
        except OSError:
            continue
    return None


def _of(log: RowMapping) -> dict[str, pl.Expr]:
    return {"idsite": pl.lit(log["idsite"], pl.Int32), "log": pl.lit(log["path"])}
