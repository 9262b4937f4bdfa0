"""What a period of the embedded index shall hold, and what it holds: only what differs is written.

What belongs here: comparing, by the records that the index keeps of its dates and by the documents' own number and sums.
What does not: writing (`embedded.py`).
"""

from __future__ import annotations

import sqlite3

import polars as pl

from usage_stats_dagster.index import questions
from usage_stats_dagster.index.interface import Replacement, month_start
from usage_stats_dagster.index.source import content_hashes
from usage_stats_dagster.schemas import METRICS

NOT_BELIEVED = ""
"""In place of a content hash that the documents of a date belie."""


class Wanted:
    """What a site's period shall hold: documents (`hash` among their columns), and grain and content hash by date."""

    def __init__(self, r: Replacement, new: pl.DataFrame) -> None:
        self.idsite, self.new = r.idsite, new
        hashes = {questions.as_number(d): h for d, h in content_hashes(new).items()}
        self.periods = {n: (str(r.grain), h) for n, h in hashes.items()}
        sums = new.group_by("date").agg(pl.len(), pl.col(METRICS).sum())
        self._figures = {questions.as_number(row[0]): row[1:] for row in sums.iter_rows()}
        # A month's document lies on the month's first day, before a period that starts within the month.
        first = questions.as_number(month_start(r.start))
        self._span = (r.idsite, first, questions.as_number(r.end), questions.as_number(r.start))

    def present(self, db: sqlite3.Connection) -> dict[int, tuple[str, str]]:
        """Grain and content hash of the site's dates from start to end, and of monthly ones from the month's first day on.

        No hash where the documents of a date are not as many, or have other sums, than it stands for: someone changed them.
        """
        rows = db.execute(
            "SELECT date, grain, content_hash FROM periods WHERE idsite = ? AND date BETWEEN ? AND ? AND (date >= ? OR grain = 'month')",
            self._span,
        )
        found = {number: (grain, content_hash) for number, grain, content_hash in rows}
        sums = ", ".join(f"ifnull(sum({m}), 0)" for m in METRICS)
        counted = db.execute(
            f"SELECT date, count(*), {sums} FROM documents WHERE idsite = ? AND date BETWEEN ? AND ? GROUP BY date",  # noqa: S608
            self._span[:3],
        )
        figures = {number: tuple(have) for number, *have in counted}
        for number, record in found.items():
            if record == self.periods.get(number) and figures.get(number) != self._figures[number]:
                found[number] = (record[0], NOT_BELIEVED)
        return found
