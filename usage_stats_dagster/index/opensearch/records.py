"""What each date of an index holds, document by document: kept beside the indices, so that only changes are sent.

What belongs here: records of (index, date) in the platform's state index. What does not: what follows from them (`replace.py`).

A record belongs to one physical index and is believed only while that index has the count and sums that it says. Where
there is none, or it is not believed, the ids are asked from the index and everything is sent again.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np
import orjson
import polars as pl
import zstandard

from usage_stats_dagster.index.interface import FIGURES, Grain
from usage_stats_dagster.index.opensearch.bulk import Bulk
from usage_stats_dagster.index.opensearch.http import OpenSearchHttp, Parameters

_MANY = 400
HASHES = pl.Schema({"id": pl.String, "hash": pl.Int64})


@dataclass(frozen=True)
class Record:
    """A date of an index: its grain, a hash over its documents, their number and sums (FIGURES), and their `hashes`."""

    grain: Grain
    content_hash: str
    figures: tuple[int, ...]
    packed: str = field(default="", compare=False, repr=False)

    @property
    def hashes(self) -> pl.DataFrame:
        """HASHES; none where the record was read without them."""
        ids, _, numbers = (
            zstandard.decompress(base64.b64decode(self.packed)).partition(b"\n\n") if self.packed else (b"",) * 3
        )
        if not ids:
            return pl.DataFrame(schema=HASHES)
        return pl.DataFrame({"id": ids.decode().split("\n"), "hash": np.frombuffer(numbers, "<i8")}, HASHES)


def packed(hashes: pl.DataFrame) -> str:
    """HASHES as a record keeps them."""
    ids = "\n".join(hashes["id"].to_list()).encode()
    numbers = hashes["hash"].to_numpy().astype("<i8").tobytes()
    return base64.b64encode(zstandard.compress(ids + b"\n\n" + numbers, 3)).decode()


class Records:
    """The records of a platform's indices."""

    def __init__(self, http: OpenSearchHttp, state: str) -> None:
        self._http = http
        self._state = state

    def read(self, index: str, dates: Sequence[date], *, hashes: bool = False) -> dict[date, Record]:
        """The records that there are for these dates; without their hashes unless asked for."""
        found: dict[date, Record] = {}
        step = 30 if hashes else _MANY
        for n in range(0, len(dates), step):
            ids = {_key(index, d): d for d in dates[n : n + step]}
            fields: Parameters = {} if hashes else {"_source_excludes": "hashes"}
            answer = self._http.ask("POST", f"/{self._state}/_mget", {"ids": list(ids)}, fields, missing=True)
            documents = answer["docs"] if answer else []
            found |= {ids[d["_id"]]: _record(d["_source"]) for d in documents if d.get("found")}
        return found

    def write(self, idsite: int, index: str, records: dict[date, Record], gone: Iterable[date] = ()) -> None:
        """Keep these records and forget those of the dates that are `gone`; visible at once to `read`."""
        bulk = Bulk(self._http, documents=100)
        rows = [
            (_key(index, d), orjson.dumps({"idsite": idsite, "index": index, "date": str(d), **_stored(r)}).decode())
            for d, r in records.items()
        ]
        if rows:
            bulk.index(self._state, pl.DataFrame(rows, {"id": pl.String, "source": pl.String}, orient="row"))
        ids = pl.Series([_key(index, d) for d in gone], dtype=pl.String)
        if len(ids):
            bulk.delete(self._state, ids)

    def forget(self, index: str) -> None:
        """Remove all records of an index that is gone."""
        self._http.ask("POST", f"/{self._state}/_refresh", missing=True)
        query = {"query": {"term": {"index": index}}, "size": 5000, "_source": False}
        while True:
            answer = self._http.ask("POST", f"/{self._state}/_search", query, missing=True)
            ids = [h["_id"] for h in answer["hits"]["hits"]] if answer else []
            if not ids:
                return
            Bulk(self._http).delete(self._state, pl.Series(ids))
            self._http.ask("POST", f"/{self._state}/_refresh")


def _key(index: str, day: date) -> str:
    return f"{index}/{day}"


def _stored(record: Record) -> dict[str, Any]:
    return {
        "grain": record.grain,
        "content_hash": record.content_hash,
        "figures": dict(zip(FIGURES, record.figures, strict=True)),
        "hashes": record.packed,
    }


def _record(stored: dict[str, Any]) -> Record:
    figures = tuple(stored["figures"][f] for f in FIGURES)
    return Record(stored["grain"], stored["content_hash"], figures, stored.get("hashes", ""))
