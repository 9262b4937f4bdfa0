"""LA Referencia's four endpoints: parameters in, a report out, every error a 404 with `detail`.

What belongs here: what each parameter means and its default. What does not: which documents a source means
(`sources.py`), the answers (`reports.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response

from usage_stats_dagster.api.answer import Refused, answer
from usage_stats_dagster.api.dates import first_day, last_day
from usage_stats_dagster.api.periods import check_unit
from usage_stats_dagster.api.reports import ORDERS, by_country, by_level_and_time
from usage_stats_dagster.api.sources import Sources, UnknownSourceError, spelled
from usage_stats_dagster.index.interface import DocumentIndex, Selection
from usage_stats_dagster.settings import Settings

MOST_COUNTRIES = 10_000
_ANY = ("", "*")

Identifier = Annotated[str | None, Query(description="as indexed, or in another spelling of the same: oai:host:123/4")]
SourceName = Annotated[str, Query(description="a source's name, for identifiers whose prefix no source claims")]
SourceId = Annotated[str, Query(description="a source's name: opendoar::1329, siteid::3 or 3")]
Start = Annotated[str, Query(description="first day: 2025-01-01, 2025-01, now-1y")]
End = Annotated[str, Query(description="last day: 2025-12-31, 2025-12, now")]
Unit = Annotated[
    str | None, Query(description="a bucket a day, week, month, quarter or year; without it, one a document date")
]
Limit = Annotated[str, Query(description=f"so many countries, 1 to {MOST_COUNTRIES}")]
Order = Annotated[str | None, Query(description=f"what ranks countries: {', '.join(ORDERS)}")]


@dataclass(frozen=True)
class Reports:
    """What the endpoints work with."""

    settings: Settings
    index: DocumentIndex
    sources: Sources

    def of_item(self, identifier: str | None, source: str) -> Selection:
        """The documents of an item; Refused when nobody knows it."""
        if not identifier or not identifier.strip():
            msg = "identifier is needed"
            raise Refused(msg)
        item = spelled(identifier)
        try:
            owner = self.sources.of_identifier(item)
            if owner is None and source not in _ANY:
                owner = self.sources.named(source)
        except UnknownSourceError as e:
            msg = f"{e}, and no source has the prefix of {identifier!r}"
            raise Refused(msg) from e
        where = Selection(identifier=item, sites=self.sources.sites_of_item(owner) if owner else None)
        if owner is not None and item == identifier:
            return where
        if self._used(where):
            return where
        if item != identifier and self._used(replace(where, identifier=identifier)):
            return replace(where, identifier=identifier)  # an operator's map may give what no normalising leaves
        if owner is None:
            msg = f"no source has the prefix of {identifier!r}, and the index does not know it"
            raise Refused(msg)
        return where

    def _used(self, where: Selection) -> bool:
        return bool(self.index.totals(where)["documents"].item())

    def of_source(self, source_id: str) -> Selection:
        """The documents of a source; Refused when there is none of that name."""
        try:
            return self.sources.documents_of(self.sources.named(source_id))
        except UnknownSourceError as e:
            raise Refused(str(e)) from e

    def between(self, where: Selection, start: str, end: str) -> Selection:
        """The documents of these days only. Raises DateError."""
        now = datetime.now(self.settings.zone).replace(tzinfo=None)
        return replace(where, start=first_day("start_date", start, now), end=last_day("end_date", end, now))

    def levels(self, where: Selection, time_unit: str | None) -> Response:
        """The report by level and time: buckets of the unit asked for; else, or where the settings say so, of a day."""
        as_dated = time_unit is None or self.settings.api.buckets == "documents"
        return answer(
            by_level_and_time(self.index, where, "day" if as_dated else check_unit("time_unit", time_unit or ""))
        )

    def countries(self, where: Selection, limit: str, order: str | None) -> Response:
        """The report by country."""
        if not limit.isascii() or not limit.isdecimal() or not 1 <= int(limit) <= MOST_COUNTRIES:
            msg = f"limit {limit!r} is no number from 1 to {MOST_COUNTRIES}"
            raise Refused(msg)
        order = order or self.settings.api.countries_by
        if order not in ORDERS:
            msg = f"order {order!r} is none: there are {', '.join(ORDERS)}"
            raise Refused(msg)
        return answer(by_country(self.index, where, int(limit), order))


def router(reports: Callable[[], Reports]) -> APIRouter:
    """The endpoints `/report/…`."""
    routes = APIRouter(prefix="/report", tags=["LA Referencia"])

    @routes.get("/itemWidget")
    def item_widget(
        identifier: Identifier = None, source: SourceName = "*", start_date: Start = "now-1y", end_date: End = "now",
        time_unit: Unit = None,
    ) -> Response:  # fmt: skip
        """An item's figures by level and time."""
        r = reports()
        return r.levels(r.between(r.of_item(identifier, source), start_date, end_date), time_unit)

    @routes.get("/itemWidgetByCountry")
    def item_widget_by_country(
        identifier: Identifier = None, source: SourceName = "*", start_date: Start = "now-1y", end_date: End = "now",
        limit: Limit = "10", order: Order = None,
    ) -> Response:  # fmt: skip
        """An item's figures by the visitors' country."""
        r = reports()
        return r.countries(r.between(r.of_item(identifier, source), start_date, end_date), limit, order)

    @routes.get("/repositoryWidget")
    def repository_widget(
        source_id: SourceId = "*", start_date: Start = "now-1y", end_date: End = "now", time_unit: Unit = None
    ) -> Response:
        """A source's figures by level and time."""
        r = reports()
        return r.levels(r.between(r.of_source(source_id), start_date, end_date), time_unit)

    @routes.get("/repositoryWidgetByCountry")
    def repository_widget_by_country(
        source_id: SourceId = "*", start_date: Start = "now-1y", end_date: End = "now", limit: Limit = "10",
        order: Order = None,
    ) -> Response:  # fmt: skip
        """A source's figures by the visitors' country."""
        r = reports()
        return r.countries(r.between(r.of_source(source_id), start_date, end_date), limit, order)

    return routes
