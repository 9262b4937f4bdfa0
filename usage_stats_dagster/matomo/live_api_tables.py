"""Visits of the Live API as VISITS, and their actions as rows such as the database gives (`queries.RAW_EVENT`).

What belongs here: which column comes from which field, and undoing what the API makes nicer than the database has it.
What does not: reading the API (`live_api.py`), rows to EVENTS and identifiers (`extract.py`: one for both sources).

Not in the API: a visitor's id as it was at each action (here the visit's last one), names of pages' referrers.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import polars as pl

from usage_stats_dagster.logs import addresses
from usage_stats_dagster.matomo.live_api import ACTION_TYPES, Visit, details, missing_details
from usage_stats_dagster.matomo.queries import RAW_EVENT, SEARCH_TYPE
from usage_stats_dagster.schemas import UTC_TIME, VISITS

LONGEST_SPENT = 1800
_DEVICES = ("desktop", "smartphone", "tablet", "feature phone", "console", "tv", "car browser", "smart display", "camera",
            "portable media player", "phablet", "smart speaker", "wearable", "peripheral")  # fmt: skip
_REFERRERS = {"direct": 1, "search": 2, "website": 3, "campaign": 6, "social": 7}
_SCHEME = r"^(https?://(?:www\.)?)"
_PREFIXES = {"http://": 0, "http://www.": 1, "https://": 2, "https://www.": 3}
_PAGE_TYPES = (1, 10)

c = pl.col

_VISIT_FIELDS = {
    "idvisit": pl.Int64, "idvisitor": pl.String, "first": pl.Int64, "last": pl.Int64, "visit_total_actions": pl.Int32,
    "visit_total_time": pl.Int32, "location_country": pl.String, "location_ip": pl.String, "referrer": pl.String,
    "referer_name": pl.String, "config_browser_name": pl.String, "config_os": pl.String, "device": pl.String,
    "missing": pl.Int32, "order": pl.Int64,
}  # fmt: skip
_ACTION_FIELDS = {
    "idlink_va": pl.Int64, "idvisit": pl.Int64, "idvisitor": pl.String, "second": pl.Int64, "action_type": pl.Int8,
    "keyword": pl.String, "url": pl.String, "order": pl.Int64,
}  # fmt: skip


class LiveFrames:
    """Collects pages of visits, compactly; `tables` then gives a day's."""

    def __init__(self, idsite: int) -> None:
        self._idsite = idsite
        self._visits: list[pl.DataFrame] = []
        self._actions: list[pl.DataFrame] = []
        self._order = 0
        self._slots: set[int] = set()

    def add(self, page: Iterable[Visit]) -> None:
        """Adds a page. A loop over what JSON gave: the API renders a few hundred visits a second, this 50 times that."""
        visits, actions = [], []
        for v in page:
            self._order += 1
            idvisit, visitor = int(v["idVisit"]), str(v["visitorId"])
            visits.append((
                idvisit, visitor, int(v["firstActionTimestamp"]), int(v["lastActionTimestamp"]), int(v["actions"]),
                int(v["visitDuration"]), v["countryCode"], v["visitIp"], v["referrerType"], v["referrerName"] or None,
                v["browserCode"] or None, v["operatingSystemCode"] or None, v["deviceType"], missing_details(v), self._order,
            ))  # fmt: skip
            for a in details(v):
                values, slots = _custom_variables(a)
                self._slots |= slots
                actions.append({
                    "idlink_va": int(a["pageId"]), "idvisit": idvisit, "idvisitor": visitor, "second": int(a["timestamp"]),
                    "action_type": ACTION_TYPES[a["type"]], "keyword": a.get("siteSearchKeyword"), "url": a.get("url"),
                    "order": self._order, **values,
                })  # fmt: skip
        custom = {name: pl.String for slot in sorted(self._slots) for name in _names(slot)}
        self._visits.append(pl.DataFrame(visits, schema=_VISIT_FIELDS, orient="row"))
        self._actions.append(pl.DataFrame(actions, schema={**_ACTION_FIELDS, **custom}))

    def tables(
        self, start: datetime, end: datetime, *, store_ips: bool = False
    ) -> tuple[pl.DataFrame, pl.DataFrame, int]:
        """What there is from `start` to before `end`: VISITS (with an action in it, or that end in it), the actions as
        RAW_EVENT plus `custom_var_*`, and how many actions of those visits the API left out.
        """
        visits = pl.concat([pl.DataFrame(schema=_VISIT_FIELDS), *self._visits])
        visits = visits.sort("order").unique("idvisit", keep="last", maintain_order=True)
        actions = pl.concat([pl.DataFrame(schema=_ACTION_FIELDS), *self._actions], how="diagonal")
        actions = actions.join(visits.select("idvisit", "order"), on=["idvisit", "order"], how="semi")
        low, high = int(start.timestamp()), int(end.timestamp())
        # The time since the visit's action before: over the whole visit, before the day is cut out.
        actions = actions.sort("idvisit", "second", "idlink_va").with_columns(
            time_spent_ref_action=c("second").diff().over("idvisit").fill_null(0).clip(0, LONGEST_SPENT)
        )
        events = actions.filter((c("second") >= low) & (c("second") < high))
        ends_here = (c("last") >= low) & (c("last") < high)
        visits = visits.filter(ends_here | c("idvisit").is_in(events["idvisit"].unique().implode()))
        return (
            self._visit_table(visits, ends_here, store_ips=store_ips),
            _raw_events(events),
            int(visits["missing"].sum()),
        )

    def _visit_table(self, visits: pl.DataFrame, ends_here: pl.Expr, *, store_ips: bool) -> pl.DataFrame:
        device = c("device").str.to_lowercase().replace_strict(
            list(_DEVICES), range(len(_DEVICES)), default=None, return_dtype=pl.Int8
        )  # fmt: skip
        if not store_ips:  # Matomo masks addresses as it is told to, which may be not at all
            visits = visits.with_columns(addresses.clean(visits["location_ip"])["location_ip"])
        made = visits.with_columns(
            idsite=pl.lit(self._idsite, pl.Int32),
            visit_first_action_time=_time("first"),
            visit_last_action_time=_time("last"),
            referer_type=c("referrer").replace_strict(_REFERRERS, default=None, return_dtype=pl.Int8),
            config_device_type=device,
            user_agent=pl.lit(None, pl.String),
            robot=pl.lit(None, pl.String),
            counted_here=ends_here,
        )
        return VISITS.conform(made.sort("idvisit").select(*VISITS.columns))


def _raw_events(events: pl.DataFrame) -> pl.DataFrame:
    is_page, is_search = c("action_type").is_in(_PAGE_TYPES), c("action_type") == SEARCH_TYPE
    scheme = c("url").str.extract(_SCHEME)
    made = events.with_columns(
        idvisitor=c("idvisitor").str.decode("hex"),
        server_time=pl.from_epoch(c("second"), "s").cast(pl.Datetime("us")),
        action_type=pl.when(~is_search).then(c("action_type").cast(pl.Int64)),
        keyword_type=pl.when(is_search).then(pl.lit(SEARCH_TYPE, pl.Int64)),
        action_url=pl.when(is_page).then(c("url").str.replace(_SCHEME, "")).otherwise(escaped(c("url"))),
        action_url_prefix=pl.when(is_page).then(scheme.replace_strict(_PREFIXES, default=None, return_dtype=pl.Int64)),
    )
    custom = sorted(n for n in events.columns if n.startswith("custom_var_"))
    return made.sort("idvisit", "idlink_va").select(*RAW_EVENT, *custom)


def escaped(url: pl.Expr) -> pl.Expr:
    """A download's or outlink's address as Matomo's database has it: HTML-escaped, which the API undoes."""
    return url.str.replace_many(["&", "<", ">", '"', "'"], ["&amp;", "&lt;", "&gt;", "&quot;", "&#039;"])


def _time(second: str) -> pl.Expr:
    return pl.from_epoch(c(second), "s").cast(pl.Datetime("us")).dt.replace_time_zone("UTC").cast(UTC_TIME)


def _names(slot: int) -> tuple[str, str]:
    return f"custom_var_k{slot}", f"custom_var_v{slot}"


def _custom_variables(action: dict[str, object]) -> tuple[dict[str, str], set[int]]:
    """The action's custom variables by column name, and their slots; PHP writes none as an empty list."""
    given = action.get("customVariables")
    if not isinstance(given, dict):
        return {}, set()
    values: dict[str, str] = {}
    for slot, pair in given.items():
        name, value = _names(int(slot))
        values[name] = pair.get(f"customVariablePageName{slot}")
        values[value] = pair.get(f"customVariablePageValue{slot}")
    return values, {int(s) for s in given}
