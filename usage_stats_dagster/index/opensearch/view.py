"""What a question sees: some indices, as they are now, or as they were when the question began.

What belongs here: searching by name or at a point in time, pages of buckets and of documents. What does not: what is
asked (`questions.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from usage_stats_dagster.index.interface import DocumentIndexError
from usage_stats_dagster.index.opensearch.http import IndexAnswerError, OpenSearchHttp

Json = dict[str, Any]

_TOLERANT = {"ignore_unavailable": "true", "allow_no_indices": "true"}
_WHOLE = {"allow_partial_search_results": "false"}
_KEEP = "5m"


@dataclass(frozen=True)
class View:
    """Indices by name; a name that isn't there has no documents. With `pinned`, their state at that point in time."""

    http: OpenSearchHttp
    names: str
    pinned: str | None = None

    def search(self, body: Json) -> Json:
        """The answer of all shards; part of them is an error, not an answer."""
        if self.pinned:
            body = {**body, "pit": {"id": self.pinned, "keep_alive": _KEEP}}
            found: Json = self.http.ask("POST", "/_search", body, _WHOLE)
        else:
            ask = partial(self.http.ask, "POST", f"/{self.names}/_search", body, {**_WHOLE, **_TOLERANT})
            found = ask()
            if not found["_shards"]["total"]:
                self.http.wait_until_recovered()
                found = ask()
        if found["timed_out"] or found["_shards"]["successful"] < found["_shards"]["total"]:
            msg = f"OpenSearch at {self.http.url} answered in part only ({found['_shards']}): try again"
            raise DocumentIndexError(msg)
        return found

    @contextmanager
    def pin(self) -> Iterator[View | None]:
        """The same at one point in time, for several requests that must fit together; None where there is no such index."""
        if self.pinned:
            yield self
            return
        try:
            path = f"/{self.names}/_search/point_in_time"
            point = self.http.ask(
                "POST", path, None, {"keep_alive": _KEEP, "allow_partial_pit_creation": "false", **_TOLERANT}
            )["pit_id"]
        except IndexAnswerError as e:
            if e.status not in (400, 404) or self.search({"size": 0})["_shards"]["total"]:
                raise
            yield None
            return
        try:
            yield View(self.http, self.names, point)
        finally:
            with suppress(DocumentIndexError):  # it ends by itself
                self.http.once("DELETE", "/_search/point_in_time", {"pit_id": [point]})

    def buckets(self, query: Json, sources: list[Json], aggregations: Json, size: int) -> Iterator[Json]:
        """All buckets of a composite aggregation, `size` a request, ordered by its sources."""
        composite: Json = {"size": size, "sources": sources}
        while True:
            body = {"size": 0, "query": query, "aggs": {"all": {"composite": composite, "aggs": aggregations}}}
            answer = self.search(body).get("aggregations")
            if not answer:
                return
            found = answer["all"]["buckets"]
            yield from found
            if len(found) < size:
                return
            composite = {**composite, "after": answer["all"]["after_key"]}

    def documents(self, query: Json, sort: list[str], size: int, **fields: Any) -> Iterator[Json]:  # noqa: ANN401
        """All hits in the order of `sort`, which must tell any two apart."""
        body: Json = {
            "size": size,
            "query": query,
            "sort": [{s: "asc"} for s in sort],
            "track_total_hits": False,
            **fields,
        }
        while True:
            found = self.search(body)["hits"]["hits"]
            yield from found
            if len(found) < size:
                return
            body = {**body, "search_after": found[-1]["sort"]}
