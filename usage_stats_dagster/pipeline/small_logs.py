"""Small logs imported several at a time, each with the result that it has alone.

What belongs here: which of them can be begun before those in front of them have ended, and how much of them is held. What does
not: what is due for one and its end (`one_log.py`), judging their lines in one go (`logs/together.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date

from usage_stats_dagster.logs.discover import FoundLog
from usage_stats_dagster.logs.identity import read_head
from usage_stats_dagster.logs.together import Part, judge_together
from usage_stats_dagster.pipeline.one_log import Begun, Due, PathReport, begun, ended, guarded
from usage_stats_dagster.pipeline.workspace import Workspace
from usage_stats_dagster.threads import in_threads

HELD_BYTES = 64 << 20
"""Of unpacked logs; those that come after so many are read one after the other."""

Reported = tuple[FoundLog, PathReport | None]


def import_together(
    ws: Workspace, logs: Sequence[FoundLog], first: date | None, last: date | None
) -> Iterator[Reported]:
    """As `one_log.import_path` one after the other; reports come site by site."""
    heads = list(in_threads(head_of, logs))
    done = 0
    while done < len(logs):
        # What becomes of a log that begins as another does is decided once the other is imported.
        ends = (
            k
            for k in range(done + 1, len(logs))
            if any(is_related(logs[k], heads[k], logs[i], heads[i]) for i in range(done, k))
        )
        batch = logs[done : next(ends, len(logs))]
        all_begun = list(in_threads(lambda f: begun(ws, f, first, last), batch))
        count = _of_different_logs(all_begun)
        yield from _imported(ws, batch[:count], all_begun[:count])
        done += count


def _imported(ws: Workspace, batch: Sequence[FoundLog], all_begun: list[Begun]) -> Iterator[Reported]:
    held = 0
    parts: dict[tuple[str, str], list[Part]] = {}
    for k, b in enumerate(all_begun):
        if isinstance(b, Due) and held < HELD_BYTES:
            reader = b.reader
            alone = guarded(ws, b.found, reader.alone)
            held += reader.held
            if isinstance(alone, PathReport):
                all_begun[k] = alone
            elif alone is not None:
                parts.setdefault((b.version, alone[1].name), []).append((reader, *alone))
    for of in parts.values():
        if len(of) > 1:
            judge_together(of)

    def end(of_site: list[tuple[FoundLog, Begun]]) -> list[Reported]:
        return [(f, ended(ws, b)) for f, b in of_site]

    # What becomes of a log hangs on the site's other logs, but not on another site's.
    sites: dict[int, list[tuple[FoundLog, Begun]]] = {}
    for f, b in zip(batch, all_begun, strict=True):
        sites.setdefault(f.idsite, []).append((f, b))
    for reports in in_threads(end, sites.values()):
        yield from reports


def _of_different_logs(all_begun: Sequence[Begun]) -> int:
    """How many there are up to the second that goes on where the same imported log ended: it is the first's by then."""
    known: set[int] = set()
    for k, b in enumerate(all_begun):
        if isinstance(b, Due) and b.known is not None:
            if b.known["id"] in known:
                return k
            known.add(b.known["id"])
    return len(all_begun)


def head_of(f: FoundLog) -> bytes:
    """The first bytes of its content; none where it can't be read."""
    try:
        return read_head(f.path).data
    except OSError:  # its own import says so
        return b""


def is_related(a: FoundLog, head: bytes, b: FoundLog, other: bytes) -> bool:
    """Whether both logs of a site begin alike, as far as the shorter of both heads goes."""
    return a.idsite == b.idsite and bool(head) and bool(other) and head.startswith(other[: len(head)])
