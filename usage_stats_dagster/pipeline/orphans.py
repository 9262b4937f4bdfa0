"""What lies in lake or index and belongs to nothing: named one by one, and removable where nothing can need it.

What belongs here: finding, and what removing would be. What does not: what is missing (`doctor.py`).

A thing is removable when the next run makes it anew or nobody reads it. What might be somebody's only copy (an unknown
site's documents, a file that is none of ours, everything when the lake seems to be another one) is named and left.
"""

from __future__ import annotations

import re
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path

import polars as pl
from sqlalchemy.engine import RowMapping

from usage_stats_dagster.index.interface import month_start
from usage_stats_dagster.lake.storage import Location
from usage_stats_dagster.lake.store import DAY_FILE, MANIFEST, PART
from usage_stats_dagster.ledger import counts
from usage_stats_dagster.ledger.tables import DayStatus
from usage_stats_dagster.pipeline.decisions import FOLDER as DECISIONS
from usage_stats_dagster.pipeline.workspace import Workspace
from usage_stats_dagster.schemas import DOCUMENTS, EVENTS, HITS, METRICS_TABLE, VISITS

SIDE_FILES = ("imports", "rejects", "samples")
_SIDE = re.compile(rf"^({'|'.join(SIDE_FILES)})/idsite=(\d+)/([0-9a-f]+)\.(?:json|parquet)$")
LEASE = "_writer.json"
"""Whose turn it is to write, in a bucket."""

_DECISIONS = re.compile(rf"^{DECISIONS}/idsite=\d+\.json$")
_TABLES = {t.name: t for t in (VISITS, EVENTS, METRICS_TABLE, DOCUMENTS)}
_TRACKED = (VISITS.name, EVENTS.name)

Days = Mapping[tuple[int, date], RowMapping]


@dataclass(frozen=True)
class Orphan:
    """One thing: `where` (lake, index), what it is and why nobody needs it; `remove` takes it away, None: it is left."""

    where: str
    what: str
    remove: Callable[[], object] | None = None


def orphans(ws: Workspace, indexed: pl.DataFrame | None) -> list[Orphan]:
    """All of them, the lake's first. Walks the whole lake; `indexed` is the index's `by_site(by="day")`, None where it is away."""
    days = {(r["idsite"], r["day"]): r for r in ws.ledger.statuses()}
    temporaries = ws.lake.temporaries()
    # In a bucket these are uploads that nobody finished: the next writer ends them, and their keys may hold good files.
    found = [
        Orphan("lake", f"{p}: left by a killed writer", partial(_remove, p) if isinstance(p, Path) else None)
        for p in temporaries
    ]
    inside = {str(p) for p in temporaries if isinstance(p, Path)}
    folders: dict[tuple[str, int, date], dict[str, Location]] = defaultdict(dict)
    side: list[tuple[str, int, str, Location]] = []
    for name, path in ws.lake.everything():
        if name == LEASE or any(f"{path}/".startswith(f"{p}/") for p in inside):
            continue
        day, beside = DAY_FILE.match(name), _SIDE.match(name)
        if day and (day[1] in _TABLES or day[1] == HITS.name):
            folders[day[1], int(day[2]), date(*map(int, day.group(3, 4, 5)))][day[6]] = path
        elif beside:
            side.append((beside[1], int(beside[2]), beside[3], path))
        elif not _DECISIONS.match(name):
            found.append(Orphan("lake", f"{path}: no file of this program; left alone"))
    return [*found, *_of_logs(ws, folders, side), *_of_days(ws, folders, days), *_of_index(ws, indexed, folders, days)]


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _of_logs(
    ws: Workspace,
    folders: Mapping[tuple[str, int, date], Mapping[str, Location]],
    side: list[tuple[str, int, str, Location]],
) -> Iterator[Orphan]:
    """Hits, manifests, rejects and samples of logs that the ledger does not have."""
    logs = {(r["idsite"], r["identity"]) for r in ws.ledger.logs()}
    named = {
        (s, d, identity)
        for s in counts.sites(ws.ledger)
        for d, day in counts.hits(ws.ledger, s, None, None).items()
        for identity in day.inputs
    }
    rest = "nothing counts it" if logs else "the ledger has no log at all: `usage-stats doctor --rebuild-ledger`"
    for (table, idsite, day), files in sorted(folders.items()):
        if table != HITS.name:
            continue
        for name, path in sorted(files.items()):
            if (idsite, day, name.removesuffix(".parquet")) not in named:
                remove = partial(path.unlink, missing_ok=True) if logs else None
                yield Orphan("lake", f"{path}: hits of no log that the ledger has; {rest}", remove)
    for kind, idsite, identity, path in side:
        if (idsite, identity) not in logs:
            remove = partial(path.unlink, missing_ok=True) if logs else None
            yield Orphan("lake", f"{path}: {kind} of no log that the ledger has; {rest}", remove)


def _of_days(
    ws: Workspace, folders: Mapping[tuple[str, int, date], Mapping[str, Location]], days: Days
) -> Iterator[Orphan]:
    """Tables without manifest, manifests without table, what a manifest does not fit, days that the ledger does not know."""
    months = {(s, month_start(d)) for s, d in days}
    for (name, idsite, day), files in sorted(folders.items()):
        table = _TABLES.get(name)
        if table is None:
            continue
        folder = ws.lake.folder(table, idsite, day)
        for extra in sorted(set(files) - {PART, MANIFEST}):
            yield Orphan("lake", f"{files[extra]}: beside the table, no part of it", partial(files[extra].unlink, missing_ok=True))  # fmt: skip
        row = days.get((idsite, day))
        if ws.lake.manifest(table, idsite, day) is None:
            reached = DayStatus.PRETABLE if name in _TRACKED else DayStatus.CALCULATED
            if row is not None and row["status"] >= reached:
                continue  # missing where it should be: not an orphan
            what = "a manifest without its table" if PART not in files else "a table without its manifest"
            what = "a table that is not the one of its manifest" if {PART, MANIFEST} <= set(files) else what
            yield Orphan("lake", f"{folder}: {what}; the day's next run makes both", partial(ws.lake.remove, table, idsite, day))  # fmt: skip
        elif row is None and not (table is DOCUMENTS and (idsite, day) in months):
            yield Orphan(
                "lake", f"{folder}: a day that the ledger does not know: `usage-stats doctor --rebuild-ledger`"
            )


def _of_index(
    ws: Workspace, by_day: pl.DataFrame | None, folders: Mapping[tuple[str, int, date], Mapping[str, Location]], days: Days,
) -> Iterator[Orphan]:  # fmt: skip
    """Documents of days that the lake has none of, and of sites that nobody knows."""
    if by_day is None:
        return
    in_lake = {(s, d) for t, s, d in folders if t == DOCUMENTS.name}
    known = {s.id for s in ws.settings.sites} | {s for _, s, _ in folders} | {s for s, _ in days}
    for idsite, period, documents in by_day.select("idsite", "period", "documents").iter_rows():
        if idsite not in known or (idsite, period) in in_lake:
            continue
        row = days.get((idsite, period))
        if row is not None and row["status"] >= DayStatus.CALCULATED:
            continue  # missing in the lake: not an orphan
        what = f"site {idsite}, {period}: {documents:,} documents of a day that the lake has none of"
        if not in_lake:
            yield Orphan("index", f"{what}; nor of any other: is storage.root the right one?")
            continue
        empty = partial(ws.index.replace, idsite, period, period, DOCUMENTS.empty())
        yield Orphan("index", what, empty)
    unknown = by_day.filter(~pl.col("idsite").is_in(sorted(known)))
    for idsite, documents in unknown.group_by("idsite").agg(pl.col("documents").sum()).sort("idsite").iter_rows():
        yield Orphan(
            "index", f"site {idsite}: {documents:,} documents of a site that settings, ledger and lake don't know"
        )
