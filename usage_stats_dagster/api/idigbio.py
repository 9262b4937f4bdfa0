"""iDigBio's `summary/stats` endpoints over our collections: their parameters, their JSON, their errors.

What belongs here: names and shapes of iDigBio's search API. What does not: the figures (`collections.py`).

What the figures mean here: `viewed_records` are views of items' pages, `download` and `download_count` are downloads (one
item each), and nothing is known of what searches showed: `seen`, `search`, `search_count` and `viewed_media` are 0.
`api` and `digest` give how many items were in use by then (`records`) and how many had a file asked for (`mediarecords`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import orjson
import polars as pl
from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from usage_stats_dagster.api.answer import answer
from usage_stats_dagster.api.collections import ItemSet, figures, sizes
from usage_stats_dagster.api.dates import first_day, last_day
from usage_stats_dagster.api.periods import buckets_between, check_unit
from usage_stats_dagster.index.interface import DocumentIndex
from usage_stats_dagster.settings import Settings

_MOST_BYTES = 1 << 16
_TRUE = ("true", "yes", "1")
_NONE = pl.lit(0, dtype=pl.Int64)

_VIEWS_AND_DOWNLOADS = {
    "counter": (pl.col("total_item_investigations") - pl.col("total_item_requests"), pl.col("total_item_requests")),
    "lareferencia": (pl.col("views"), pl.col("downloads")),
}
_USAGE = ("seen", "search", "download", "viewed_records", "viewed_media", "search_count", "download_count")
_SIZE = ("records", "mediarecords")


class BadRequestError(ValueError):
    """The request can't be answered; goes out as iDigBio's error 400."""


@dataclass(frozen=True)
class Summary:
    """What the endpoints work with."""

    settings: Settings
    index: DocumentIndex
    collections: tuple[ItemSet, ...]

    def stats(self, kind: str, parameters: Mapping[str, object]) -> Response:
        """The answer to `/v2/summary/stats/{kind}`. Raises BadRequestError, DateError, UnitError."""
        if kind not in ("search", "fields", "api", "digest"):
            msg = "Bad Type"
            raise BadRequestError(msg)
        now = datetime.now(self.settings.zone).replace(tzinfo=None)
        unit = check_unit("dateInterval", str(_asked(parameters, "dateInterval", "year")))
        start = first_day("minDate", str(_asked(parameters, "minDate", "2014-01-01")), now)
        end = last_day("maxDate", str(_asked(parameters, "maxDate", "now")), now)
        recordset = _asked(parameters, "recordset", None)
        chosen = tuple(c for c in self.collections if recordset is None or c.id == recordset)
        rows = (
            self._usage(chosen, unit, start, end)
            if kind in ("search", "fields")
            else self._sizes(chosen, unit, start, end)
        )
        if str(_asked(parameters, "inverted", default=False)).lower() in _TRUE:
            return answer({"recordsets": _inverted(rows, unit)})
        return answer({"dates": _nested(rows, "period", "collection")})

    @property
    def _shift(self) -> int:
        return self.settings.api.summary_offset_days

    def _usage(self, collections: Sequence[ItemSet], unit: str, start: date, end: date) -> pl.DataFrame:
        back = timedelta(self._shift)
        found = figures(self.index, collections, unit, start - back, end - back, self._shift)
        views, downloads = _VIEWS_AND_DOWNLOADS[self.settings.api.summary_figures]
        known = {"viewed_records": views, "download": downloads, "download_count": downloads}
        return found.select("collection", "period", **{name: known.get(name, _NONE) for name in _USAGE})

    def _sizes(self, collections: Sequence[ItemSet], unit: str, start: date, end: date) -> pl.DataFrame:
        """The sizes at the end of every bucket from start to end that lies within the collection's time."""
        end = min(end, self.settings.today())
        found = sizes(self.index, collections, unit, end - timedelta(self._shift), self._shift)
        columns = ("collection", "period", *_SIZE)
        found = found.select("collection", "period", records="items", mediarecords="items_requested")
        if found.is_empty() or start > end:
            return found.clear()
        buckets = pl.DataFrame({"period": buckets_between(start, end, unit)})
        every = found.select(pl.col("collection").unique()).join(buckets, how="cross").sort("period")
        known = every.join_asof(found.sort("period"), on="period", by="collection", check_sortedness=False)
        return known.drop_nulls("records").select(columns).sort("period", "collection")


def _asked(parameters: Mapping[str, object], name: str, default: object) -> object:
    """The parameter in camelCase, else in snake_case, else the default."""
    snake = re.sub(r"(?<=[a-z])([A-Z])", r"_\1", name).lower()
    return next((parameters[n] for n in (name, snake) if parameters.get(n) is not None), default)


def _nested(rows: pl.DataFrame, outer: str, inner: str) -> dict[str, dict[str, dict[str, int]]]:
    """`{outer: {inner: figures}}`, in the order of the rows."""
    found: dict[str, dict[str, dict[str, int]]] = {}
    for row in rows.iter_rows(named=True):
        figures = {k: v for k, v in row.items() if k not in (outer, inner)}
        found.setdefault(str(row[outer]), {})[str(row[inner])] = figures
    return found


def _inverted(rows: pl.DataFrame, unit: str) -> dict[str, dict[str, dict[str, int]]]:
    """By collection, then date; buckets without documents between others are zeros, as a date histogram has them."""
    found = {}
    zeros = dict.fromkeys((c for c in rows.columns if c not in ("collection", "period")), 0)
    for collection, dates in _nested(rows.sort("collection", "period"), "collection", "period").items():
        first, last = (date.fromisoformat(d) for d in (min(dates), max(dates)))
        found[collection] = {str(d): dates.get(str(d), zeros) for d in buckets_between(first, last, unit)}
    return found


def router(summary: Callable[[], Summary]) -> APIRouter:
    """The endpoint `/v2/summary/stats/{kind}`, by GET and POST."""
    routes = APIRouter(prefix="/v2/summary", tags=["iDigBio"])

    @routes.get("/stats/{kind}")
    @routes.post("/stats/{kind}")
    async def stats(kind: str, request: Request) -> Response:
        """Figures of collections by date: usage (`search`, `fields`) or how many items were in use (`api`, `digest`).

        Parameters by query, or as a JSON object in the body, which goes first: recordset, minDate, maxDate, dateInterval,
        inverted.
        """
        given = {**request.query_params, **await _body(request)}
        return await run_in_threadpool(lambda: summary().stats(kind, given))

    return routes


async def _body(request: Request) -> dict[str, Any]:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST_BYTES:
            msg = f"the body has more than {_MOST_BYTES} bytes"
            raise BadRequestError(msg)
    if not body.strip():
        return {}
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as e:
        msg = f"the body is no JSON: {e}"
        raise BadRequestError(msg) from e
    if not isinstance(parsed, dict):
        msg = "the body is no JSON object"
        raise BadRequestError(msg)
    return parsed
