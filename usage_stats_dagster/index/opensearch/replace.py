"""Replacing a period of a site: readers see it as it was or as it is, whatever happens to writer and server.

What belongs here: which documents change, and the order of steps. What does not: what a step is (`site.py`, `bulk.py`).

OpenSearch has no transaction over documents, but one `_aliases` request is atomic, and a refresh of one shard is. So:

1. Nothing of these dates is seen yet: the alias hides the dates. Otherwise the new documents go into a second index, and
   the alias shows them while it hides in the first index whatever changes. This is the moment at which readers see the new.
2. The first index is written, refreshed and compared with what it should have.
3. The alias shows all of the first index again, and it alone.

A writer or a server that dies in between leaves an alias that tells how far it was. The next writer first makes the first
index what readers see (`_recover`): hidden documents are deleted, those of the second index take their place.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import cached_property

import polars as pl

from usage_stats_dagster.index.interface import FIGURES, DocumentIndexError, Grain, Selection, month_start
from usage_stats_dagster.index.opensearch import questions
from usage_stats_dagster.index.opensearch.bulk import Bulk
from usage_stats_dagster.index.opensearch.lease import Lease
from usage_stats_dagster.index.opensearch.records import HASHES, Record, Records
from usage_stats_dagster.index.opensearch.site import Hidden, Seen, SiteIndices
from usage_stats_dagster.index.opensearch.view import View
from usage_stats_dagster.index.source import content_hashes
from usage_stats_dagster.schemas import METRICS

_FEW = 2000
"""Changed documents that are hidden one by one; beyond it, their dates are."""

CHANGES = pl.Schema({"date": pl.Date, "inserted": pl.Int64, "updated": pl.Int64, "removed": pl.Int64})
"""How many documents of each date were written; dates without any have no row."""


@dataclass(frozen=True)
class Period:
    """What a site's dates shall hold: `documents` (DOCUMENTS, `source`, `hash`) of one grain, from start to end."""

    idsite: int
    start: date
    end: date
    grain: Grain
    documents: pl.DataFrame

    @cached_property
    def records(self) -> dict[date, Record]:
        """What each date will have."""
        sums = [pl.len().alias("documents"), *(pl.col(m).sum() for m in METRICS)]
        figures = {row[0]: row[1:] for row in self.documents.group_by("date").agg(sums).rows()}
        hashes = self.documents.select("date", *HASHES).partition_by("date", as_dict=True)
        return {
            day: Record(self.grain, text, figures[day], hashes[(day,)].select(*HASHES).sort("id"))
            for day, text in content_hashes(self.documents).items()
        }


@dataclass(frozen=True)
class Writer:
    """Who replaces: a site's indices, the records of what they hold, and how documents are sent."""

    site: SiteIndices
    records: Records
    bulk: Bulk

    def is_as_wanted(self, period: Period) -> bool:
        """Whether readers see the period as it shall be already; looks, and writes nothing."""
        seen = self.site.seen()
        if not seen.whole or seen.index is None:
            return False
        return self._present(seen.index, period) == period.records

    def replace(self, period: Period, lease: Lease) -> pl.DataFrame:
        """Make the period what it shall be, under the site's lease; gives CHANGES."""
        index = self.ready(period.idsite, lease)
        wanted, present = period.records, self._present(index, period)
        stale = sorted(d for d in wanted.keys() | present.keys() if wanted.get(d) != present.get(d))
        old, new = self._old(index, stale, present), period.documents.filter(pl.col("date").is_in(stale))
        both = new.select("id", "hash").join(old.select("id", old="hash"), on="id", how="left")
        changed = new.join(both.filter(pl.col("hash").ne_missing(pl.col("old"))), on="id", how="semi")
        removed = old.join(new, on="id", how="anti")
        known = {d: wanted[d] for d in stale if d in wanted}
        gone = [d for d in stale if d not in wanted]
        if changed.height or removed.height:
            during = self._switch(index, stale, old, new, changed, removed["id"], lease)
            self._write(index, period, changed, removed["id"], lease)
            self.records.write(period.idsite, index, known, gone)
            lease.check()
            self.site.show(during, Seen(index))
        else:
            self.records.write(period.idsite, index, known, gone)
        done = (changed.join(old, on="id", how="anti"), changed.join(old, on="id", how="semi"), removed)
        counted = (
            f.group_by("date").len(name) for name, f in zip(("inserted", "updated", "removed"), done, strict=True)
        )
        return pl.concat([pl.DataFrame(schema=CHANGES), *counted], how="diagonal_relaxed").group_by("date").sum()

    def ready(self, idsite: int, lease: Lease) -> str:
        """The site's index, seen whole: made if there is none, mended if a writer died; others are swept away."""
        seen = self.site.seen()
        if seen.index and not seen.whole:
            self._recover(idsite, seen.index, seen, lease)
        for index in self.site.unseen():
            if self.site.is_closed_to_all(index):
                self.records.forget(index)
                self.site.remove(index)
        return seen.index or self.site.make(seen=True)

    def _recover(self, idsite: int, index: str, seen: Seen, lease: Lease) -> None:
        """Make the index what readers see of it and of the second one, and show it alone."""
        hidden = seen.hidden
        dates = set(hidden.dates) if hidden else set()
        staged = pl.DataFrame(schema={"id": pl.String, "source": pl.String})
        if seen.staged:
            found = questions.sources(View(self.site.http, seen.staged), Selection())
            staged, dates = found.select("id", "source"), dates | set(found["date"])
        if hidden:
            self.site.refresh(index)
            view = View(self.site.http, index)
            hits = view.documents(hidden.query(), ["id"], 10_000, _source=False)
            there = pl.Series("id", [h["sort"][0] for h in hits], pl.String)
            self.bulk.delete(index, there.filter(~there.is_in(staged["id"].implode())), lease.check)
        if staged.height:
            self.bulk.index(index, staged, lease.check)
        self.site.refresh(index)
        lease.check()
        self.records.write(idsite, index, {}, gone=dates)
        self.site.show(seen, Seen(index))

    def _present(self, index: str, period: Period) -> dict[date, Record | None]:
        """The dates that have documents and what is known of them; None where the record is not to be believed."""
        first = month_start(period.start)
        where = Selection(start=first, end=period.end)
        there = questions.figures(View(self.site.http, index), where, by="day")
        figures = {row[0]: row[1:] for row in there.select("period", *FIGURES).rows()}
        known = self.records.read(index, sorted(figures))
        believed = {d: known[d] if d in known and known[d].figures == f else None for d, f in figures.items()}
        # A month's document lies on the month's first day, before a period that starts within the month.
        return {d: r for d, r in believed.items() if d >= period.start or (r is not None and r.grain == "month")}

    def _old(self, index: str, stale: list[date], present: dict[date, Record | None]) -> pl.DataFrame:
        """HASHES and date of the documents that the stale dates have; no hash where only the id is known."""
        believed = [d for d in stale if present.get(d) is not None]
        unknown = [d for d in stale if d in present and present[d] is None]
        known = {d: r.hashes for d, r in self.records.read(index, believed, hashes=True).items()}
        view = View(self.site.http, index)
        for day in unknown:
            found = questions.ids(view, Selection(start=day, end=day))
            known[day] = found.select("id", hash=pl.lit(None, pl.Int64))
        frames = [hashes.with_columns(date=pl.lit(day)) for day, hashes in known.items()]
        return pl.concat([pl.DataFrame(schema={**HASHES, "date": pl.Date}), *frames])

    def _switch(
        self, index: str, stale: list[date], old: pl.DataFrame, new: pl.DataFrame, changed: pl.DataFrame,
        removed: pl.Series, lease: Lease,
    ) -> Seen:  # fmt: skip
        """From here on readers see the new documents, or still none of these dates, and the index may be written."""
        ids = [*changed["id"], *removed]
        by_id = bool(old.height) and len(ids) <= _FEW
        shown = changed if by_id else new
        staged = None
        if old.height and shown.height:
            staged = self.site.make(staged=True)
            self.bulk.index(staged, shown, lease.check)
            self.site.refresh(staged)
        during = Seen(index, staged, Hidden(tuple(stale), tuple(ids) if by_id else ()))
        lease.check()
        self.site.show(Seen(index), during)
        return during

    def _write(self, index: str, period: Period, changed: pl.DataFrame, removed: pl.Series, lease: Lease) -> None:
        self.bulk.index(index, changed, lease.check)
        self.bulk.delete(index, removed, lease.check)
        self.site.refresh(index)
        found = questions.figures(View(self.site.http, index), Selection(start=period.start, end=period.end), by="day")
        have = {row[0]: row[1:] for row in found.select("period", *FIGURES).rows()}
        should = {d: r.figures for d, r in period.records.items()}
        if have != should:
            wrong = sorted(d for d in have.keys() | should.keys() if have.get(d) != should.get(d))
            msg = (
                f"site {period.idsite}: after writing, {index} has other figures than it was sent on {wrong[:5]}: "
                f"does another program write to it? `usage-stats reindex --sites {period.idsite}` makes it anew"
            )
            raise DocumentIndexError(msg)
