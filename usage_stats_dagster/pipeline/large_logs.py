"""Large logs one after the other: the next is begun while the last blocks of one are worked on.

What belongs here: which log may be begun before the one before it is imported. What does not: what becomes of one
(`one_log.py`), its blocks (`logs/read.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from functools import partial

from usage_stats_dagster.logs.discover import FoundLog
from usage_stats_dagster.pipeline.one_log import Begun, Due, PathReport, begun, ended, guarded
from usage_stats_dagster.pipeline.small_logs import Reported, head_of, is_related
from usage_stats_dagster.pipeline.workspace import Workspace


def import_in_turn(
    ws: Workspace, logs: Sequence[FoundLog], first: date | None, last: date | None
) -> Iterator[Reported]:
    """As `one_log.import_path` one after the other, and in their order."""
    ahead: list[Begun] = []

    def begin_next(due: Due, f: FoundLog) -> None:
        # What becomes of a log that begins as another does, or goes on where it ended, is decided once that is imported.
        if due.known is not None or is_related(due.found, due.head.data, f, head_of(f)):
            return
        following = begun(ws, f, first, last)
        if isinstance(following, Due):
            failed = guarded(ws, f, following.reader.ahead)
            following = failed if isinstance(failed, PathReport) else following
        ahead.append(following)

    for k, f in enumerate(logs):
        this = ahead.pop() if ahead else begun(ws, f, first, last)
        if isinstance(this, Due) and k + 1 < len(logs):
            this.reader.then = partial(begin_next, this, logs[k + 1])
        yield f, ended(ws, this)
