"""The questions of a DocumentIndex, as OpenSearch's aggregations.

What belongs here: from a Selection to a query, from buckets to a frame. What does not: requests (`view.py`).

Answers are exact: where OpenSearch would approximate (a top list over several shards), everything is asked and ranked here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import orjson
import polars as pl

from usage_stats_dagster.index.interface import FIGURES, KEYS, Granularity, Selection, check_metric
from usage_stats_dagster.index.opensearch.view import Json, View
from usage_stats_dagster.schemas import METRICS

PAGE = 10_000
"""Buckets of figures asked at a time; OpenSearch makes at most 65,535 an answer."""
_PERIODS, _ITEMS = 200, 200  # so many buckets with a bucket a country in each
_COUNTRIES = 5000
_DOCUMENTS = 2000  # asked at a time
_TERMS = 10_000  # identifiers named in a query
_TOP = 30_000  # buckets of a top list: sites times limit
_FIELD = {"idsite": "idsite", "level": "level", "identifier": "identifier.keyword"}
_SUMS: Json = {m: {"sum": {"field": m}} for m in METRICS}
_UNKNOWN = "xx"
_MILLISECONDS_A_DAY = 86_400_000


def query_of(where: Selection) -> Json:
    """The documents selected."""
    exact = {
        "identifier.keyword": where.identifier,
        "identifier_prefix": where.identifier_prefix,
        "level": where.level,
        "country": where.country,
    }
    filters: list[Json] = [{"term": {f: v}} for f, v in exact.items() if v is not None]
    if where.sites is not None:
        filters.append({"terms": {"idsite": list(where.sites)}})
    ends = {"gte": where.start, "lte": where.end}
    if any(ends.values()):
        filters.append({"range": {"date": {k: str(v) for k, v in ends.items() if v is not None}}})
    return {"bool": {"filter": filters}}


def figures(view: View, where: Selection, key: str | None = None, by: Granularity | None = None) -> pl.DataFrame:
    """Sums over documents by `key` (idsite or level) and period, ordered by these; one row without either."""
    keys = _keys(by, *([key] if key else []))
    if not keys:
        body = {"size": 0, "track_total_hits": True, "query": query_of(where), "aggs": _SUMS}
        found = view.search(body)
        sums = found.get("aggregations") or {m: {"value": 0} for m in METRICS}
        return _frame([{"doc_count": found["hits"]["total"]["value"], **sums}], keys)
    buckets = list(_first(view.buckets(query_of(where), _sources(keys, by), _SUMS, PAGE), PAGE))
    if len(buckets) == PAGE:  # more than one request: they must see the same
        with _pinned(view) as fixed:
            buckets = list(fixed.buckets(query_of(where), _sources(keys, by), _SUMS, PAGE))
    return _frame(buckets, keys)


def top_countries(view: View, where: Selection, by: Granularity | None, metric: str, limit: int | None) -> pl.DataFrame:
    """Sums over the nested figures of the countries ranked first, ordered by period, then rank."""
    check_metric(metric)
    _check_limit(limit)
    keys = _keys(by, "country")
    with view.pin() as fixed:
        if fixed is None:
            return _frame([], keys)
        answer = fixed.search({"size": 0, "query": query_of(where), "aggs": _by_country()})["aggregations"]
        total = _countries([answer], {})
        ranked = total.sort(metric, "country", descending=[True, False]).head(_head(limit)).with_row_index("place")
        if by is None:
            return ranked.select(*keys, *FIGURES)
        buckets = fixed.buckets(query_of(where), _sources(["period"], by), _by_country(), _PERIODS)
        found = _countries(buckets, {"period": pl.Date})
        places = ranked.select("country", "place")
        return found.join(places, on="country").sort("period", "place").select(*keys, *FIGURES)


def top_items(
    view: View, where: Selection, by: Granularity | None, metric: str, limit: int | None, *, countries: bool
) -> pl.DataFrame:
    """Sums over the documents of the items ranked first; an item's rows by period, then most of the metric."""
    check_metric(metric)
    _check_limit(limit)
    keys = _keys(by, "idsite", "identifier", *(["country"] if countries else []))
    with view.pin() as fixed:
        if fixed is None or limit == 0:
            return _frame([], keys)
        ranked = _ranked(fixed, where, metric, limit).with_row_index("place")
        query = query_of(where)
        if limit is not None and 0 < ranked.height <= _TERMS:
            query["bool"]["filter"].append({"terms": {"identifier.keyword": ranked["identifier"].unique().to_list()}})
        grouped = [k for k in keys if k != "country"]
        if countries:
            types = {k: KEYS[k] for k in grouped}
            found = _countries(fixed.buckets(query, _sources(grouped, by), _by_country(), _ITEMS), types)
        else:
            found = _frame(fixed.buckets(query, _sources(grouped, by), _SUMS, PAGE), grouped)
    found = found.join(ranked.select("idsite", "identifier", "place"), on=["idsite", "identifier"])
    order = ["place", *(["period"] if by else []), *([metric, "country"] if countries else [])]
    return found.sort(order, descending=[c == metric for c in order]).select(*keys, *FIGURES)


def identifiers(view: View) -> pl.Series:
    """Every identifier once."""
    with view.pin() as fixed:
        buckets = fixed.buckets({"match_all": {}}, _sources(["identifier"], None), {}, PAGE) if fixed else iter(())
        found = [b["key"]["identifier"] for b in buckets]
    return pl.Series("identifier", found, pl.String).drop_nulls()


def sources(view: View, where: Selection) -> pl.DataFrame:
    """`idsite`, `date`, `id`, `source`: each document's JSON as it was sent."""
    with view.pin() as fixed:
        hits = fixed.documents(query_of(where), ["idsite", "date", "id"], _DOCUMENTS) if fixed else iter(())
        rows = [(*h["sort"][:3], orjson.dumps(h["_source"]).decode()) for h in hits]
    schema = {"idsite": pl.Int32, "date": pl.Int64, "id": pl.String, "source": pl.String}
    return pl.DataFrame(rows, schema, orient="row").with_columns(_date("date"))


def ids(view: View, where: Selection) -> pl.DataFrame:
    """`date`, `id` of the documents selected."""
    with view.pin() as fixed:
        hits = fixed.documents(query_of(where), ["date", "id"], 10_000, _source=False) if fixed else iter(())
        rows = [h["sort"][:2] for h in hits]
    return pl.DataFrame(rows, {"date": pl.Int64, "id": pl.String}, orient="row").with_columns(_date("date"))


def _ranked(view: View, where: Selection, metric: str, limit: int | None) -> pl.DataFrame:
    """`idsite`, `identifier`, the metric: the first `limit` items."""
    found = _top(view, where, metric, limit) if limit is not None else None
    if found is None:
        buckets = view.buckets(query_of(where), _sources(["idsite", "identifier"], None), {metric: _SUMS[metric]}, PAGE)
        rows = [(b["key"]["idsite"], b["key"]["identifier"], b[metric]["value"]) for b in buckets]
        found = _items(rows, metric)
    return found.sort(metric, "identifier", "idsite", descending=[True, False, False]).head(_head(limit))


def _top(view: View, where: Selection, metric: str, limit: int) -> pl.DataFrame | None:
    """The first `limit` items of each site; None where OpenSearch would approximate, or make too many buckets.

    A site's top list is exact as long as all its documents are in one shard. They are not while a day is replaced.
    """
    where_they_lie = {
        "terms": {"field": "idsite", "size": PAGE},
        "aggs": {"indices": {"cardinality": {"field": "_index"}}},
    }
    found = view.search({"size": 0, "query": query_of(where), "aggs": {"sites": where_they_lie}})
    sites = found["aggregations"]["sites"]["buckets"] if "aggregations" in found else []
    if len(sites) * limit > _TOP or any(s["indices"]["value"] > 1 for s in sites):
        return None
    order: list[Json] = [{metric: "desc"}, {"_key": "asc"}]
    top = {"terms": {"field": _FIELD["identifier"], "size": limit, "order": order}, "aggs": {metric: _SUMS[metric]}}
    by_site = {"terms": {"field": "idsite", "size": max(1, len(sites))}, "aggs": {"items": top}}
    answer = view.search({"size": 0, "query": query_of(where), "aggs": {"sites": by_site}}).get("aggregations")
    buckets = answer["sites"]["buckets"] if answer else []
    return _items([(s["key"], i["key"], i[metric]["value"]) for s in buckets for i in s["items"]["buckets"]], metric)


def _items(rows: list[tuple[Any, ...]], metric: str) -> pl.DataFrame:
    schema = {"idsite": pl.Int32, "identifier": pl.String, metric: pl.Float64}
    return pl.DataFrame(rows, schema, orient="row").drop_nulls("identifier")


def _by_country() -> Json:
    """The nested figures by country; `items` counts documents, since a country may stand twice in one (null and xx)."""
    nested = {m: {"sum": {"field": f"stats_by_country.{m}"}} for m in METRICS}
    terms = {"field": "stats_by_country.country", "missing": _UNKNOWN, "size": _COUNTRIES}
    each = {"terms": terms, "aggs": {**nested, "items": {"reverse_nested": {}}}}
    return {"nested": {"nested": {"path": "stats_by_country"}, "aggs": {"countries": each}}}


def _countries(buckets: Iterable[Json], keys: Mapping[str, Any]) -> pl.DataFrame:
    """Keys of the buckets, `country`, FIGURES."""
    rows = [
        {
            **b.get("key", {}),
            "country": c["key"],
            "documents": c["items"]["doc_count"],
            **{m: c[m]["value"] for m in METRICS},
        }
        for b in buckets
        for c in b["nested"]["countries"]["buckets"]
    ]
    return _typed(rows, [*keys, "country"])


def _frame(buckets: Iterable[Json], keys: list[str]) -> pl.DataFrame:
    rows = [{**b.get("key", {}), "documents": b["doc_count"], **{m: b[m]["value"] for m in METRICS}} for b in buckets]
    return _typed(rows, keys)


def _typed(rows: list[Json], keys: list[str]) -> pl.DataFrame:
    raw = (
        {k: pl.Int64 if KEYS[k] is pl.Date else KEYS[k] for k in keys}
        | {"documents": pl.Int64}
        | dict.fromkeys(METRICS, pl.Float64)
    )
    frame = pl.DataFrame(rows, raw)
    if "period" in keys:
        frame = frame.with_columns(_date("period"))
    return frame.cast(dict.fromkeys(METRICS, pl.Int64))


def _keys(by: Granularity | None, *keys: str) -> list[str]:
    if by is not None and by not in ("day", "month", "year"):
        msg = f"no granularity {by!r}; there are day, month, year"
        raise ValueError(msg)
    return [k for k in KEYS if k in keys or (k == "period" and by)]


def _sources(keys: list[str], by: Granularity | None) -> list[Json]:
    period = {"date_histogram": {"field": "date", "calendar_interval": by}}
    return [{k: period if k == "period" else {"terms": {"field": _FIELD[k], "missing_bucket": True}}} for k in keys]


def _date(column: str) -> pl.Expr:
    return (pl.col(column) // _MILLISECONDS_A_DAY).cast(pl.Int32).cast(pl.Date)


def _check_limit(limit: int | None) -> None:
    if limit is not None and limit < 0:
        msg = f"a limit can't be negative: {limit}"
        raise ValueError(msg)


def _head(limit: int | None) -> int:
    return 2**31 if limit is None else limit


def _first(buckets: Iterator[Json], count: int) -> Iterator[Json]:
    for n, bucket in enumerate(buckets, 1):
        yield bucket
        if n == count:
            return


@contextmanager
def _pinned(view: View) -> Iterator[View]:
    with view.pin() as fixed:
        yield fixed or view
