"""What the stages after `day_status` have in common: a report, and the loop over site-days.

What belongs here: which site-days a stage takes, and telling of progress. What does not: any stage's own work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import count, groupby
from typing import Any, TypeVar

import xxhash

from usage_stats_dagster.lake.store import Manifest
from usage_stats_dagster.pipeline import status
from usage_stats_dagster.pipeline.workspace import Workspace
from usage_stats_dagster.threads import in_threads


class StageError(Exception):
    """A stage can't go on; the message says where and what to do."""


@dataclass(frozen=True)
class StageReport:
    """What a stage made of one site's day: `changed` is false when there was nothing to do."""

    table: str
    idsite: int
    day: date
    rows: int
    bytes: int
    content_hash: str
    changed: bool
    counts: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, manifest: Manifest, *, changed: bool) -> StageReport:
        """The report of a written, or left, site-day."""
        return cls(
            manifest.table, manifest.idsite, manifest.day, manifest.rows, manifest.size, manifest.content_hash, changed, manifest.counts
        )  # fmt: skip


SMALL_ROWS = 50_000
"""Site-days of fewer hits, or events, are computed several at a time: a plan costs more than its rows."""

BATCH_ROWS = 100_000
"""Hits, or events, of the site-days that are computed at a time."""

BATCH_KEYS = 400
"""Site-days that are computed at a time: their files are open together, and one transaction names them all."""

SIDE_BY_SIDE_ROWS = 500_000
"""Hits, events or rows of metrics of batches of which two are at work: many steps take one core, and the end of each leaves both idle."""

SiteDay = tuple[int, date]
In = TypeVar("In")
Made = TypeVar("Made")
Work = Callable[[Workspace, Sequence[SiteDay]], Iterator[list[StageReport]]]
"""Does a stage for the site-days, in order; gives the reports of as many as it did at a time."""


def fingerprint(*parts: object) -> str:
    """A hash over everything that decides a stage's rows: 32 hexadecimal digits."""
    return xxhash.xxh3_128_hexdigest("\x1f".join(map(str, parts)).encode())


def for_days(
    ws: Workspace, name: str, work: Work, days: Sequence[date], sites: Sequence[int] | None = None
) -> list[StageReport]:
    """Does a stage's work for every site's day of `days` that goes on past `day_status`, under the writer's lock."""
    wanted = set(days)
    reports: list[StageReport] = []
    done = 0
    with ws.writing(), ws.timed(name):
        rows = ws.ledger.statuses(sites, min(wanted), max(wanted)) if wanted else []
        todo = [(r["idsite"], r["day"]) for r in rows if r["day"] in wanted and status.goes_on(r)]
        todo.sort(key=lambda t: (t[1], t[0]))
        if name == "visits_events" and ws.settings.matomo.mode == "database":
            from usage_stats_dagster.pipeline import extraction  # noqa: PLC0415  (a database's clients)

            return extraction.make_all(ws, todo)
        if name == "visits_events" and ws.settings.matomo.mode == "api":
            from usage_stats_dagster.pipeline.api_extraction import make_visits_events_from_api  # noqa: PLC0415

            work = by_turns(make_visits_events_from_api)
        for made in work(ws, todo):
            ws.progress(name, done, len(todo))
            reports.extend(made)
            done += len({(r.idsite, r.day) for r in made})
        ws.progress(name, len(todo), len(todo))
    return reports


def by_turns(work: Callable[[Workspace, int, date], Iterable[StageReport]]) -> Work:
    """A stage that takes a site's day at a time. Only small site-days of one day, thus of different sites, run side by side."""

    def do(ws: Workspace, todo: Sequence[SiteDay]) -> Iterator[list[StageReport]]:
        hits = ws.ledger.hits(min(d for _, d in todo), max(d for _, d in todo)) if len(todo) > 1 else {}

        def together(key: SiteDay) -> object:
            return key[1] if hits.get(key, 0) < SMALL_ROWS else key

        for _, keys in groupby(todo, together):
            yield from in_threads(lambda key: list(work(ws, *key)), keys)

    return do


def side_by_side(work: Callable[[In], Made], batches: Iterable[In], size: Callable[[In], int]) -> Iterator[Made]:
    """What `work` makes of each batch, in order; two at a time but for large ones, whose own buckets keep all cores busy.

    `work` runs in threads: what others see of it, as statuses, is its caller's to do. `size` is of a batch, in rows.
    """
    number = count()
    # None for those that go together, a number of its own for one that goes alone.
    for _, group in groupby(batches, lambda batch: None if size(batch) <= SIDE_BY_SIDE_ROWS else next(number)):
        yield from in_threads(work, group)


def batches(
    todo: Iterable[In],
    size: Callable[[In], int],
    most: int = BATCH_ROWS,
    small: int = SMALL_ROWS,
    many: int | None = None,
) -> Iterator[list[In]]:
    """Site-days, or others, in order: small ones that follow one another together, others alone.

    `size` is in rows, or what `most` (of a batch) and `small` (below which one is) are in; a batch has up to `many` of them.
    """
    batch: list[In] = []
    held = 0
    for key in todo:
        n = size(key)
        if batch and (n >= small or held + n > most or len(batch) >= (many or BATCH_KEYS)):
            yield batch
            batch, held = [], 0
        batch.append(key)
        held += n
        if n >= small:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch
