"""`usage-stats restore`: an archive back into place, proven whole first, over nothing that is there unless told.

What belongs here: what may be overwritten, and the order. What does not: the archive (`archive.py`), looking at the result
(`doctor.py`).

The order: lake, key, index, ledger. The ledger says what is done, so it comes last: a restore that was cut off leaves an
empty ledger, and is done again with --force.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

from usage_stats_dagster.lake.local import fsync_folder
from usage_stats_dagster.lake.storage import TEMPORARY_SUFFIX
from usage_stats_dagster.lake.store import DAY_FILE
from usage_stats_dagster.ledger import dump
from usage_stats_dagster.ledger.ledger import REVISION
from usage_stats_dagster.pipeline.backup.archive import Archive, BackupError
from usage_stats_dagster.pipeline.backup.backup import CONFIG, INDEX, KEY, LEDGER, check_local
from usage_stats_dagster.pipeline.decisions import FOLDER as DECISIONS
from usage_stats_dagster.pipeline.orphans import SIDE_FILES
from usage_stats_dagster.pipeline.workspace import SECRET_VARIABLE, Workspace
from usage_stats_dagster.settings import DEFAULT_CONFIG, config_path, load_settings


@dataclass
class RestoreReport:
    """What was restored (name, count, what is counted), and what should be said."""

    parts: list[tuple[str, int, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def restore(path: Path, *, force: bool = False) -> tuple[Workspace, RestoreReport]:
    """Restores into the platform of the settings in force; of the archive's own, where there is no settings file.

    Raises BackupError when the archive is damaged, of a newer program, or something is there already and not `force`.
    """
    report = RestoreReport()
    with Archive(path) as archive:
        revision = archive.contents["ledger"]["revision"]
        if revision > REVISION:
            msg = f"{path}: its ledger is of a newer program ({revision} > {REVISION}): upgrade usage-stats-dagster"
            raise BackupError(msg)
        archive.verify()
        written = _settings(archive, report)
        try:
            ws = Workspace(load_settings())
            with_lake = archive.contents["lake"] is not None
            if with_lake:
                check_local(ws)
            there = _occupied(ws, archive, with_lake=with_lake)
            if there and not force:
                msg = f"there is something already: {'; '.join(there)}. Move it away, or replace it with --force"
                raise BackupError(msg)
        except BaseException:
            if written is not None:
                written.unlink(missing_ok=True)
            raise
        with ws.writing():
            _restore(ws, archive, report, with_lake=with_lake)
    return ws, report


def _settings(archive: Archive, report: RestoreReport) -> Path | None:
    """The settings file where there is none; the one that is there stays."""
    if CONFIG not in archive:
        return None
    data, there = archive.read(CONFIG), config_path()
    if there is None:
        path = Path(DEFAULT_CONFIG)
        _put(path, [data], 0o644)
        report.parts.append(("settings", 1, str(path)))
        return path
    if there.read_bytes() != data:
        report.notes.append(f"{there} stays as it is; the archive's, which differs, is its member {CONFIG}")
    return None


def _occupied(ws: Workspace, archive: Archive, *, with_lake: bool) -> list[str]:
    """What a restore would overwrite, in words."""
    found = []
    if not dump.is_empty(ws.ledger):
        found.append(f"the ledger at {ws.ledger.url_without_password} has rows")
    if with_lake and any(_is_ours(name) for name, _ in ws.lake.everything()):
        found.append(f"the lake at {ws.lake.root} has tables")
    if INDEX in archive and ws.settings.index.kind == "embedded" and _has_documents(Path(ws.settings.index.path)):
        found.append(f"the index at {ws.settings.index.path} has documents")
    if KEY in archive and ws.key_file.is_file() and ws.key_file.read_bytes() != archive.read(KEY):
        found.append(f"{ws.key_file} is another visitors' key")
    return found


def _restore(ws: Workspace, archive: Archive, report: RestoreReport, *, with_lake: bool) -> None:
    if with_lake:
        _lake(ws, archive, report)
    if KEY in archive:
        if os.environ.get(SECRET_VARIABLE):
            report.notes.append(f"{SECRET_VARIABLE} is set: the archive's visitors' key was not restored")
        else:
            _put(ws.key_file, [archive.read(KEY)], 0o600)
            report.parts.append(("visitors' key", 1, str(ws.key_file)))
    if INDEX in archive and ws.settings.index.kind == "embedded":
        _index(ws, archive)
        report.parts.append(("index", 1, ws.settings.index.path))
    else:
        report.notes.append("the index is not of the archive: `usage-stats reindex` fills it from the lake")
    names = {t: f"{LEDGER}/{t}.ndjson" for t in archive.contents["ledger"]["tables"]}
    counts = dump.load(ws.ledger, {t: archive.lines(n) for t, n in names.items() if n in archive})
    report.parts.append(("ledger", sum(counts.values()), f"rows in {ws.ledger.url_without_password}"))


def _lake(ws: Workspace, archive: Archive, report: RestoreReport) -> None:
    """The archive's files, and none of another time beside them."""
    members: dict[str, str] = archive.contents["lake"]
    root = cast("Path", ws.lake.root)
    for name, member in members.items():
        _put(root.joinpath(*name.split("/")), archive.chunks(member), 0o644)
    for name, path in list(ws.lake.everything()):
        if name not in members and _is_ours(name):
            path.unlink(missing_ok=True)
    report.parts.append(("lake", len(members), f"files in {ws.lake.root}"))


def _put(path: Path, chunks: Iterable[bytes], mode: int) -> None:
    """Replaces a file as a whole, on disk for good."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-restore{TEMPORARY_SUFFIX}")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as f:
            f.writelines(chunks)
            f.flush()
            os.fsync(f.fileno())
        temporary.replace(path)
        fsync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _is_ours(name: str) -> bool:
    return bool(DAY_FILE.match(name)) or name.split("/", maxsplit=1)[0] in (*SIDE_FILES, DECISIONS)


def _index(ws: Workspace, archive: Archive) -> None:
    """Into the file that is there, in one transaction: who reads it sees the old documents or the new."""
    target = Path(ws.settings.index.path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=target.parent, prefix=".restore-") as folder:
        copy = Path(folder) / INDEX
        with copy.open("wb") as f:
            f.writelines(archive.chunks(INDEX))
        source, db = sqlite3.connect(copy), sqlite3.connect(target)
        try:
            source.backup(db)
            db.execute("PRAGMA journal_mode = WAL")
        finally:
            source.close()
            db.close()


def _has_documents(path: Path) -> bool:
    if not path.is_file():
        return False
    db = sqlite3.connect(path)
    try:
        return bool(db.execute("SELECT EXISTS (SELECT 1 FROM documents)").fetchone()[0])
    except sqlite3.DatabaseError:
        return path.stat().st_size > 0
    finally:
        db.close()
