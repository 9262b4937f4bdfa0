"""Replaying raw tracker requests of files to the configured Matomo, each once.

What belongs here: files and sites into senders. What does not: lines (`matomo/replay.py`), sending (`matomo/sender.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from usage_stats_dagster.matomo.http import MatomoError
from usage_stats_dagster.matomo.positions import Batch, Positions
from usage_stats_dagster.matomo.replay import ReplayFile
from usage_stats_dagster.matomo.sender import SendReport, send_sites
from usage_stats_dagster.pipeline.sending import SITES_AT_ONCE, open_sender
from usage_stats_dagster.pipeline.workspace import Workspace


def replay(
    ws: Workspace, paths: Sequence[Path], sites: Sequence[int] | None = None
) -> tuple[list[ReplayFile], dict[int, SendReport | MatomoError]]:
    """Sends the files' requests (of the sites given, or of all), the files in the order given: what each file held, and
    by site what was sent or why it stopped. A file that was sent already, under whatever name, has no effect.

    Raises OSError for a file that can't be read, MatomoError without address or token.
    """
    sender, _ = open_sender(ws)
    positions = Positions(ws.ledger)
    with ws.writing():
        files = [ReplayFile(p) for p in paths]
        for f in files:
            f.survey()
        found = sorted({s for f in files for s in f.requests})

        def batches_of(idsite: int) -> Callable[[], Iterator[Batch]]:
            size = ws.settings.matomo.send_batch
            return lambda: (b for f in files for b in f.batches(idsite, positions, ws.settings.zone, size))

        todo = {s: batches_of(s) for s in found if sites is None or s in sites}
        return files, send_sites(sender, todo, at_once=SITES_AT_ONCE)
