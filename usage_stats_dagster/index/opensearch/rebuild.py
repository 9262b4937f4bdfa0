"""A site's index made anew beside the old one, from documents that come period by period.

What belongs here: filling the new index and the one step that puts it in the old one's place. What does not: where the
documents come from (`pipeline/reindexing.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import date

import polars as pl

from usage_stats_dagster.index.interface import EVERYTHING, FIGURES, DocumentIndexError, Grain, check_period
from usage_stats_dagster.index.opensearch import questions
from usage_stats_dagster.index.opensearch.lease import Lease
from usage_stats_dagster.index.opensearch.replace import Period, Writer
from usage_stats_dagster.index.opensearch.site import Seen
from usage_stats_dagster.index.opensearch.view import View


def rebuild(
    writer: Writer,
    idsite: int,
    periods: Iterable[pl.DataFrame],
    grain: Grain,
    lease: Lease,
    *,
    replace_foreign: bool = False,
) -> int:
    """Make the site's index anew of these documents; under the site's lease. Returns their number.

    Readers see the old index until the new one is whole and has the sums that were sent. With `replace_foreign` an index
    of the site's name that another program made is deleted in that step; without it, it is an error.
    """
    site = writer.site
    foreign = site.is_foreign()
    if foreign and not replace_foreign:
        raise site.foreign_error()
    before = Seen() if foreign else site.seen()
    index = site.make()
    should: dict[date, tuple[int, ...]] = {}
    with ThreadPoolExecutor(1, thread_name_prefix="coder") as coder:
        for documents in periods:
            start, end, checked = check_period(idsite, documents, grain)
            period = Period.of(idsite, start, end, grain, checked, coder)
            writer.bulk.index(index, period.documents, lease.check)
            writer.records.write(idsite, index, period.records)
            should |= {d: r.figures for d, r in period.records.items()}
    site.refresh(index)
    found = questions.figures(View(site.http, index), EVERYTHING, by="day")
    if {row[0]: row[1:] for row in found.select("period", *FIGURES).rows()} != should:
        msg = f"site {idsite}: the new index {index} has other sums than it was sent; the old one stays: say it again"
        raise DocumentIndexError(msg)
    lease.check()
    site.show(before, Seen(index), in_place_of_foreign=foreign)
    return sum(f[0] for f in should.values())
