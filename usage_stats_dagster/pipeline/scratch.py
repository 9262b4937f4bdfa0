"""A workspace beside the real one, to try what a re-run would do: its lake, ledger and index are thrown away.

What belongs here: bringing a site's days into it, so that the stages run there as they do on the real one. What does
not: what is run, what is compared (`diff.py`).

Stored files are linked where they can be, not copied: a stage replaces a file by renaming another over it, which leaves the linked one as
it is. Only what the stages look at is brought: the days' tables, the hits and manifests of their logs, their ledger rows.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import sqlalchemy as sa

from usage_stats_dagster.lake.storage import Location
from usage_stats_dagster.ledger.tables import date_status, log_day, log_file, log_path, matomo_day
from usage_stats_dagster.pipeline.log_import import side_file
from usage_stats_dagster.pipeline.workspace import Workspace
from usage_stats_dagster.schemas import DOCUMENTS, EVENTS, HITS, METRICS_TABLE, VISITS

_SIDE = (("imports", "json"), ("samples", "parquet"))
_CHUNK = 400


class Scratch:
    """The real workspace (read only) and the one to try things in."""

    def __init__(self, ws: Workspace, folder: Path) -> None:
        self.real = ws
        settings = ws.settings
        self.ws = Workspace(
            settings.model_copy(
                update={
                    "storage": settings.storage.model_copy(update={"root": str(folder / "lake")}),
                    "ledger": settings.ledger.model_copy(update={"url": f"sqlite:///{folder / 'ledger.db'}"}),
                    "index": settings.index.model_copy(update={"kind": "embedded", "path": str(folder / "index.db")}),
                    "matomo": settings.matomo.model_copy(update={"sources_url": None}),  # its sites are known already
                }
            ),
            ws.logs_dir,
        )
        self.ws.key = ws.key  # else the same visitors would have other hashes

    def bring(self, idsite: int, days: Sequence[date]) -> None:
        """Makes these site-days, as they are stored now, all that the scratch workspace has."""
        shutil.rmtree(str(self.ws.lake.root), ignore_errors=True)
        with self.real.writing():  # a run under way would leave a day half old, half new
            identities = self._ledger(idsite, days)
            for day in days:
                for table in (VISITS, EVENTS, METRICS_TABLE, DOCUMENTS, HITS):
                    for file in self.real.lake.files(self.real.lake.folder(table, idsite, day)):
                        _bring(file, self.ws.lake.folder(table, idsite, day) / file.name)
            for identity in identities:
                for kind, suffix in _SIDE:
                    file = side_file(self.real.lake, kind, idsite, identity, suffix)
                    if file.exists():
                        _bring(file, side_file(self.ws.lake, kind, idsite, identity, suffix))

    def _ledger(self, idsite: int, days: Sequence[date]) -> list[str]:
        """Copies the rows of the days and of every log that has lines on them; returns the logs' identities."""
        real = self.real.ledger
        on_days = (
            sa.select(log_day.c.log_file_id)
            .join(log_file, log_file.c.id == log_day.c.log_file_id)
            .where(log_file.c.idsite == idsite, log_day.c.day >= min(days), log_day.c.day <= max(days))
        )
        logs = real.rows(sa.select(log_file).where(log_file.c.id.in_(on_days)))
        identities = [r["identity"] for r in logs]
        paths = [r for r in real.paths(idsite).values() if r["identity"] in set(identities)]
        site_days = [
            (t, sa.select(t).where(t.c.idsite == idsite, t.c.day >= min(days), t.c.day <= max(days)))
            for t in (date_status, matomo_day)
        ]
        with self.ws.ledger.write() as c:
            for table in (log_day, log_file, log_path, date_status, matomo_day):
                c.execute(sa.delete(table))
            copies = [
                (log_file, logs),
                (log_path, paths),
                (log_day, real.rows(sa.select(log_day).where(log_day.c.log_file_id.in_(on_days)))),
                *((t, real.rows(q)) for t, q in site_days),
            ]
            for table, rows in copies:
                for k in range(0, len(rows), _CHUNK):
                    c.execute(sa.insert(table), [dict(r) for r in rows[k : k + _CHUNK]])
        return identities


@contextmanager
def scratch(ws: Workspace, folder: Path | None = None) -> Iterator[Scratch]:
    """A scratch workspace in a new folder (below `folder`, else the system's for temporary files), gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="usage-stats-diff-", dir=folder) as name:
        yield Scratch(ws, Path(name))


def _bring(stored: Location, copy: Location) -> None:
    """Links a stored file, or copies it: from another file system, from a bucket."""
    target = Path(str(copy))
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(stored, target)  # type: ignore[arg-type]
    except (OSError, TypeError):
        target.write_bytes(stored.read_bytes())
