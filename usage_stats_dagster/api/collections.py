"""Collections, as iDigBio's recordsets: sites or sets of items, and their figures by bucket of time.

What belongs here: which documents a collection means, and its figures. What does not: iDigBio's names and JSON
(`idigbio.py`).

Figures are sums over documents as they stand, computed when asked: a day made again is counted as it is now, never twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import polars as pl

from usage_stats_dagster.api.periods import bucket, bucketed, granularity
from usage_stats_dagster.index.interface import FIGURES, DocumentIndex, Granularity, Selection
from usage_stats_dagster.items.identifiers import identifier_prefix
from usage_stats_dagster.settings import Settings, SettingsError
from usage_stats_dagster.settings_api import Collection

_ASKED_ONE_BY_ONE = 50  # identifiers; of more, all items of the sites are read and these picked out

_FIGURES: dict[str, type[pl.DataType]] = {"collection": pl.String, "period": pl.Date, **FIGURES}
_ITEM: dict[str, type[pl.DataType]] = {"collection": pl.String, "identifier": pl.String, "period": pl.Date, **FIGURES}


@dataclass(frozen=True)
class ItemSet:
    """A collection: all items of its sites (None: of all sites), or there those of prefixes and the identifiers besides."""

    id: str
    sites: tuple[int, ...] | None
    prefixes: tuple[str, ...] = ()
    identifiers: tuple[str, ...] = ()

    @property
    def whole_sites(self) -> bool:
        """Whether it is all that its sites have."""
        return not (self.prefixes or self.identifiers)

    def parts(self, start: date | None, end: date) -> tuple[Selection, ...]:
        """Disjoint selections that are the collection's, but for what has to be picked out of the `haystack`."""
        where = Selection(sites=self.sites, start=start, end=end)
        if self.whole_sites:
            return (where,)
        alone = () if self._many else self.identifiers
        prefixes = (replace(where, identifier_prefix=p) for p in self.prefixes)
        return (*prefixes, *(replace(where, identifier=i) for i in alone))

    def haystack(self, start: date | None, end: date) -> tuple[Selection, ...]:
        """Where the identifiers are to be `picked` out, when they are too many to be asked for one by one."""
        return (Selection(sites=self.sites, start=start, end=end),) if self._many else ()

    def picked(self, items: pl.DataFrame) -> pl.DataFrame:
        """The rows of the collection's identifiers."""
        return items.join(pl.DataFrame({"identifier": self.identifiers}), on="identifier", how="semi")

    @property
    def _many(self) -> bool:
        return len(self.identifiers) > _ASKED_ONE_BY_ONE


def load_collections(settings: Settings) -> tuple[ItemSet, ...]:
    """The collections of the settings; every site of the settings is one where none is named. Raises SettingsError."""
    if settings.collections:
        return tuple(_item_set(c) for c in settings.collections)
    return tuple(ItemSet(str(s.id), (s.id,)) for s in settings.sites)


def _item_set(collection: Collection) -> ItemSet:
    listed = [*collection.identifiers, *_from_file(collection)]
    known = pl.Series(listed, dtype=pl.String).unique(maintain_order=True)
    covered = identifier_prefix(known).is_in(list(collection.identifier_prefixes)).fill_null(value=False)
    prefixes = tuple(dict.fromkeys(collection.identifier_prefixes))
    return ItemSet(collection.id, collection.sites or None, prefixes, tuple(known.filter(~covered)))


def _from_file(collection: Collection) -> list[str]:
    if not collection.identifiers_file:
        return []
    path = Path(collection.identifiers_file)
    try:
        listed = [s for line in path.read_text(encoding="utf-8").splitlines() if (s := line.strip())]
    except (OSError, UnicodeDecodeError) as e:
        msg = f"collections: {collection.id!r}: identifiers_file {path} can't be read: {e}"
        raise SettingsError(msg) from e
    if not listed:
        msg = f"collections: {collection.id!r}: identifiers_file {path} names no identifier"
        raise SettingsError(msg)
    return listed


def figures(
    index: DocumentIndex, collections: Sequence[ItemSet], unit: str, start: date, end: date, shift: int = 0
) -> pl.DataFrame:
    """`collection`, `period`, FIGURES: a row a collection and bucket that has documents, ordered by period.

    Days from `start` to `end`; each goes into the bucket of the day `shift` days later.
    """
    by: Granularity = "day" if shift else granularity(unit)
    parts = [pl.DataFrame(schema=_FIGURES)]
    whole = pl.DataFrame(
        [(c.id, s) for c in collections if c.whole_sites for s in c.sites or ()],
        schema={"collection": pl.String, "idsite": pl.Int32},
        orient="row",
    )
    if whole.height:
        where = Selection(sites=tuple(whole["idsite"].unique().sort()), start=start, end=end)
        parts.append(index.by_site(where, by).join(whole, on="idsite"))
    for c in collections:
        if not c.whole_sites:
            answers = [index.by_period(where, by) for where in c.parts(start, end)]
            answers += [c.picked(index.items(where, by)) for where in c.haystack(start, end)]
            parts += [rows.with_columns(collection=pl.lit(c.id)) for rows in answers]
    rows = pl.concat([p.select(_FIGURES.keys()) for p in parts])
    return bucketed(_shifted(rows, shift), unit, "collection")


def sizes(index: DocumentIndex, collections: Sequence[ItemSet], unit: str, end: date, shift: int = 0) -> pl.DataFrame:
    """`collection`, `period`, `items`, `items_requested`: how many items had been used by the bucket's end, since ever.

    A row a bucket in which one of them grew, ordered by period; a use after `end` does not count. `items_requested`: those
    of which a file was asked for.
    """
    by: Granularity = "day" if shift else granularity(unit)
    used = [pl.DataFrame(schema=_ITEM)]
    for c in collections:
        answers = [index.items(where, by) for where in c.parts(None, end)]
        answers += [c.picked(index.items(where, by)) for where in c.haystack(None, end)]
        used += [rows.with_columns(collection=pl.lit(c.id)).select(_ITEM.keys()) for rows in answers]
    rows = _shifted(pl.concat(used), shift).with_columns(bucket("period", unit))
    requested = (pl.col("total_item_requests") > 0) | (pl.col("downloads") > 0)
    items = rows.group_by("collection", "identifier").agg(
        first=pl.col("period").min(), requested=pl.col("period").filter(requested).min()
    )
    grown = pl.concat(
        [
            items.select("collection", period="first", items=pl.lit(1), items_requested=pl.lit(0)),
            items.select("collection", period="requested", items=pl.lit(0), items_requested=pl.lit(1)).drop_nulls(
                "period"
            ),
        ]
    )
    counts = pl.col("items", "items_requested")
    by_bucket = grown.group_by("collection", "period").agg(counts.sum().cast(pl.Int64)).sort("period", "collection")
    return by_bucket.with_columns(counts.cum_sum().over("collection"))


def _shifted(rows: pl.DataFrame, days: int) -> pl.DataFrame:
    return rows.with_columns(pl.col("period").dt.offset_by(f"{days}d")) if days else rows
