"""The accounting of what was sent to a Matomo: hits = sent + kept back; sent = stored + refused + dropped.

What belongs here: the ledger's counts of sending beside the day's hits. What does not: asking Matomo (`pipeline/sending.py`
asks after each sending, and the answer is in the ledger).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from usage_stats_dagster.ledger import counts
from usage_stats_dagster.ledger.counts import DayHits
from usage_stats_dagster.matomo.positions import Positions
from usage_stats_dagster.pipeline.account.book import Book
from usage_stats_dagster.pipeline.workspace import Workspace


def sent_of(
    ws: Workspace, book: Book, idsite: int, first: date | None, last: date | None, hits: Mapping[date, DayHits]
) -> None:
    """Enters the site's days of which anything was sent, and where sending is on those whose hits wait."""
    positions = Positions(ws.ledger)
    days = {d["day"]: d for d in positions.days(idsite)}
    days = {d: r for d, r in days.items() if (first is None or d >= first) and (last is None or d <= last)}
    todo = sorted({*days, *(hits if ws.settings.matomo.send else ())})
    begun = counts.sources_sent(ws.ledger, idsite) if todo else set()
    for day in todo:
        by_log = hits[day].by_log if day in hits else {}
        waiting = sum(n for log, n in by_log.items() if f"{day}/{log}" not in begun)
        row = days.get(day, {"sent": 0, "refused": 0, "kept_back": 0, "stored": None, "twice": None})
        changed = sum(by_log.values()) - waiting - row["sent"] - row["kept_back"]
        rows = {"sent": row["sent"], "kept back": row["kept_back"], "wait to be sent": waiting}
        rows["of logs that changed since they were sent"] = changed
        if row["stored"] is not None:
            rows |= {"stored": row["stored"], "refused": row["refused"]}
            rows["dropped"] = row["sent"] - row["refused"] - row["stored"]
        for what, n in rows.items():
            if n or what in ("sent", "kept back", "stored"):
                book.add(idsite, day, "matomo", what, n)
        _say(book, idsite, day, waiting, changed, row)


def _say(book: Book, idsite: int, day: date, waiting: int, changed: int, row: Mapping[str, int | None]) -> None:
    if waiting:
        book.note(idsite, day, "{n} hits of {days} wait to be sent to Matomo", waiting)
    if changed:
        text = "{n} hits of {days} differ from what was sent: a log grew and waits to be sent, or rules gave it other hits since"
        book.note(idsite, day, text, changed)
    sent, stored = int(row["sent"] or 0), row["stored"]
    if sent and stored is None:
        book.note(idsite, day, "{n} hits of {days} were sent, and Matomo was not asked yet what it stored", sent)
    elif stored is not None and stored > sent:
        text = "Matomo has {n} actions more of {days} than were sent: somebody else writes to this site too"
        book.note(idsite, day, text, stored - sent)
    if row["twice"] is not None:
        book.close(f"site {idsite}, {day}", "hits that Matomo has twice", int(row["twice"]), "none", 0)


def waiting_messages(ws: Workspace, book: Book, sites: Sequence[int] | None) -> None:
    """Says which sites' sending waits, and why."""
    for idsite, message in sorted(Positions(ws.ledger).messages().items()):
        if sites is None or idsite in sites:
            book.say(f"site {idsite}: sending to Matomo waits: {message}")
