"""Which hits make one visit, and what a visit is called.

What belongs here: where a visit begins, its number and its id. What does not: what is stored of it (`visits.py`,
`events.py`), what a referrer or a campaign is (`prepare.py`).

Matomo's rules, as whole columns over one site's day. A hit opens a visit when
- it is the visitor's first of the day (a visit ends at midnight), or
- the hit before is `visit_seconds` ago or more, in whole seconds (1,799 s same, 1,800 s new), or
- its campaign is not the one that the visit came by, and the visit did not come directly, or
- the visit has 10,000 actions.
"""

from __future__ import annotations

from datetime import date

import narwhals as nw

from usage_stats_dagster import engine
from usage_stats_dagster.engine import Frame

BY = "visitor"
ORDER = ("t", "tie", "idlink_va")
"""The order of a visitor's hits: `tie` comes from content, so that splitting a log in two moves nothing."""

MAX_ACTIONS = 10_000
DIRECT = 1
CAMPAIGN = 6

_EPOCH = date(1970, 1, 1)
_DAY_STEP = 2**44 + 21
_NO_CAMPAIGN = ""

c = nw.col


def day_offset(day: date) -> int:
    """What the day adds to a visit's id: 0 on 1970-01-01, below 2**61 until 2328."""
    return (day - _EPOCH).days * _DAY_STEP


def sessions(
    hits: Frame,
    day: date | None,
    *,
    visit_seconds: int = 1800,
    max_actions: int = MAX_ACTIONS,
    in_order: bool = False,
    by: str = BY,
) -> Frame:
    """The hits of one site and day, each with the visit it belongs to.

    Of several site-days: `day` is None, each hit has its day's `day_offset`, and `by` names a column that tells visitors of
    different site-days apart.

    Takes `visitor`, `t` (ms), `tie`, `idlink_va`, `ref_type` and `campaign` (null but for `ref_type` 6); other columns
    stay. Adds `second` (epoch), `opens` (Int64, 1 on a visit's first hit), `spent` (Int64, seconds since the visit's
    hit before, 0 on its first) and `idvisit`. On Polars, rows come out sorted by visitor and ORDER; `in_order` says that
    they come so.

    `idvisit` = visitor + number of the visit in the visitor's day + days since 1970 × (2**44 + 21). The visitor has 60
    bits, the number fewer than 45 and the day's part stays below 2**61 up to 2328, so the sum is below 2**62: no engine
    overflows. One visitor's ids can't meet, as a day's step is larger than any number of visits. Two visitors' ids meet
    only if their hashes, of 60 random bits, differ by exactly that little: with 10 million visits stored, the odds that
    it happens at all are 1 in 20,000.

    Past 10,000 actions the new visit still knows the campaign that the one before came by.
    """
    hits = hits.with_columns(second=c("t") // 1000, one=_int(1))
    hits = hits if in_order else engine.ordered(hits, by, ORDER)
    hits = engine.previous(hits, by, ORDER, before="second")
    near = (c("second") - c("before")) < visit_seconds
    hits = hits.with_columns(opens=nw.when(near).then(_int(0)).otherwise(_int(1)))
    hits = _with_campaigns(hits, by)
    hits = _with_cap(hits, max_actions, by)
    hits = engine.running_sum(hits, by, ORDER, number="opens")
    spent = nw.when(c("opens") == 0).then(c("second") - c("before")).otherwise(_int(0))
    offset = c("day_offset") if day is None else _int(day_offset(day))
    idvisit = c("visitor") + c("number") + offset
    return hits.with_columns(spent=spent, idvisit=idvisit).drop("one", "before", "number")


def _with_campaigns(hits: Frame, by: str) -> Frame:
    """`opens` also on a hit whose campaign is not the one carried.

    What a visit came by: its first referrer that is not direct, and after that each campaign. It comes to the same as
    Matomo's hit by hit, where a campaign either is the visit's already or opens a visit that has it. So a hit with a
    campaign opens a visit if the last campaign before it in the stretch is another, or if there was none but a
    search engine, a website or a network.
    """
    campaign, opens = c("campaign"), c("opens") == 1
    hits = hits.with_columns(
        came=nw.when(campaign.is_null() & opens).then(nw.lit(_NO_CAMPAIGN)).otherwise(campaign),
        led=nw.when(c("ref_type") != DIRECT).then(_int(1)).when(opens).then(_int(0)),
    )
    hits = engine.carried(hits, by, ORDER, came="came", led="led")
    hits = engine.previous(hits, by, ORDER, came="came", led="led")
    other = ((c("came") == _NO_CAMPAIGN) & (c("led") == 1)) | ((c("came") != _NO_CAMPAIGN) & (c("came") != campaign))
    opened = nw.when(other & ~campaign.is_null()).then(_int(1)).otherwise(c("opens"))
    return hits.with_columns(opens=opened).drop("came", "led")


def _with_cap(hits: Frame, max_actions: int, by: str) -> Frame:
    """`opens` also on every `max_actions`-th hit after a visit's first."""
    hits = engine.running_sum(hits, by, ORDER, place="one")
    hits = hits.with_columns(start=nw.when(c("opens") == 1).then(c("place")))
    hits = engine.carried(hits, by, ORDER, start="start")
    full = (c("place") - c("start")) % max_actions == 0
    return hits.with_columns(opens=nw.when(full).then(_int(1)).otherwise(c("opens"))).drop("place", "start")


def _int(value: int) -> nw.Expr:
    """An Int64: engines take a bare number for what they like."""
    return nw.lit(value, nw.Int64)
