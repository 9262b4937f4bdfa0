"""Replacements that are done as one: of a site's dates that follow one another.

What belongs here: which replacements make one period, and what each of them got of its report. What does not: how a
period is replaced (`replace.py`), which of them run side by side (`index.py`).

A replacement costs a lease, two changes of aliases and a dozen requests, however few its documents. A month of a small
site is one such replacement in place of thirty.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import timedelta

import polars as pl

from usage_stats_dagster.index.interface import IndexReport, Replacement, check_replacement
from usage_stats_dagster.index.opensearch.replace import Period


@dataclass(frozen=True)
class Stretch:
    """A site's replacements, each beginning on the day after the one before, and the period that they make."""

    parts: tuple[tuple[int, Replacement], ...]
    """With the place of each among all that were asked for."""

    def period(self, coder: Executor) -> Period:
        """What the dates shall hold. Raises what `check_replacement` raises."""
        checked = [check_replacement(r.idsite, r.start, r.end, r.documents, r.grain) for _, r in self.parts]
        (_, first), (_, last) = self.parts[0], self.parts[-1]
        return Period.of(first.idsite, first.start, last.end, first.grain, pl.concat(checked), coder)

    def reports(self, changes: pl.DataFrame) -> dict[int, IndexReport]:
        """What each part got of the changes (replace.CHANGES), by place.

        A month's document that days take the place of lies before them: it is the first part's.
        """
        found = {}
        for k, (place, r) in enumerate(self.parts):
            begun = (pl.col("date") >= r.start) if k else pl.lit(True)
            mine = changes.filter(begun, pl.col("date") <= r.end).select(pl.exclude("date").sum()).row(0, named=True)
            unchanged = r.documents.height - mine["inserted"] - mine["updated"]
            found[place] = IndexReport(unchanged=unchanged, **mine)
        return found


def stretches(replacements: Sequence[Replacement]) -> list[list[Stretch]]:
    """The replacements as stretches, those of one site together, in the order of their dates."""
    sites: dict[int, list[list[tuple[int, Replacement]]]] = {}
    for place, r in sorted(enumerate(replacements), key=lambda x: (x[1].idsite, x[1].start)):
        of_site = sites.setdefault(r.idsite, [])
        before = of_site[-1][-1][1] if of_site else None
        if before is not None and before.grain == r.grain and before.end + timedelta(1) == r.start:
            of_site[-1].append((place, r))
        else:
            of_site.append([(place, r)])
    return [[Stretch(tuple(parts)) for parts in of_site] for of_site in sites.values()]
