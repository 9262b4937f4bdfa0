"""What a re-run of stale days would change in the documents, before anyone runs it.

What belongs here: running the stages over the stale days in a scratch workspace, a site's month at a time, and comparing
its documents with the stored ones. What does not: the stages, the scratch workspace (`scratch.py`), which days are stale
(`stale.py`). Lake, ledger and index are read only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import polars as pl

from usage_stats_dagster.index.interface import month_end, month_start
from usage_stats_dagster.lake.store import LakeError
from usage_stats_dagster.logs.discover import Discovery
from usage_stats_dagster.pipeline import status
from usage_stats_dagster.pipeline.documents import make_documents
from usage_stats_dagster.pipeline.figures import make_metrics
from usage_stats_dagster.pipeline.imports import find, import_outdated
from usage_stats_dagster.pipeline.run import MAX_ROUNDS
from usage_stats_dagster.pipeline.scratch import Scratch, scratch
from usage_stats_dagster.pipeline.stage import StageError, Work, for_days
from usage_stats_dagster.pipeline.stale import stale_days
from usage_stats_dagster.pipeline.tracking import make_visits_events
from usage_stats_dagster.pipeline.workspace import Workspace, listener
from usage_stats_dagster.schemas import DOCUMENTS, METRICS

MONTHS_SCHEMA = pl.Schema(
    {
        "idsite": pl.Int32,
        "month": pl.Date,
        "metric": pl.String,
        "stored": pl.Int64,
        "anew": pl.Int64,
        "change": pl.Int64,
        "percent": pl.Float64,
    }
)
ITEMS_SCHEMA = pl.Schema(
    {"idsite": pl.Int32, "identifier": pl.String, **{f"{m}{v}": pl.Int64 for m in METRICS for v in ("", "_anew")}}
)
_KEY = ["identifier", "date"]
_DAY = timedelta(1)


class DiffError(StageError):
    """The figures can't be computed anew; the message says for which day and what to do."""


@dataclass
class Diff:
    """What a re-run would change.

    `months` (MONTHS_SCHEMA): a row a site, month and metric, `documents` (how many there are) and `documents changed`
    (of both, those that differ in any field but the rules version) among the metrics. `items` (ITEMS_SCHEMA): a row an item
    whose figures differ, summed over its documents that do. `stale`: the days asked for, as `stale_days` gives them.
    """

    stale: pl.DataFrame
    months: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=MONTHS_SCHEMA))
    items: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=ITEMS_SCHEMA))

    @property
    def changes(self) -> bool:
        """Whether any figure or document would be another."""
        return bool(self.months.filter(pl.col("change") != 0).height)


def diff(
    ws: Workspace,
    sites: Sequence[int] | None = None,
    first: date | None = None,
    last: date | None = None,
    *,
    folder: Path | None = None,
) -> Diff:
    """What `run_stale` of the same sites and days would change, log by log as they are stored and imported now.

    Logs that were imported under other settings are read again, where they are still there; new logs are not looked at.
    Raises DiffError when hits that are needed are gone.
    """
    result = Diff(stale_days(ws, sites, first, last))
    by_site = result.stale.group_by("idsite", maintain_order=True).agg(pl.col("day").sort())
    if not by_site.height:
        return result
    found = find(ws, by_site["idsite"].to_list()) if ws.settings.matomo.imports_logs else Discovery()
    done = 0
    with scratch(ws, folder) as beside:
        for idsite, days in by_site.iter_rows():
            until = min(last, days[-1] + _DAY) if last else days[-1] + _DAY
            for month in _months(days):
                job = _Month(beside, idsite, month, days, (days[0] - _DAY, until), found)
                with _telling(ws, done, result.stale.height, len(job.stale)):
                    _add(result, idsite, month, *job.documents())
                done += len(job.stale)
    ws.progress("computing anew", done, done)
    return result


@dataclass
class _Month:
    """One site's month on its way through the stages."""

    beside: Scratch
    idsite: int
    month: date
    all_stale: list[date]
    window: tuple[date, date]
    found: Discovery

    @property
    def stale(self) -> list[date]:
        """The month's stale days."""
        return [d for d in self.all_stale if self.month <= d <= month_end(self.month)]

    def documents(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The month's documents (DOCUMENTS) as stored, and as a re-run makes them."""
        first, last = self.month, month_end(self.month)
        brought = [first + timedelta(k) for k in range(-2, (last - first).days + 3)]
        self.beside.bring(self.idsite, brought)
        ws = self.beside.ws
        in_month = [(self.idsite, d) for d in brought if first <= d <= last]
        before = ws.lake.scan(DOCUMENTS, in_month).collect()
        # The next month's first day is made too, for its first seconds; its figures are the next month's matter.
        near = [d for d in self.all_stale if first - _DAY <= d <= last + _DAY]
        todo = [d for d in near if d >= first]
        try:
            if near and self.found.logs:
                import_outdated(ws, self.found, self.idsite, near[0], near[-1])
            made = self._events(todo)
            figures = [d for d in made if first <= d <= last]
            self._stage("filtered_metrics", make_metrics, figures)
            self._stage("documents", make_documents, figures)
        except LakeError as e:
            where = str(e).replace(str(ws.lake.root), str(self.beside.real.lake.root))
            msg = (
                f"{where}\nwithout it site {self.idsite} can't be computed anew; nothing was changed. "
                "Leave the day out with --from, --to or --site"
            )
            raise DiffError(msg) from e
        return before, ws.lake.scan(DOCUMENTS, in_month).collect()

    def _events(self, days: list[date]) -> list[date]:
        """Makes events of the days, and of those that then have other lines or other last double clicks; returns all."""
        made: set[date] = set()
        todo = set(days)
        for _ in range(MAX_ROUNDS):
            self._stage("visits_events", make_visits_events, sorted(todo - made))
            made |= todo
            near = (max(self.window[0], self.month - _DAY), min(self.window[1], month_end(self.month) + _DAY))
            todo = {d for _, d in status.days_to_run(self.beside.ws, [self.idsite], near)}
            if not todo - made:
                break
        return sorted(made)

    def _stage(self, name: str, work: Work, days: Sequence[date]) -> None:
        if days:
            for_days(self.beside.ws, name, work, days, [self.idsite])


def _months(days: Sequence[date]) -> list[date]:
    """First days of the months that a change of the days can reach: a day's change may move its neighbours' figures."""
    return sorted({month_start(d + k * _DAY) for d in days for k in (-1, 0, 1)})


def _add(result: Diff, idsite: int, month: date, before: pl.DataFrame, after: pl.DataFrame) -> None:
    """Adds the month's differences to the result."""
    content = [c for c in DOCUMENTS.columns if c not in ("rules_version", "id")]
    both = before.select(content).join(after.select(content), on=_KEY, how="full", coalesce=True, suffix="_anew")
    compared = [c for c in content if c not in _KEY]
    same = pl.all_horizontal(pl.col(c).eq_missing(pl.col(f"{c}_anew")) for c in compared)
    changed = both.filter(~same)
    sums = [("documents", before.height, after.height)]
    sums += [(m, int(before[m].sum()), int(after[m].sum())) for m in METRICS]
    rows = [
        (idsite, month, m, old, new, new - old, 100 * (new - old) / old if old else None)
        for m, old, new in sums
        if old or new
    ]
    if changed.height:
        rows.append((idsite, month, "documents changed", 0, changed.height, changed.height, None))
    months = pl.DataFrame(rows, schema=MONTHS_SCHEMA, orient="row")
    result.months = pl.concat([result.months, months])
    figures = [f"{m}{v}" for m in METRICS for v in ("", "_anew")]
    other = changed.filter(~pl.all_horizontal(pl.col(m).eq_missing(pl.col(f"{m}_anew")) for m in METRICS))
    items = other.select(pl.lit(idsite, pl.Int32).alias("idsite"), "identifier", *figures)
    keys = ["idsite", "identifier"]
    result.items = pl.concat([result.items, items]).group_by(keys, maintain_order=True).agg(pl.col(figures).sum())


def top_items(result: Diff, metric: str, top: int | None) -> pl.DataFrame:
    """The items whose `metric` changes most, ups and downs alike: idsite, identifier, stored, anew, change."""
    change = (pl.col("anew") - pl.col("stored")).alias("change")
    items = result.items.select(
        "idsite", "identifier", pl.col(metric).alias("stored"), pl.col(f"{metric}_anew").alias("anew")
    ).with_columns(change)
    ranked = items.filter(pl.col("change") != 0).sort(
        pl.col("change").abs(), "identifier", "idsite", descending=[True, False, False]
    )
    return ranked if top is None else ranked.head(top)


@contextmanager
def _telling(ws: Workspace, done: int, total: int, mine: int) -> Iterator[None]:
    """Turns the stages' progress into that of the whole: three stages over the month's stale days."""
    reached = {"visits_events": 0.0, "filtered_metrics": 1.0, "documents": 2.0}
    tell = listener.get()

    def told(what: str, k: int, of: int) -> None:
        if what in reached and of:
            tell("computing anew", done + int(mine * (reached[what] + k / of) / 3), total)

    ws.progress("computing anew", done, total)
    token = listener.set(told)
    try:
        yield
    finally:
        listener.reset(token)
