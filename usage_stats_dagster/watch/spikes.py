"""A spike by COUNTER's rule (R5.1, 7.12): a month far above or far below the mean of the twelve before.

What belongs here: the rule, over a site's months. What does not: what to do about it: COUNTER asks a person to look, and
so does this.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import date

import polars as pl

from usage_stats_dagster.watch.findings import Finding

MONTHS_SCHEMA = pl.Schema(
    {"idsite": pl.Int32, "month": pl.Date, "metric": pl.String, "value": pl.Int64, "complete": pl.Boolean}
)
"""A site's month (its first day) and metric; `complete`: every day of it has figures and it is over."""


def usage_spikes(
    months: pl.DataFrame,
    asked: Collection[tuple[int, date]],
    *,
    history: int,
    least_history: int,
    factor: float,
    plus: float,
    low_share: float,
    low_mean: float,
) -> Iterator[Finding]:
    """Months asked for (site, first day) that are at least `factor` times the mean of the `history` before plus `plus`,
    or, when complete, below `low_share` of a mean of at least `low_mean`.

    The mean is over the months that there are; with fewer than `least_history` there is none.
    """
    values = {(r["idsite"], r["metric"], r["month"]): r for r in months.iter_rows(named=True)}
    metrics = months["metric"].unique(maintain_order=True).to_list()
    for idsite, month in sorted(asked):
        for metric in metrics:
            row = values.get((idsite, metric, month))
            before = [p["value"] for k in range(1, history + 1) if (p := values.get((idsite, metric, _back(month, k))))]
            if row is None or len(before) < least_history:
                continue
            value, mean = row["value"], sum(before) / len(before)
            name, of = metric.replace("_", " "), f"{len(before)} months before" if len(before) > 1 else "month before"
            if value >= factor * mean + plus:
                message = (
                    f"{month:%Y-%m} has {value:,} {name}, {value / mean:.1f} times the mean of the {of}"
                    if mean
                    else f"{month:%Y-%m} has {value:,} {name}, the {of} none"
                )
                yield Finding(idsite, month, "usage_spike", message, value, mean)
            elif row["complete"] and mean >= low_mean and value < low_share * mean:
                message = f"{month:%Y-%m} has {value:,} {name}, the {of} {mean:,.0f} in the mean"
                yield Finding(idsite, month, "usage_spike", message, value, mean)


def _back(month: date, k: int) -> date:
    n = month.year * 12 + month.month - 1 - k
    return date(n // 12, n % 12 + 1, 1)
