"""What an index of documents does, whatever stands behind it.

What belongs here: the protocol, what a question and an answer look like, the checks that every backend makes before
it writes, and its errors. What does not: a backend (`embedded.py`), or what a document says (`documents/`).

Answers are frames. `period` is the first day of the day, month or year asked for; `documents` counts the documents
summed; the metrics are `schemas.METRICS`, each a sum over documents, 0 where no document has the figure.
"""

from __future__ import annotations

import calendar
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal, Protocol

import polars as pl

from usage_stats_dagster.schemas import DOCUMENTS, METRICS

Grain = Literal["day", "month"]
Granularity = Literal["day", "month", "year"]

FIGURES: dict[str, type[pl.DataType]] = {"documents": pl.Int64, **dict.fromkeys(METRICS, pl.Int64)}
"""The columns that close every answer."""

KEYS: dict[str, type[pl.DataType]] = {
    "idsite": pl.Int32,
    "level": pl.String,
    "identifier": pl.String,
    "period": pl.Date,
    "country": pl.String,
}
"""The columns that may open an answer, in this order."""


class DocumentIndexError(Exception):
    """The index can't do what it was asked for; the message says what to do."""


class IndexFileError(DocumentIndexError):
    """There is no index there, or what is there is no index that this version can read."""


class IndexBusyError(DocumentIndexError):
    """Another process held the index for longer than the time to wait."""


@dataclass(frozen=True)
class IndexReport:
    """What a replacement did, in documents."""

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0

    @property
    def documents(self) -> int:
        """Documents that the period has now."""
        return self.inserted + self.updated + self.unchanged

    @property
    def changed(self) -> bool:
        """Whether anything was written."""
        return bool(self.inserted or self.updated or self.removed)


@dataclass(frozen=True)
class Selection:
    """Which documents: all that fit every field given, both dates included.

    `identifier` and `identifier_prefix` are compared whole and to the letter: `oai:host` is not `oai:host2`.
    `country` is the item's. A document of a month has the date of the month's first day. No site at all (`()`) selects nothing.
    """

    identifier: str | None = None
    identifier_prefix: str | None = None
    sites: tuple[int, ...] | None = None
    start: date | None = None
    end: date | None = None
    level: str | None = None
    country: str | None = None


EVERYTHING = Selection()


@dataclass(frozen=True)
class Replacement:
    """The documents of a site and period that are to be its only ones there: what `replace` takes."""

    idsite: int
    start: date
    end: date
    documents: pl.DataFrame
    grain: Grain = "day"


class DocumentIndex(Protocol):
    """Documents by site and period, replaced as wholes and summed on request."""

    def replace(
        self, idsite: int, start: date, end: date, documents: pl.DataFrame, *, grain: Grain = "day"
    ) -> IndexReport:
        """Make `documents` (schemas.DOCUMENTS) the site's only documents from `start` to `end`, both included.

        One step for readers: they see the period as it was or as it is. A site's month has one grain: daily documents
        remove the monthly ones of the months that they touch; monthly documents come for whole months and leave no
        daily one. Raises ValueError when frame, period and grain don't fit together, DocumentIndexError otherwise.
        """
        ...

    def replace_together(self, replacements: Sequence[Replacement]) -> list[IndexReport]:
        """As `replace` for each, of different sites or periods, at less than the cost of each; their reports in order.

        One step for readers for those of a site that follow one another, if not for all. When one fails, others are done or
        not; doing all again is right.
        """
        ...

    def rebuild(
        self, idsite: int, periods: Iterable[pl.DataFrame], *, grain: Grain = "day", replace_foreign: bool = False
    ) -> int:
        """Make the site's documents anew of these frames (schemas.DOCUMENTS, each of other dates); gives their number.

        One step for readers, however many there are. `replace_foreign`: what another program left under the site's name
        in OpenSearch may be deleted in that step.
        """
        ...

    def totals(self, where: Selection = EVERYTHING) -> pl.DataFrame:
        """One row: FIGURES over all documents selected. What reconciliation compares with the lake."""
        ...

    def by_site(self, where: Selection = EVERYTHING, by: Granularity | None = None) -> pl.DataFrame:
        """`idsite`, [`period`], FIGURES, ordered by these keys. With `by="day"`: count and sums of each site-day."""
        ...

    def by_period(self, where: Selection, by: Granularity) -> pl.DataFrame:
        """`period`, FIGURES, ordered by period; periods without a document have no row."""
        ...

    def by_level(self, where: Selection = EVERYTHING, by: Granularity | None = None) -> pl.DataFrame:
        """`level`, [`period`], FIGURES, ordered by these keys."""
        ...

    def by_country(
        self,
        where: Selection = EVERYTHING,
        by: Granularity | None = None,
        *,
        metric: str = "views",
        limit: int | None = None,
    ) -> pl.DataFrame:
        """[`period`], `country` of the visitors, FIGURES: the `limit` countries with most of `metric`, in that order.

        Ties go by country. `documents` counts those that the country appears in.
        """
        ...

    def items(
        self,
        where: Selection = EVERYTHING,
        by: Granularity | None = None,
        *,
        metric: str = "views",
        limit: int | None = None,
        countries: bool = False,
    ) -> pl.DataFrame:
        """`idsite`, `identifier`, [`period`], [`country` of the visitors], FIGURES: the `limit` items with most of `metric`.

        Ranked over the whole selection, ties by identifier and site; an item's rows follow one another by period,
        then by most of `metric`.
        """
        ...

    def nearest(self, identifier: str, limit: int = 3) -> list[str]:
        """Identifiers of the index spelled most like the one given, the nearest first."""
        ...

    def sources(self, where: Selection = EVERYTHING) -> pl.DataFrame:
        """`idsite`, `date`, `id`, `source` (the JSON as indexed, byte for byte), ordered by these keys."""
        ...

    def close(self) -> None:
        """Let go of files and connections; questions afterwards fail."""
        ...


def check_metric(metric: str) -> str:
    """The metric, if there is one of that name; else ValueError with the choices."""
    if metric not in METRICS:
        msg = f"no metric {metric!r}; there are {', '.join(METRICS)}"
        raise ValueError(msg)
    return metric


def month_start(day: date) -> date:
    """The first day of the day's month."""
    return day.replace(day=1)


def month_end(day: date) -> date:
    """The last day of the day's month."""
    return day.replace(day=calendar.monthrange(day.year, day.month)[1])


def check_period(idsite: int, documents: pl.DataFrame, grain: Grain) -> tuple[date, date, pl.DataFrame]:
    """The period that the documents span, and they as `check_replacement` gives them."""
    days = documents["date"].drop_nulls()
    first, last = days.min(), days.max()
    if not isinstance(first, date) or not isinstance(last, date):
        first = last = date.min
    if grain == "month":
        first, last = month_start(first), month_end(last)
    return first, last, check_replacement(idsite, first, last, documents, grain)


def check_replacement(idsite: int, start: date, end: date, documents: pl.DataFrame, grain: Grain) -> pl.DataFrame:
    """The documents in stored column order; ValueError or SchemaMismatchError if they can't replace that period."""
    documents = DOCUMENTS.conform(documents)
    wrong = None
    if start > end:
        wrong = f"the period's start {start} is after its end {end}"
    elif grain == "month" and (start != month_start(start) or end != month_end(end)):
        wrong = f"monthly documents replace whole months, not {start} to {end}"
    elif not documents["idsite"].eq_missing(idsite).all():
        wrong = f"documents of other sites than {idsite}: {sorted(map(str, documents['idsite'].unique()))[:5]}"
    elif not documents["date"].is_between(start, end).fill_null(value=False).all():
        wrong = f"documents dated outside {start} to {end}: {documents['date'].unique().sort().to_list()[:5]}"
    elif grain == "month" and (documents["date"].dt.day() != 1).any():
        wrong = "monthly documents are dated on their month's first day"
    elif not all(
        documents.select(part=getattr(pl.col("date").dt, part)())["part"].eq_missing(documents[part]).all()
        for part in ("year", "month", "day")
    ):
        wrong = "documents whose year, month and day are not those of their date"
    elif documents.select(pl.struct("date", "id").is_duplicated().any()).item():
        twice = documents.filter(pl.struct("date", "id").is_duplicated())["identifier"].head(2).to_list()
        wrong = f"two documents of one period have the same id: {twice}"
    elif documents["id"].null_count() or documents["identifier"].null_count():
        wrong = "documents without id or identifier"
    if wrong:
        msg = f"site {idsite}: {wrong}"
        raise ValueError(msg)
    return documents
