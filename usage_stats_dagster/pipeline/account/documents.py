"""The accounting's end: metrics → documents → documents in the index, by the period of the document.

What belongs here: which days a document is of, whether index and lake are equal. What does not: the index's questions
(`index/interface.py`): one is asked a site, of whatever stands behind the protocol.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from sqlalchemy.engine import RowMapping

from usage_stats_dagster.index.interface import Selection, month_end, month_start
from usage_stats_dagster.lake.store import Manifest
from usage_stats_dagster.ledger.tables import DayStatus
from usage_stats_dagster.pipeline.account.book import Book
from usage_stats_dagster.pipeline.workspace import Workspace
from usage_stats_dagster.schemas import DOCUMENTS, METRICS, METRICS_TABLE

if TYPE_CHECKING:
    from usage_stats_dagster.pipeline.account.account import Manifests

Window = tuple[date | None, date | None]


def documents_of(
    ws: Workspace,
    book: Book,
    manifests: Manifests,
    days: Sequence[date],
    statuses: Mapping[date, RowMapping],
    window: Window,
) -> None:
    """Enters the documents of the days; a month's whole when one of its days is among them, dated its first day."""
    idsite = manifests.idsite
    periods = {
        d: m
        for d, m in manifests.fetch(DOCUMENTS, {*days, *map(month_start, days)}).items()
        if m.counts.get("grain") == "month" or d in set(days)
    }
    if periods and any(m.counts.get("grain") == "month" for m in periods.values()):
        known = {r["day"]: r for r in ws.ledger.statuses([idsite], min(periods), month_end(max(periods)))}
        statuses = {**known, **statuses}
    for first, m in periods.items():
        _sums(book, manifests, idsite, first, m)
    _index(ws, book, idsite, periods, statuses, window)


def _sums(book: Book, manifests: Manifests, idsite: int, first: date, m: Manifest) -> None:
    """The sums over the documents are those over the metrics that they were made of."""
    book.add(idsite, first, "documents", "in the lake", m.rows)
    of = {date.fromisoformat(d): content for d, content in m.inputs.items()}
    metrics = manifests.fetch(METRICS_TABLE, of)
    if {d: x.content_hash for d, x in metrics.items()} != of:
        text = "{n} documents of {days} are older than the figures that they are made of: `usage-stats run` makes them again"
        book.note(idsite, first, text, m.rows)
        return
    expected = m.counts.get("of") or {name: sum(x.counts[name] for x in metrics.values()) for name in METRICS}
    for name in METRICS:
        book.close(f"site {idsite}, {first}", f"{name} of the metrics", expected[name], f"{name} of the documents", m.counts[name])  # fmt: skip


def _index(
    ws: Workspace,
    book: Book,
    idsite: int,
    periods: Mapping[date, Manifest],
    statuses: Mapping[date, RowMapping],
    window: Window,
) -> None:
    start = min([window[0], *periods]) if window[0] is not None else None
    where = Selection(sites=(idsite,), start=start, end=window[1])
    found: dict[date, dict[str, Any]] = {r["period"]: r for r in ws.index.by_site(where, "day").iter_rows(named=True)}
    for first, m in sorted(periods.items()):
        have = found.pop(first, {"documents": 0, **dict.fromkeys(METRICS, 0)})
        book.add(idsite, first, "documents", "in the index", have["documents"])
        expected = {"documents": m.rows, **{name: m.counts[name] for name in METRICS}}
        wrong = {k: v for k, v in expected.items() if have[k] != v}
        of = [date.fromisoformat(d) for d in m.inputs]
        if wrong and not all(d in statuses and statuses[d]["status"] == DayStatus.DONE for d in of):
            book.add(idsite, first, "documents", "wait to be indexed", m.rows - have["documents"])
            book.note(idsite, first, "{n} documents of {days} wait to be indexed: `usage-stats run` does it", m.rows)
            continue
        for name, n in expected.items():
            words = ("documents in the lake", "documents in the index")
            if name != "documents":
                words = (f"{name} of the documents", f"{name} in the index")
            book.close(f"site {idsite}, {first}", words[0], n, words[1], have[name])
    for first, have in sorted(found.items()):
        if window[0] is not None and first < window[0]:
            continue  # asked for only because a month's document is dated before the days
        book.add(idsite, first, "documents", "in the index", have["documents"])
        book.close(f"site {idsite}, {first}", "documents in the lake", 0, "documents in the index", have["documents"])
