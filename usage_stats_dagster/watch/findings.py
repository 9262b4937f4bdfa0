"""What a warning is: a row of one table, whatever the rule that gave it.

What belongs here: the table and the warnings' names. What does not: any rule.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Literal, NamedTuple, get_args

import polars as pl

Kind = Literal["missing_hour", "silent_server", "day_missing_or_late", "usage_spike", "unmapped_share", "robots_share"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""The warnings, in the order in which they are told."""

FINDINGS_SCHEMA = pl.Schema(
    {
        "idsite": pl.Int32,
        "day": pl.Date,
        "warning": pl.String,
        "message": pl.String,
        "value": pl.Float64,
        "usual": pl.Float64,
    }
)


class Finding(NamedTuple):
    """One warning: `day` is a month's first day where the month is meant, `value` what is, `usual` what it is compared with."""

    idsite: int
    day: date
    warning: Kind
    message: str
    value: float | None = None
    usual: float | None = None


def table(findings: Iterable[Finding]) -> pl.DataFrame:
    """The findings as FINDINGS_SCHEMA, by day, site and kind."""
    order = {k: n for n, k in enumerate(KINDS)}
    rows = sorted(set(findings), key=lambda f: (f.day, f.idsite, order[f.warning], f.message))
    return pl.DataFrame(rows, schema=FINDINGS_SCHEMA, orient="row")
