"""Documents into one index by `_bulk`: a few requests in flight, each item tried until it is in.

What belongs here: cutting, sending, trying again, naming what failed. What does not: which documents (`replace.py`).

Sending a document twice does no harm, since its `_id` is its own: a request whose answer was lost is sent again. Items that
the server refuses for now (429, 503) are sent again by themselves; an item that it refuses for good ends the work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice

import polars as pl

from usage_stats_dagster.index.interface import DocumentIndexError
from usage_stats_dagster.index.opensearch.http import (
    AGAIN,
    IndexAnswerError,
    IndexUnreachableError,
    OpenSearchHttp,
    Parameters,
)

MOST_BYTES = 8 << 20
"""Of a request: managed services refuse more than 10 MiB."""
_WHETHER = {"filter_path": "errors"}
_WHICH = {"filter_path": "errors,items.*.status,items.*.error.type,items.*.error.reason"}
_NAMED = 5
_TOO_LARGE = 413


class RefusedItemsError(DocumentIndexError):
    """OpenSearch refused documents for good; the message names the first and why."""


@dataclass(frozen=True)
class Bulk:
    """How documents are sent: so many in a request, so many requests in flight."""

    http: OpenSearchHttp
    documents: int = 5000
    requests: int = 2

    def index(self, index: str, documents: pl.DataFrame, check: Callable[[], None] = lambda: None) -> None:
        """Put `documents` (`id`, `source`) into the index; `check` is called before each request and may raise."""
        rows = documents.select("id", "source")
        self._send(index, rows, action("index") + "\n" + pl.col("source") + "\n", check)

    def delete(self, index: str, ids: pl.Series, check: Callable[[], None] = lambda: None) -> None:
        """Delete the documents of these ids; one that isn't there is no error."""
        self._send(index, ids.to_frame("id"), action("delete") + "\n", check)

    def _send(self, index: str, rows: pl.DataFrame, line: pl.Expr, check: Callable[[], None]) -> None:
        parts = cut(rows, self.documents)
        with ThreadPoolExecutor(self.requests, thread_name_prefix="bulk") as pool:
            pending: set[Future[None]] = set()
            try:
                for part in parts:
                    check()
                    pending.add(pool.submit(self._part, index, part, line))
                    if len(pending) >= self.requests:
                        pending = _first_done(pending)
                while pending:
                    pending = _first_done(pending)
            except BaseException:
                for future in pending:
                    future.cancel()
                raise

    def _part(self, index: str, rows: pl.DataFrame, line: pl.Expr) -> None:
        left = rows.select(line=line)["line"]

        def work() -> None:
            nonlocal left
            left = self._once(index, left)
            if len(left):
                msg = f"OpenSearch at {self.http.url} is overloaded: {len(left)} documents of {index} are not in yet; run again later"
                raise IndexUnreachableError(msg)

        self.http.patiently(work)

    def _once(self, index: str, lines: pl.Series, answer: Parameters = _WHETHER) -> pl.Series:
        """Send the lines once; gives back those that were refused for now.

        To say how each item fared costs the server time: it is asked only where some were refused, by sending them again.
        """
        body = lines.str.join("").cast(pl.Binary).item()
        try:
            fared = self.http.once("POST", f"/{index}/_bulk", body, answer)
        except IndexAnswerError as e:
            if e.status != _TOO_LARGE or len(lines) == 1:
                raise
            half = len(lines) // 2
            return pl.concat([self._once(index, lines[:half]), self._once(index, lines[half:])])
        if not fared["errors"]:
            return lines.clear()
        if answer is _WHETHER:
            return self._once(index, lines, _WHICH)
        items = [next(iter(item.values())) for item in fared["items"]]
        refused = [(n, i) for n, i in enumerate(items) if "error" in i]
        final = [(n, i["error"]) for n, i in refused if i["status"] not in AGAIN]
        if final:
            raise RefusedItemsError(_named(index, lines, final))
        return lines.gather([n for n, _ in refused])


def cut(rows: pl.DataFrame, documents: int) -> Iterator[pl.DataFrame]:
    """The rows in parts of at most so many, and of at most MOST_BYTES of text unless one row alone has more."""
    ends = rows.select(pl.sum_horizontal(pl.all().str.len_bytes().cast(pl.Int64)).cum_sum()).to_series()
    start = 0
    while start < rows.height:
        before = ends[start - 1] if start else 0
        end = int(ends.search_sorted(before + MOST_BYTES, side="right"))
        end = min(max(end, start + 1), start + documents, rows.height)
        yield rows[start:end]
        start = end


def action(name: str) -> pl.Expr:
    """The line before a document of column `id`."""
    return pl.struct(pl.struct(_id="id").alias(name)).struct.json_encode()


def _first_done(pending: set[Future[None]]) -> set[Future[None]]:
    done, left = wait(pending, return_when=FIRST_COMPLETED)
    for future in done:
        future.result()
    return set(left)


def _named(index: str, lines: pl.Series, final: list[tuple[int, dict[str, str]]]) -> str:
    first = [f"{lines[n].partition(chr(10))[0]}: {e.get('type')}: {e.get('reason')}" for n, e in islice(final, _NAMED)]
    more = f" … and {len(final) - _NAMED} more" if len(final) > _NAMED else ""
    return (
        f"OpenSearch refused {len(final)} documents for {index}; readers see the state before. {'; '.join(first)}{more}"
    )
