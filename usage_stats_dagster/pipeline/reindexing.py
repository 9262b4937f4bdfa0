"""Indices made anew from the lake: after a change of mapping, a loss, or another program's writing.

What belongs here: which documents of the lake go into which site's index. What does not: how an index takes the old one's
place (`index/`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from usage_stats_dagster.lake.store import LakeError
from usage_stats_dagster.pipeline.workspace import Workspace
from usage_stats_dagster.schemas import DOCUMENTS


@dataclass(frozen=True)
class Reindexed:
    """What became of a site: its periods and documents in the lake, all of them indexed; none are where it has none."""

    idsite: int
    periods: int
    documents: int


def reindex(ws: Workspace, sites: Sequence[int] | None = None, *, replace_foreign: bool = False) -> Iterator[Reindexed]:
    """Makes each site's index anew from the lake, one after another; a site without documents is left as it is.

    Raises LakeError where a period's file is not what its manifest says: the old index then stays.
    """
    known = {s.id for s in ws.settings.sites} | {r["idsite"] for r in ws.ledger.statuses()}
    for idsite in sorted(sites if sites is not None else known):
        days = list(ws.lake.days(DOCUMENTS, idsite))
        if not days:
            yield Reindexed(idsite, 0, 0)
            continue
        with ws.writing():
            count = ws.index.rebuild(
                idsite,
                _periods(ws, idsite, days),
                grain=ws.settings.site(idsite).grain,
                replace_foreign=replace_foreign,
            )
        yield Reindexed(idsite, len(days), count)


def _periods(ws: Workspace, idsite: int, days: Sequence[date]) -> Iterator[pl.DataFrame]:
    """The lake's documents, a period at a time."""
    for n, day in enumerate(days):
        if ws.lake.manifest(DOCUMENTS, idsite, day) is None:
            msg = f"site {idsite}, {day}: documents without a manifest: `usage-stats run --day {day}` makes them again"
            raise LakeError(msg)
        ws.progress(f"site {idsite}", n, len(days))
        yield ws.lake.scan(DOCUMENTS, [(idsite, day)]).collect()
