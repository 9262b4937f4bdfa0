"""Events and visits of the lake as rows of the mirror's table.

What belongs here: which column comes from what, the place of an action in its visit, the time spent on a page. What
does not: the words of codes (`names.py`), reading the lake (`day.py`), writing to PostgreSQL (`load.py`).

What Matomo's Live API says (Matomo 5, `Live.getLastVisitsDetails`) and SocialGouv's program makes of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from usage_stats_dagster.mirror.names import (
    ACTION_TITLES,
    ACTION_TYPES,
    REFERRER_TYPES,
    URL_PREFIXES,
    country_name,
    system_name,
    word,
)
from usage_stats_dagster.mirror.table import COLUMNS
from usage_stats_dagster.schemas import UTC_TIME

PAGE, SEARCH = 1, 8
CUSTOM_VARIABLES = range(1, 10)
DIMENSIONS = range(1, 11)
NUL = "\x00"
REPLACEMENT = "\ufffd"
"""Stands where a text has a NUL, which PostgreSQL can't store."""

LONG_REST = 10
"""Seconds: Matomo takes what is left of a visit after its last page view for the time on it only if it is longer."""

ENTITIES = {"&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&#039;": "'"}
"""What Matomo stores escaped, and its API gives back as it was."""

NEIGHBOUR_SCHEMA = pl.Schema({"idvisit": pl.Int64(), "before": pl.Int64(), "next_page": UTC_TIME})
"""What a visit has on other days: actions on earlier ones, its first page view on a later one."""

_POSTGRES: dict[str, pl.DataType] = {"timestamptz": UTC_TIME, "date": pl.Date(), "numeric": pl.Int64()}
SCHEMA = pl.Schema({c: _POSTGRES.get(t, pl.String()) for c, t in COLUMNS.items()})
"""The rows' columns and types: text, json and jsonb are String."""

_id = pl.col("idvisit").cast(pl.String)


def rows(events: pl.DataFrame, visits: pl.DataFrame, neighbours: pl.DataFrame, sitename: str) -> pl.DataFrame:
    """The mirror's rows of whole visits' events of one site and day: SCHEMA plus `robot`, by visit and time.

    `events` and `visits` are the lake's tables, with custom variables and dimensions as present; `neighbours` has one
    row a visit that has actions on other days (NEIGHBOUR_SCHEMA). Every event gives one row.

    - `action_id` is `{idvisit}_{place}`, the place counted from 0 in the whole visit by time and idlink_va, as Matomo
      orders `actionDetails`. Robots' actions count, so that a new list of robots moves nobody's place.
    - `action_timespent`, of page views only: seconds to the visit's next page view. After the last one, to the visit's
      end if that is more than LONG_REST away (its duration counts a second more than last - first), else to its last
      action. Other actions have 0.
    - Texts that Matomo stored escaped come unescaped, as from its API.
    - What the lake does not have stays null: region, city, device, resolution, userid, visitor type, page titles.
    """
    frame = (
        events.join(_visits(visits), on="idvisit", how="left", maintain_order="left")
        .join(neighbours, on="idvisit", how="left", maintain_order="left")
        .sort("idvisit", "server_time", "idlink_va", maintain_order=True)
        .with_columns(
            place=pl.int_range(pl.len(), dtype=pl.Int64).over("idvisit") + pl.col("before").fill_null(0),
            page_time=pl.when(pl.col("action_type") == PAGE).then(pl.col("server_time")),
        )
        .with_columns(
            next_page=pl.coalesce(
                pl.col("page_time").shift(-1).fill_null(strategy="backward").over("idvisit"), pl.col("next_page")
            )
        )
    )
    made = _made(frame.columns, sitename)
    chosen = [made.get(c, pl.lit(None, dtype=t)).cast(t).alias(c) for c, t in SCHEMA.items()]
    return frame.select(*chosen, "robot").with_columns(_without_nul())


def _visits(visits: pl.DataFrame) -> pl.DataFrame:
    """One row a visit, its dimensions apart from the events'."""
    custom = [c for c in visits.columns if c.startswith("custom_dimension_")]
    kept = (
        "visit_first_action_time",
        "visit_last_action_time",
        "visit_total_actions",
        "visit_total_time",
        "location_country",
        "referer_type",
        "referer_name",
        "config_os",
    )
    return visits.select(
        "idvisit", pl.col("idvisitor").alias("visit_idvisitor"), *kept, *(pl.col(c).alias(f"visit_{c}") for c in custom)
    ).unique("idvisit", keep="any")


def _made(columns: Sequence[str], sitename: str) -> dict[str, pl.Expr]:
    is_search = pl.col("action_type") == SEARCH
    address = word("action_url_prefix", URL_PREFIXES, "").fill_null("") + _unescaped(pl.col("action_url"))
    dimensions = {f"dimension{n}": v for n in DIMENSIONS if (v := _dimension(columns, n)) is not None}
    properties = [
        (_unescaped(pl.col(f"custom_var_k{n}")), _unescaped(pl.col(f"custom_var_v{n}")))
        for n in CUSTOM_VARIABLES
        if f"custom_var_k{n}" in columns and f"custom_var_v{n}" in columns
    ]
    return {
        "action_id": _id + "_" + pl.col("place").cast(pl.String),
        "action_timestamp": pl.col("server_time"),
        "idsite": pl.col("idsite").cast(pl.String),
        "idvisit": _id,
        "actions": pl.col("visit_total_actions"),
        "country": country_name("location_country"),
        "operatingsystemname": system_name("config_os"),
        "visitduration": pl.col("visit_total_time"),
        "sitename": pl.lit(sitename),
        "serverdateprettyfirstaction": pl.col("visit_first_action_time").dt.date(),
        "action_type": word("action_type", ACTION_TYPES, ACTION_TYPES[PAGE]),
        "action_eventcategory": pl.lit(""),
        "action_eventaction": pl.lit(""),
        "action_eventname": pl.lit(""),
        "action_eventvalue": pl.lit(0),
        "action_timespent": _time_spent().cast(pl.String),
        "usercustomproperties": _object(properties),
        "usercustomdimensions": _object([(pl.lit(name), value) for name, value in dimensions.items()]),
        **dimensions,
        "action_url": address,
        "sitesearchkeyword": pl.when(is_search).then(_unescaped(pl.col("action_name"))),
        "action_title": word("action_type", ACTION_TITLES),
        "visitorid": pl.coalesce("visit_idvisitor", "idvisitor"),
        "referrertype": word("referer_type", REFERRER_TYPES),
        "referrername": pl.col("referer_name").fill_null(""),
    }


def _time_spent() -> pl.Expr:
    time, length = pl.col("server_time"), pl.duration(seconds=pl.col("visit_total_time"))
    rest = (pl.col("visit_first_action_time") + length - time).dt.total_seconds()
    to_last = (pl.col("visit_last_action_time") - time).dt.total_seconds()
    after_last_page = pl.when(rest > LONG_REST).then(rest).otherwise(to_last)
    seconds = pl.coalesce((pl.col("next_page") - time).dt.total_seconds(), after_last_page)
    return pl.when(pl.col("action_type") == PAGE).then(seconds).fill_null(0)


def _unescaped(text: pl.Expr) -> pl.Expr:
    return text.cast(pl.String).str.replace_many(list(ENTITIES), list(ENTITIES.values()))


def _dimension(columns: Sequence[str], n: int) -> pl.Expr | None:
    """The action's value, else the visit's; null for none."""
    have = [c for c in (f"custom_dimension_{n}", f"visit_custom_dimension_{n}") if c in columns]
    texts = [_unescaped(pl.col(c)) for c in have]
    return pl.coalesce(*(pl.when(t != "").then(t) for t in texts)) if texts else None


def _object(pairs: Sequence[tuple[pl.Expr, pl.Expr]]) -> pl.Expr:
    """A JSON object of the pairs whose name and value are there."""
    if not pairs:
        return pl.lit("{}")
    members = [_json(name) + ":" + _json(value) for name, value in pairs]
    return pl.lit("{") + pl.concat_str(members, separator=",", ignore_nulls=True) + pl.lit("}")


def _json(text: pl.Expr) -> pl.Expr:
    """A text as JSON has it, quotes included; null for null."""
    safe = text.cast(pl.String).str.replace_all(NUL, REPLACEMENT, literal=True)
    whole = pl.struct(t=safe).struct.json_encode()  # {"t":"…"}
    return pl.when(text.is_not_null()).then(whole.str.slice(5, whole.str.len_chars() - 6))


def _without_nul() -> pl.Expr:
    return pl.col(pl.String).str.replace_all(NUL, REPLACEMENT, literal=True)
