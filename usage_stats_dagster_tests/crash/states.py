"""What a platform's folder holds: its lake byte for byte, what its ledger and index say, and what else lies there.

What belongs here: reading a state without changing it, and saying where two differ. What does not: making one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import xxhash

from usage_stats_dagster.index.embedded import EmbeddedIndex
from usage_stats_dagster.index.interface import DocumentIndex, IndexFileError
from usage_stats_dagster.lake.writer import TEMPORARY_SUFFIX

LAKE, LEDGER, INDEX = "data/lake", "data/ledger.db", "data/index.db"

_PASSING = {"id", "log_file_id", "checked_at", "imported_at", "updated_at", "mtime_ns", "attempts"}
"""Columns that say when, how often or under which number: they may differ though the same was done."""

_SQLITE = ("-wal", "-shm", "-journal")

Day = tuple[int, str]


@dataclass
class State:
    """`lake`: path → hash of its bytes. `ledger`: table → rows. `index`: site and date → its documents, as indexed.
    `others`: further files. `leftovers`: files that a run should not leave."""

    lake: dict[str, str] = field(default_factory=dict)
    ledger: dict[str, list[str]] = field(default_factory=dict)
    index: dict[Day, str] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)

    def differences(self, should: State) -> list[str]:
        """What is not as in the other; empty when the states are the same."""
        found = [f"left behind: {p}" for p in self.leftovers]
        found += [f"lake: {d}" for d in _different(self.lake, should.lake)]
        found += [f"ledger: {d}" for d in _different(self.ledger, should.ledger)]
        found += [f"index: {d}" for d in _different(self.index, should.index)]
        if self.others != should.others:
            found.append(f"other files: {sorted(set(self.others) ^ set(should.others))}")
        return found

    def half_seen(self, old: State, new: State) -> list[str]:
        """What is neither as it was nor as it will be: each file of the lake, each site's day of the index."""
        found = []
        for kind, mine, olds, news in (
            ("lake", self.lake, old.lake, new.lake),
            ("index", self.index, old.index, new.index),
        ):
            for key in sorted(mine.keys() | olds.keys() | news.keys(), key=str):
                if mine.get(key) not in (olds.get(key), news.get(key)):
                    found.append(f"{kind}: {key} is neither the old nor the new one")
        return found


def state_of(folder: Path) -> State:
    """The state of the platform in the folder."""
    state = State()
    for path in sorted(p for p in (folder / "data").rglob("*") if p.is_file()):
        name = str(path.relative_to(folder))
        if path.name.endswith(TEMPORARY_SUFFIX) or f"{TEMPORARY_SUFFIX}/" in name:
            state.leftovers.append(name)
        elif name.startswith(f"{LAKE}/"):
            state.lake[name.removeprefix(f"{LAKE}/")] = xxhash.xxh3_128_hexdigest(path.read_bytes())
        elif not name.endswith(_SQLITE):
            state.others.append(name)
    state.ledger = ledger_of(folder / LEDGER)
    state.index = index_of(folder / INDEX)
    return state


def ledger_of(path: Path) -> dict[str, list[str]]:
    """The ledger's rows by table, logs named by identity instead of number."""
    if not path.exists():
        return {}
    with closing(sqlite3.connect(path)) as db:
        db.row_factory = sqlite3.Row
        check = db.execute("PRAGMA integrity_check").fetchone()[0]
        tables = [r[0] for r in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")]
        logs = {r["id"]: r["identity"] for r in db.execute("SELECT * FROM log_file")} if "log_file" in tables else {}
        found = {t: sorted(_rows(db.execute(f"SELECT * FROM {t}"), logs)) for t in tables}
    return found if check == "ok" else {"damaged": [check]}


def _rows(rows: Iterable[sqlite3.Row], logs: dict[int, str]) -> Iterable[str]:
    for r in rows:
        values = {k: r[k] for k in r.keys() if k not in _PASSING}  # noqa: SIM118  (a sqlite3.Row iterates its values)
        if "log_file_id" in r.keys():  # noqa: SIM118
            values["log"] = logs.get(r["log_file_id"], "of no log")
        yield repr(values)


def index_of(path: Path) -> dict[Day, str]:
    """`documents_of` the embedded index; nothing where there is none yet."""
    try:
        with EmbeddedIndex(path, create=False) as index:
            return documents_of(index)
    except IndexFileError as e:
        if "there is no index" not in str(e):
            raise
        return {}


def documents_of(index: DocumentIndex) -> dict[Day, str]:
    """Hash of the documents of each site and date of an index, as its readers see them."""
    rows = index.sources()
    sums = index.by_site(by="day")
    digests: dict[Day, xxhash.xxh3_128] = {}
    for idsite, day, ident, source in rows.iter_rows():
        digests.setdefault((idsite, str(day)), xxhash.xxh3_128()).update(f"{ident}\0{source}\0".encode())
    for row in sums.iter_rows():
        digests[row[0], str(row[1])].update(repr(row).encode())
    return {key: d.hexdigest() for key, d in digests.items()}


def _different(have: dict, should: dict) -> list[str]:
    found = []
    for key in sorted(have.keys() | should.keys(), key=str):
        if have.get(key) != should.get(key):
            what = "is missing" if key not in have else "should not be there" if key not in should else "differs"
            more = f": {have[key]} for {should[key]}" if what == "differs" and isinstance(have[key], list) else ""
            found.append(f"{key} {what}{more}")
    return found
