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

from collections.abc import Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date

import polars as pl

from usage_stats_dagster.index.interface import FIGURES, DocumentIndexError, Grain, Selection, month_start
from usage_stats_dagster.index.opensearch import questions
from usage_stats_dagster.index.opensearch.bulk import Bulk
from usage_stats_dagster.index.opensearch.lease import Lease
from usage_stats_dagster.index.opensearch.records import HASHES, Record, Records, packed
from usage_stats_dagster.index.opensearch.site import Hidden, Seen, SiteIndices
from usage_stats_dagster.index.opensearch.view import View
from usage_stats_dagster.index.source import content_hashes, encoded
from usage_stats_dagster.schemas import METRICS

_FEW = 2000
"""Changed documents that are hidden one by one; beyond it, their dates are."""

CHANGES = pl.Schema({"date": pl.Date, "inserted": pl.Int64, "updated": pl.Int64, "removed": pl.Int64})
"""How many documents of each date were written; dates without any have no row."""


@dataclass(frozen=True)
class Period:
    """What a site's dates shall hold, from start to end: documents of one grain on `dates`.

    The documents are encoded in another thread, while this one asks the server what it has.
    """

    idsite: int
    start: date
    end: date
    grain: Grain
    dates: Sequence[date]
    _documents: Future[pl.DataFrame]
    _records: Future[dict[date, Record]]

    @classmethod
    def of(cls, idsite: int, start: date, end: date, grain: Grain, documents: pl.DataFrame, coder: Executor) -> Period:
        """Of DOCUMENTS that `check_replacement` let through."""
        dates = documents["date"].unique().sort().to_list()
        coded = coder.submit(encoded, documents)
        records = coder.submit(lambda: _records_of(coded.result(), grain))
        return cls(idsite, start, end, grain, dates, coded, records)

    @property
    def documents(self) -> pl.DataFrame:
        """`date`, `id`, `hash`, `source`."""
        return self._documents.result().select("date", *HASHES, "source")

    @property
    def records(self) -> dict[date, Record]:
        """What each date will have."""
        return self._records.result()


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
        known = self.records.read(seen.index, period.dates)
        if len(known) < len(period.dates) or known != period.records:
            return False
        return self._present(seen.index, period) == period.records

    def replace(self, period: Period, lease: Lease) -> pl.DataFrame:
        """Make the period what it shall be, under the site's lease; gives CHANGES."""
        index = self.ready(period.idsite, lease)
        present = self._present(index, period)
        if period.dates and not present:
            # Hidden before it is known what they will hold: it is still being encoded.
            during = self._show(index, Seen(index, hidden=Hidden(tuple(period.dates))), lease)
            self._fill(index, during, period, period.documents, pl.Series(dtype=pl.String), lease, period.dates)
            return _changes(inserted=period.documents)
        gone = [d for d in present if d not in period.dates]
        begun = [d for d in period.dates if present.get(d) is None or present[d] != period.records[d]]
        stale = sorted([*begun, *gone])
        old, new = self._old(index, stale, present), period.documents.filter(pl.col("date").is_in(stale))
        changed, removed = new.join(old, on=["id", "hash"], how="anti"), old.join(new, on="id", how="anti")
        if changed.height or removed.height:
            during = self._switch(index, stale, old, new, changed, removed["id"], lease)
            self._fill(index, during, period, changed, removed["id"], lease, begun, gone)
        else:
            self.records.write(period.idsite, index, {d: period.records[d] for d in begun}, gone)
        sent = changed.select("date", "id")
        updated = sent.join(old, on="id", how="semi")
        return _changes(inserted=sent.join(updated, on="id", how="anti"), updated=updated, removed=removed)

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
        return self._show(index, Seen(index, staged, Hidden(tuple(stale), tuple(ids) if by_id else ())), lease)

    def _show(self, index: str, during: Seen, lease: Lease) -> Seen:
        lease.check()
        self.site.show(Seen(index), during)
        return during

    def _fill(
        self, index: str, during: Seen, period: Period, changed: pl.DataFrame, removed: pl.Series, lease: Lease,
        begun: Sequence[date], gone: Sequence[date] = (),
    ) -> None:  # fmt: skip
        """Make the index what it shall be, and show all of it."""
        self.bulk.index(index, changed, lease.check)
        self.bulk.delete(index, removed, lease.check)
        with ThreadPoolExecutor(1, thread_name_prefix="records") as aside:
            # A writer that dies meanwhile leaves these dates hidden: the next one forgets their records.
            kept = aside.submit(self.records.write, period.idsite, index, {d: period.records[d] for d in begun}, gone)
            self.site.refresh(index)
            self._compare(index, period)
            kept.result()
        lease.check()
        self.site.show(during, Seen(index))

    def _compare(self, index: str, period: Period) -> None:
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


def _records_of(documents: pl.DataFrame, grain: Grain) -> dict[date, Record]:
    """By date."""
    sums = [pl.len().alias("documents"), *(pl.col(m).sum() for m in METRICS)]
    figures = {row[0]: row[1:] for row in documents.group_by("date").agg(sums).rows()}
    hashes = documents.select("date", *HASHES).partition_by("date", as_dict=True)
    return {
        day: Record(grain, text, figures[day], packed(hashes[(day,)].sort("id")))
        for day, text in content_hashes(documents).items()
    }


def _changes(**done: pl.DataFrame) -> pl.DataFrame:
    counted = [f.group_by("date").len(name) for name, f in done.items()]
    return pl.concat([pl.DataFrame(schema=CHANGES), *counted], how="diagonal_relaxed").group_by("date").sum()
