"""The accounting of sites and days: from lines to figures. From the ledger and the manifests alone, so that a day is cheap.

What belongs here: which counts must be equal, from the logs (or the Matomo) that a day is made of to its metrics. What
does not: what was sent (`sent.py`), documents and index (`documents.py`), counting anything anew.

A sum is open when both sides are of the same things and differ. Where one side is older than the other (a log came since,
a run ended in between) the difference is a row of its own with its name: it closes when the day is made again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date

from sqlalchemy.engine import RowMapping

from usage_stats_dagster.index.interface import month_start
from usage_stats_dagster.lake.store import Manifest
from usage_stats_dagster.ledger import counts
from usage_stats_dagster.ledger.counts import DayHits
from usage_stats_dagster.ledger.tables import DayStatus
from usage_stats_dagster.pipeline.account.book import Account, Book, By
from usage_stats_dagster.pipeline.account.documents import documents_of
from usage_stats_dagster.pipeline.account.sent import sent_of, waiting_messages
from usage_stats_dagster.pipeline.workspace import Workspace
from usage_stats_dagster.schemas import DOCUMENTS, EVENTS, METRICS, METRICS_TABLE, VISITS, Table

_MADE = {DayStatus.PRETABLE: (VISITS, EVENTS), DayStatus.CALCULATED: (METRICS_TABLE, DOCUMENTS)}
"""The tables that there are once a day has reached a status."""

NO_RULE = "(by a rule that was not kept: the day was made by an older version)"


def account(
    ws: Workspace,
    *,
    sites: Sequence[int] | None = None,
    first: date | None = None,
    last: date | None = None,
    by: By = "site",
) -> Account:
    """The accounting of the sites' days (all without dates), a table by site, or by site and day."""
    book = Book(ws.settings, by)
    known = counts.sites(ws.ledger)
    for idsite in known if sites is None else sorted(set(sites) & set(known)):
        _Days(ws, book, idsite, first, last).enter()
    if ws.settings.matomo.send:
        waiting_messages(ws, book, sites)
    return book.account()


@dataclass
class Manifests:
    """A site's manifests, each read once."""

    ws: Workspace
    idsite: int
    _read: dict[tuple[str, date], Manifest | None] = field(default_factory=dict)

    def fetch(self, table: Table, days: Iterable[date]) -> dict[date, Manifest]:
        """Those that there are."""
        wanted = sorted(set(days))
        new = [d for d in wanted if (table.name, d) not in self._read]
        found = self.ws.lake.manifests(table, self.idsite, new) if new else {}
        self._read.update({(table.name, d): found.get(d) for d in new})
        return {d: m for d in wanted if (m := self._read[table.name, d]) is not None}


class _Days:
    """A site's days on their way into the book."""

    def __init__(self, ws: Workspace, book: Book, idsite: int, first: date | None, last: date | None) -> None:
        self.ws, self.book, self.idsite = ws, book, idsite
        self.first, self.last = first, last
        self.statuses: dict[date, RowMapping] = {r["day"]: r for r in ws.ledger.statuses([idsite], first, last)}
        self.manifests = Manifests(ws, idsite)
        self.damaged: set[date] = set()

    def enter(self) -> None:
        """All of it."""
        ws, book, idsite = self.ws, self.book, self.idsite
        lines = counts.lines(ws.ledger, idsite, self.first, self.last)
        hits = counts.hits(ws.ledger, idsite, self.first, self.last)
        self.lines(lines, hits)
        days = sorted({*self.statuses, *hits})
        self.stored(days)
        events = self.manifests.fetch(EVENTS, days)
        if ws.settings.matomo.imports_logs:
            sent_of(ws, book, idsite, self.first, self.last, hits)
        for day in days:
            if ws.settings.matomo.mode == "embedded":
                self.events_of_hits(day, hits.get(day, DayHits()), events.get(day))
            else:
                self.events_of_matomo(day, events.get(day))
        metrics = self.manifests.fetch(METRICS_TABLE, days)
        for day, m in events.items():
            self.events(day, m)
            if day in metrics:
                self.figures(day, m, metrics[day])
            else:
                self.wait(day, "events", "wait to be counted", m.rows)
        documents_of(ws, book, self.manifests, days, self.statuses, (self.first, self.last))

    def stored(self, days: Sequence[date]) -> None:
        """The tables that the ledger says are made lie in the lake as they were written."""
        found = {t.name: self.manifests.fetch(t, days) for t in (VISITS, EVENTS, METRICS_TABLE)}
        documents = self.manifests.fetch(DOCUMENTS, {*days, *map(month_start, days)})
        for day, row in sorted(self.statuses.items()):
            tables = {name for name, of in found.items() if day in of}
            if any(str(day) in documents[d].inputs for d in (day, month_start(day)) if d in documents):
                tables.add(DOCUMENTS.name)
            for reached, made in _MADE.items():
                if row["status"] >= reached:
                    missing = [t.name for t in made if t.name not in tables]
                    words = f"the ledger says {DayStatus(row['status']).name.lower()}, but {' and '.join(missing)} in the lake "
                    words += "are missing or not what was written: `usage-stats doctor` says what to do"
                    self.book.hold(f"site {self.idsite}, {day}", words, holds=not missing)
                    if missing:
                        self.damaged.add(day)

    def wait(self, day: date, stage: str, what: str, n: int) -> None:
        """What a day has and the next stage does not, yet; or not any more, where its tables are damaged."""
        if day in self.damaged:
            self.book.add(self.idsite, day, stage, "of days whose tables are damaged", n)
        elif n:
            self.book.add(self.idsite, day, stage, what, n)
            self.book.note(self.idsite, day, f"{{n}} {stage} of {{days}} {what}: `usage-stats status` says why", n)

    def lines(self, lines: dict[date | None, dict[str, int]], hits: dict[date, DayHits]) -> None:
        """Lines read, each under one outcome; lines whose outcome is hit are the hits stored."""
        book, idsite = self.book, self.idsite
        for day, by_outcome in lines.items():
            book.add(idsite, day, "lines", "read", sum(by_outcome.values()))
            for outcome, n in by_outcome.items():
                book.add(idsite, day, "lines", outcome, n)
            if day is not None:
                stored = hits[day].hits if day in hits else 0
                book.close(f"site {idsite}, {day}", "lines whose outcome is hit", by_outcome.get("hit", 0), "hits stored", stored)  # fmt: skip
        for name, read, counted in counts.unbalanced(self.ws.ledger, idsite):
            book.close(f"site {idsite}, log {name}", "lines read", read, "lines under an outcome", counted)

    def events_of_hits(self, day: date, hits: DayHits, events: Manifest | None) -> None:
        """Each hit is one event, of the logs that the day was made of."""
        if events is None:
            self.wait(day, "hits", "of days that are not loaded yet", hits.hits)
        elif events.inputs == hits.inputs:
            self.book.close(f"site {self.idsite}, {day}", "hits", hits.hits, "events", events.rows)
        else:
            self.wait(day, "hits", "of logs that came or changed since the day was made", hits.hits - events.rows)

    def events_of_matomo(self, day: date, events: Manifest | None) -> None:
        """Each action that Matomo counts on the day is one event."""
        row, api = self.statuses.get(day), self.ws.settings.matomo.mode == "api"
        known = (row["counts"] or {}) if row is not None else {}
        if api:  # it gives the actions, and no count of a platform's day but theirs
            if events is None:
                return
            self.book.add(self.idsite, day, "matomo", "read from the API", events.rows)
            self.book.add(self.idsite, day, "matomo", "left out by the API", events.counts.get("left_out_by_api", 0))
            visits = self.manifests.fetch(VISITS, [day]).get(day)
            if visits is not None and not visits.counts.get("checked"):
                text = "{n} visits of {days} could not be compared with Matomo's own report: its days are not the platform's"
                self.book.note(self.idsite, day, text, visits.rows)
            return
        counted = int(known.get("matomo_events", 0))
        self.book.add(self.idsite, day, "matomo", "counted by the database", counted)
        if events is None:
            self.wait(day, "matomo", "of days that are not read yet", counted)
        elif row is not None and events.inputs.get("matomo") == row["inputs_hash"]:
            where = f"site {self.idsite}, {day}"
            self.book.close(where, "actions that Matomo's database counts", counted, "events", events.rows)
        else:
            self.wait(day, "matomo", "of days that changed since they were read", counted - events.rows)

    def events(self, day: date, m: Manifest) -> None:
        """Events, human or robot; robots by the rule that says so."""
        robots, by_rule = int(m.counts["robots"]), m.counts.get("robots_by_rule")
        self.book.add(self.idsite, day, "events", "human", m.rows - robots)
        self.book.add(self.idsite, day, "events", "robot", robots)
        if by_rule is None:
            by_rule = {NO_RULE: robots} if robots else {}
        for rule, n in sorted(by_rule.items(), key=lambda item: (-item[1], item[0])):
            self.book.add(self.idsite, day, "robots", rule, n)
        self.book.close(f"site {self.idsite}, {day}", "robots", robots, "robots by rule", sum(by_rule.values()))

    def figures(self, day: date, events: Manifest, metrics: Manifest) -> None:
        """Each event is kept or dropped by one step; COUNTER's totals are what is kept."""
        where, steps = f"site {self.idsite}, {day}", self.ws.settings.rules.steps
        if metrics.inputs.get("events") != events.content_hash:
            self.wait(day, "events", "of days whose figures are older", events.rows - int(metrics.counts["events"]))
        else:
            self.book.close(where, "events", events.rows, "events counted", int(metrics.counts["events"]))
        for vocabulary, by_step in sorted(metrics.counts["steps"].items()):
            for step in (
                "kept",
                *(s for s in steps if s in by_step),
                *(s for s in by_step if s not in (*steps, "kept")),
            ):
                self.book.add(self.idsite, day, f"steps: {vocabulary}", step, by_step[step])
            total = sum(by_step.values())
            self.book.close(
                where, "events", int(metrics.counts["events"]), f"events under a step of {vocabulary}", total
            )
        for name in (*METRICS, "searches"):
            self.book.add(self.idsite, day, "figures", name, metrics.counts[name])
        counter = metrics.counts["steps"].get("counter", {})
        if "unidentified" in counter:  # without that step, kept events may be no item's and are in no figure
            used = metrics.counts["total_item_investigations"] + metrics.counts["searches"]
            self.book.close(where, "events kept", counter["kept"], "total_item_investigations and searches", used)
