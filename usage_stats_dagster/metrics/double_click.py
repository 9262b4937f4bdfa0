"""Double clicks: which events are the earlier one of a pair.

What belongs here: the rule (COUNTER R5.1 7.2). What does not: which events take part and what happens to those found
(`steps.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import narwhals as nw

from usage_stats_dagster.engine import Frame

USER_AND_URL = ("idvisitor", "action_url", "action_type")

ORDER = ("server_time", "above", "http_method", "idlink_va")

c = nw.col


def followed(events: Frame, seconds: int, keys: Sequence[str] = ()) -> Frame:
    """`idlink_va` of the events whose user's next event on the same URL comes at most so many seconds later.

    A chain of clicks collapses to its last, however long it is; clicks of one moment to the one of the lowest status, then of the
    last method: by content, so that splitting a log moves nothing. Neither hour
    nor day is in the key, so clicks across midnight are one as long as the frame holds the next day's first seconds.
    The key is the URL and not the item: HTML and then PDF are two requests. `idlink_va` tells apart what is equal in all
    this. `keys`: columns that tell site-days apart where the frame holds several; they stay.
    """
    user_and_url = (*keys, *USER_AND_URL)
    # Few events share user and URL with another: ordering only those is four times faster than ordering all.
    several = (
        events.select("idlink_va", "server_time", "http_status", c("http_method").fill_null(""), *user_and_url)
        .with_columns(clicks=nw.len().over(*user_and_url), above=-c("http_status").cast(nw.Int32).fill_null(0))
        .filter(c("clicks") > 1)
    )
    following = c("server_time").shift(-1).over(*user_and_url, order_by=ORDER)
    soon = several.with_columns(following=following).filter(
        (c("following") - c("server_time")) <= timedelta(seconds=seconds)
    )
    return soon.select(*keys, "idlink_va")
