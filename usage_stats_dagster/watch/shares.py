"""Shares that should be as they were: content without an item, and robots, against the site's own recent past.

What belongs here: the rules, over counts by day. What does not: counting (the stages; the ledger has the sums).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import date, timedelta
from statistics import median

import polars as pl

from usage_stats_dagster.watch.findings import Finding

SHARES_SCHEMA = pl.Schema({"idsite": pl.Int32, "day": pl.Date, "part": pl.Int64, "whole": pl.Int64})

LEAST_DAYS = 7
"""Fewer days before are no past to compare with."""

_NORMAL = 1.4826  # median absolute deviation to standard deviation, for the normal distribution


def robots_shares(
    robots: pl.DataFrame, asked: Collection[tuple[int, date]], *, days: int, least: int, change: float
) -> Iterator[Finding]:
    """Days whose share of robots (part) among events (whole) is `change` or more above or below the days' before."""
    for idsite, day, share, usual, spread, whole in _compared(robots, asked, days, least):
        if usual is None or abs(share - usual) < max(change, 3 * spread):
            continue
        way = "a new robot, or one that hides no longer?" if share > usual else "do robots pass for people now?"
        message = f"{share:.0%} of {whole:,} events are robots', usually {usual:.0%}: {way}"
        yield Finding(idsite, day, "robots_share", message, share, usual)


def unmapped_shares(
    unmapped: pl.DataFrame, asked: Collection[tuple[int, date]], *, days: int, least: int, most: float, rise: float
) -> Iterator[Finding]:
    """Days whose share of content without an item (part) is above `most`, or `rise` or more above the days' before."""
    for idsite, day, share, usual, spread, whole in _compared(unmapped, asked, days, least):
        if share > most:
            message = f"{share:.0%} of {whole:,} content requests have no item: `usage-stats unmapped` shows which"
        elif usual is not None and share - usual >= max(rise, 3 * spread):
            message = (
                f"{share:.0%} of {whole:,} content requests have no item, usually {usual:.0%}: "
                "did the platform's addresses change? `usage-stats unmapped` shows which"
            )
        else:
            continue
        yield Finding(idsite, day, "unmapped_share", message, share, usual)


def _compared(
    counts: pl.DataFrame, asked: Collection[tuple[int, date]], days: int, least: int
) -> Iterator[tuple[int, date, float, float | None, float, int]]:
    """Site, day, share, the median share of the `days` before (null: too few), their spread, and the whole.

    Days with fewer than `least` are neither judged nor compared with.
    """
    enough = counts.filter(pl.col("whole") >= least)
    shares = {(s, d): (part / whole, whole) for s, d, part, whole in enough.select(*SHARES_SCHEMA).iter_rows()}
    for idsite, day in sorted(asked):
        if (idsite, day) not in shares:
            continue
        before = [shares[k][0] for n in range(1, days + 1) if (k := (idsite, day - timedelta(n))) in shares]
        usual = median(before) if len(before) >= LEAST_DAYS else None
        spread = _NORMAL * median(abs(b - usual) for b in before) if usual is not None else 0.0
        yield idsite, day, shares[idsite, day][0], usual, spread, shares[idsite, day][1]
