"""`usage-stats backup`: ledger, settings, visitors' key, embedded index, and on request the lake, of one moment.

What belongs here: what goes into the archive, and that it fits together. What does not: the archive (`archive.py`).

Taken while the system runs. The lake is copied without a lock; then, under the writer's lock, what has changed meanwhile
is copied again and a snapshot of ledger and index is begun; those are read after the lock is given back. So the lock is
held for seconds, and the lake in the archive is the one that the ledger in it speaks of.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, cast

from usage_stats_dagster import __version__
from usage_stats_dagster.ledger import dump
from usage_stats_dagster.ledger.ledger import REVISION
from usage_stats_dagster.pipeline.backup.archive import ArchiveWriter, BackupError
from usage_stats_dagster.pipeline.workspace import SECRET_VARIABLE, Workspace
from usage_stats_dagster.settings import config_path

LEDGER, LAKE = "ledger", "lake"
"""Folders of the archive: a file a table; the lake's files under their own paths."""
CONFIG, SETTINGS, KEY, INDEX = "usage_stats.toml", "settings.json", "visitor.key", "index.db"

_PASSWORD = re.compile(r"(://[^\s/:@\"']+):[^\s/@\"']+@")
_CHUNK = 1 << 20
_Mark = tuple[int, int, int]


@dataclass
class BackupReport:
    """What went into the archive (name, members, bytes), and what should be said."""

    parts: list[tuple[str, int, int]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def backup(ws: Workspace, path: Path, *, lake: bool = False, key: bool = True) -> BackupReport:
    """Writes the archive; replaces an older one of that name only when it is whole. Raises BackupError, OSError."""
    report = BackupReport()
    contents: dict[str, Any] = {"program": __version__, "made_at": datetime.now(UTC).isoformat(timespec="seconds")}
    with ExitStack() as stack:
        archive = stack.enter_context(ArchiveWriter(path))
        copied = _copy_lake(ws, archive, {}) if lake else {}
        with ws.writing():
            copied = _copy_lake(ws, archive, copied) if lake else {}
            connection = stack.enter_context(ws.ledger.snapshot())
            index = stack.enter_context(_index_snapshot(ws))
        for name in dump.table_names():
            archive.add(f"{LEDGER}/{name}.ndjson", dump.dump(connection, name))
        contents["ledger"] = {"revision": REVISION, "tables": dump.table_names()}
        contents["index"] = ws.settings.index.kind if index is None else INDEX
        if index is not None:
            _add_index(archive, index, path.parent)
        _add_settings(ws, archive, report)
        contents["key"] = _add_key(ws, archive, report, wanted=key)
        contents["lake"] = {name: member for name, (_, member) in copied.items()} if lake else None
        _report(archive, contents, report)
        archive.finish(contents)
    return report


def _copy_lake(
    ws: Workspace, archive: ArchiveWriter, known: dict[str, tuple[_Mark, str]]
) -> dict[str, tuple[_Mark, str]]:
    """The lake's files as they are now, those not copied that are as they were before: their mark and member, by path."""
    temporaries = {str(p) for p in ws.lake.temporaries()}
    found: dict[str, tuple[_Mark, str]] = {}
    for name, location in ws.lake.everything():
        path = cast("Path", location)
        if str(path) in temporaries or any(part.startswith(".") for part in name.split("/")):
            continue
        try:
            before = known.get(name)
            if before is not None and before[0] == _mark(path.stat()):
                found[name] = before
                continue
            with path.open("rb") as f:
                mark = _mark(os.fstat(f.fileno()))
                found[name] = mark, archive.add(f"{LAKE}/{name}", _chunks(f))
        except FileNotFoundError:
            continue  # replaced or removed in this moment: seen again under the lock
    return found


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK):
        yield chunk


def _mark(stat: os.stat_result) -> _Mark:
    """Changes whenever a file is replaced, as all files of the lake are."""
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


@contextmanager
def _index_snapshot(ws: Workspace) -> Iterator[sqlite3.Connection | None]:
    """The embedded index as it is in this moment; None where there is none."""
    path = Path(ws.settings.index.path)
    if ws.settings.index.kind != "embedded" or not path.is_file():
        yield None
        return
    db = sqlite3.connect(path, isolation_level=None)
    try:
        db.execute("BEGIN")
        db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        yield db
    finally:
        db.close()


def _add_index(archive: ArchiveWriter, index: sqlite3.Connection, beside: Path) -> None:
    with TemporaryDirectory(dir=beside, prefix=".backup-") as folder:
        copy = Path(folder) / INDEX
        target = sqlite3.connect(copy)
        try:
            index.backup(target)
            target.execute("PRAGMA journal_mode = DELETE")
        finally:
            target.close()
        with copy.open("rb") as f:
            archive.add(INDEX, _chunks(f))


def _add_settings(ws: Workspace, archive: ArchiveWriter, report: BackupReport) -> None:
    config = config_path()
    in_force = ws.settings.model_dump_json(indent=2)
    texts = {SETTINGS: in_force} | ({CONFIG: config.read_text()} if config else {})
    for name, text in texts.items():
        archive.add(name, [_PASSWORD.sub(r"\1@", text).encode()])
    if any(_PASSWORD.search(t) for t in texts.values()):
        report.notes.append("passwords in the settings' URLs were left out: keep them elsewhere")
    files = [str(s.identifier_map.file) for s in ws.settings.sites if s.identifier_map and s.identifier_map.file]
    files += [f for f in (ws.settings.rules.country_database, ws.settings.matomo.sources_folder) if f]
    if files:
        report.notes.append(f"named by the settings and not in the archive: {', '.join(files)}")


def _add_key(ws: Workspace, archive: ArchiveWriter, report: BackupReport, *, wanted: bool) -> str:
    """Adds the visitors' key; returns where it is: archive, environment, left out, none."""
    if os.environ.get(SECRET_VARIABLE):
        report.notes.append(f"the visitors' key comes from {SECRET_VARIABLE} and is not in the archive: keep it")
        return "environment"
    if not ws.key_file.is_file():
        return "none"
    if not wanted:
        report.notes.append(
            f"the visitors' key, {ws.key_file}, is not in the archive: without it visitors become new ones"
        )
        return "left out"
    archive.add(KEY, [ws.key_file.read_bytes()])
    report.notes.append(
        "the archive holds the key of the visitors' hashes: it is a secret; keep the file (mode 600) where nobody else "
        "reads it, or make it with --without-key"
    )
    return "archive"


def _report(archive: ArchiveWriter, contents: dict[str, Any], report: BackupReport) -> None:
    live = set((contents["lake"] or {}).values())
    # A file of the lake that was replaced while it was copied is in the archive twice: the older one is of no use.
    archive.members = {n: m for n, m in archive.members.items() if not n.startswith(f"{LAKE}/") or n in live}
    groups: dict[str, tuple[str, ...]] = {
        "ledger": (f"{LEDGER}/",),
        "lake": (f"{LAKE}/",),
        "index": (INDEX,),
        "settings": (CONFIG, SETTINGS),
        "visitors' key": (KEY,),
    }
    for name, start in groups.items():
        mine = [m["size"] for n, m in archive.members.items() if n.startswith(start)]
        if mine:
            report.parts.append((name, len(mine), sum(mine)))
    if contents["lake"] is None:
        report.notes.append(
            "without the lake (--lake): the ledger fits the lake of this moment, which needs a backup of its own"
        )
    if contents["index"] != INDEX:
        text = "the index is not in the archive: `usage-stats reindex` fills it from the lake's documents"
        report.notes.append(text)


def check_local(ws: Workspace) -> None:
    """Raises BackupError where the lake is no local folder."""
    if not isinstance(ws.lake.root, Path):
        msg = f"--lake copies a local lake; {ws.lake.root} is kept by its own service: use its versions or replication"
        raise BackupError(msg)
