"""The stored tables: names, columns and types, in one place.

What belongs here: every table of the lake, enforced on write (`conform`), checked by an asset check and printed in
the docs. What does not: how a table is computed (`tracker/`, `metrics/`, `documents/`) or where it lies (`lake/`).

Names are Matomo's where Matomo has the thing. Times are UTC; the day is the day in the platform's time zone.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

UTC_TIME = pl.Datetime("us", "UTC")

COUNTER_METRICS = (
    "total_item_investigations",
    "unique_item_investigations",
    "total_item_requests",
    "unique_item_requests",
)
"""COUNTER R5.1's four, in the order in which tables and documents carry them."""

LAREFERENCIA_METRICS = ("views", "outlinks", "downloads", "conversions")
"""LA Referencia's four, binary per (visit, identifier)."""

METRICS = LAREFERENCIA_METRICS + COUNTER_METRICS


SITE_DAY = "site_day"
"""Int32, from 0: which site-day a row belongs to, where a frame holds several that are computed together. Never stored."""


class SchemaMismatchError(Exception):
    """A frame does not have the columns or types of the table it is to be written to."""


@dataclass(frozen=True)
class Table:
    """One stored table: `name` is its folder in the lake, `grain` says what one row is."""

    name: str
    grain: str
    columns: dict[str, pl.DataType | type[pl.DataType]]
    docs: dict[str, str]

    @property
    def schema(self) -> pl.Schema:
        """Column names and types, in stored order."""
        return pl.Schema(self.columns)

    def empty(self) -> pl.DataFrame:
        """The table with no row."""
        return pl.DataFrame(schema=self.schema)

    def conform(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The frame in the table's column order; raises SchemaMismatchError naming every difference.

        Additional columns named `custom_var_*` or `custom_dimension_*` are kept (Matomo's, as present), after the others.
        """
        have = dict(frame.schema)
        wrong = [f"{c}: is {have[c]}, should be {t}" for c, t in self.columns.items() if c in have and have[c] != t]
        missing = [c for c in self.columns if c not in have]
        custom = sorted(c for c in have if c.startswith(("custom_var_", "custom_dimension_")))
        extra = [c for c in have if c not in self.columns and c not in custom]
        if wrong or missing or extra:
            msg = f"table {self.name}: wrong types {wrong}, missing {missing}, unknown {extra}"
            raise SchemaMismatchError(msg)
        return frame.select([*self.columns, *custom])


HITS = Table(
    "hits",
    "one row a hit: a valid line that asks for content, robots kept with their reason",
    {
        "time": UTC_TIME,
        "visitor": pl.Int64,
        "tie": pl.Int64,
        "location_ip": pl.String,
        "location_country": pl.String,
        "user_agent": pl.String,
        "host": pl.String,
        "url": pl.String,
        "url_referrer": pl.String,
        "action_type": pl.Int8,
        "http_method": pl.String,
        "http_status": pl.Int16,
        "robot": pl.String,
        "log_identity": pl.String,
        "line": pl.Int64,
    },
    {
        "time": "when the line says the request came, UTC",
        "visitor": "keyed hash of (IP, user agent): 60 bits, the same on every day",
        "tie": "sum of xxh3_64 of url, referrer and method and of the status, each times a factor (`logs/hits.py`), below 2^63: orders hits of one second by content, so that splitting a log moves nothing",
        "location_ip": "the network: IPv4 /16, IPv6 /48; null when the log had no IP",
        "location_country": "ISO 3166-1 alpha-2, lower case; xx unknown",
        "user_agent": "as logged; null when the format has none",
        "host": "virtual host of the line, when the format has it",
        "url": "path and query as logged, escapes untouched",
        "url_referrer": "as logged; null for none or -",
        "action_type": "1 page view, 3 download (Matomo's lists of extensions)",
        "http_method": "GET, HEAD …; null when the format has none",
        "http_status": "as logged",
        "robot": "null, or `list: pattern` that says so",
        "log_identity": "fingerprint of the log's first 1 KiB of records",
        "line": "line number in the log, from 1",
    },
)

EVENTS = Table(
    "events",
    "one row an action",
    {
        "idlink_va": pl.Int64,
        "idvisit": pl.Int64,
        "idvisitor": pl.String,
        "idsite": pl.Int32,
        "server_time": UTC_TIME,
        "action_type": pl.Int8,
        "action_name": pl.String,
        "action_url": pl.String,
        "action_url_prefix": pl.Int8,
        "url_referrer": pl.String,
        "time_spent_ref_action": pl.Int32,
        "http_method": pl.String,
        "http_status": pl.Int16,
        "identifier": pl.String,
        "item_action": pl.String,
        "country_item": pl.String,
        "robot": pl.String,
        "log_identity": pl.String,
        "line": pl.Int64,
    },
    {
        "idlink_va": "the action's id, unique within the site",
        "idvisit": "the visit it belongs to",
        "idvisitor": "16 hexadecimal digits",
        "idsite": "site",
        "server_time": "UTC",
        "action_type": "1 page view, 2 outlink, 3 download, 8 site search",
        "action_name": "the keyword of a search; null otherwise",
        "action_url": "as Matomo stores it: pages without scheme and www., cleaned of session and campaign parameters; downloads whole; null for a search",
        "action_url_prefix": "0 http://, 1 http://www., 2 https://, 3 https://www.; null for downloads and searches",
        "url_referrer": "as logged",
        "time_spent_ref_action": "seconds since the visit's action before, 0 to 1800",
        "http_method": "null from Matomo",
        "http_status": "null from Matomo",
        "identifier": "the item, after normalising and mapping; null when the URL is no item's",
        "item_action": "investigation or request (COUNTER), search, outlink; none: a rule knows the URL for no act about an item; null: no rule knows it",
        "country_item": "the item's country (aggregators), upper case",
        "robot": "null, or the rule that says so",
        "log_identity": "null from Matomo",
        "line": "null from Matomo",
    },
)

VISITS = Table(
    "visits",
    "one row a visit",
    {
        "idvisit": pl.Int64,
        "idvisitor": pl.String,
        "idsite": pl.Int32,
        "visit_first_action_time": UTC_TIME,
        "visit_last_action_time": UTC_TIME,
        "visit_total_actions": pl.Int32,
        "visit_total_time": pl.Int32,
        "location_country": pl.String,
        "location_ip": pl.String,
        "referer_type": pl.Int8,
        "referer_name": pl.String,
        "config_browser_name": pl.String,
        "config_os": pl.String,
        "config_device_type": pl.Int8,
        "user_agent": pl.String,
        "robot": pl.String,
        "counted_here": pl.Boolean,
    },
    {
        "idvisit": "the visit's id, unique within the site",
        "idvisitor": "16 hexadecimal digits",
        "idsite": "site",
        "visit_first_action_time": "UTC",
        "visit_last_action_time": "UTC",
        "visit_total_actions": "actions of the visit",
        "visit_total_time": "seconds: 0 for one action, else 1 + last - first",
        "location_country": "lower case; xx unknown",
        "location_ip": "the network: IPv4 /16, IPv6 /48",
        "referer_type": "1 direct, 2 search engine, 3 website, 6 campaign, 7 social network",
        "referer_name": "engine, host, campaign or network; null for direct",
        "config_browser_name": "Matomo's short name; null when not derived",
        "config_os": "Matomo's short name; null when not derived",
        "config_device_type": "Matomo's number; null when not derived",
        "user_agent": "null from Matomo",
        "robot": "null, or the rule that says so",
        "counted_here": "true on the one day on which the visit is counted (its last action's)",
    },
)

METRICS_TABLE = Table(
    "metrics",
    "one row a site, day, identifier and visitor country",
    {
        "idsite": pl.Int32,
        "day": pl.Date,
        "identifier": pl.String,
        "country": pl.String,
        "country_item": pl.String,
        "level": pl.String,
        **dict.fromkeys(METRICS, pl.Int64),
        "searches": pl.Int64,
        "rules_version": pl.String,
    },
    {
        "idsite": "site",
        "day": "day in the platform's time zone",
        "identifier": "the item; null for the row that carries the searches",
        "country": "the visitor's, lower case",
        "country_item": "the item's country, upper case; null when not known",
        "level": "R repository, N national, L regional",
        "views": "visits that viewed the item's page",
        "outlinks": "visits that went from an aggregator's record to the item",
        "downloads": "visits that downloaded a file of the item",
        "conversions": "visits that viewed and then downloaded or left for the item",
        "total_item_investigations": "COUNTER R5.1",
        "unique_item_investigations": "COUNTER R5.1",
        "total_item_requests": "COUNTER R5.1",
        "unique_item_requests": "COUNTER R5.1",
        "searches": "site searches",
        "rules_version": "hash of steps, parameters and lists that made the row",
    },
)

_COUNTRY_STATS = pl.Struct({"country": pl.String, **dict.fromkeys(METRICS, pl.Int64)})

DOCUMENTS = Table(
    "documents",
    "one row a site, period (day or month) and identifier, countries nested",
    {
        "id": pl.String,
        "idsite": pl.Int32,
        "year": pl.Int32,
        "month": pl.Int32,
        "day": pl.Int32,
        "date": pl.Date,
        "level": pl.String,
        "identifier": pl.String,
        "identifier_prefix": pl.String,
        "country": pl.String,
        **dict.fromkeys(METRICS, pl.Int64),
        "stats_by_country": pl.List(_COUNTRY_STATS),
        "rules_version": pl.String,
    },
    {
        "id": "xxh64 of `idsite-identifier-year-month-day`, numbers not padded, day 1 for a month",
        "idsite": "site",
        "year": "of the period",
        "month": "of the period",
        "day": "of the period; 1 for a month",
        "date": "the period's first day",
        "level": "R repository, N national, L regional",
        "identifier": "the item",
        "identifier_prefix": "what stands before the local part: `oai:host` of an OAI id, the prefix of a handle or DOI",
        "country": "the item's, upper case; XX unknown",
        **{m: METRICS_TABLE.docs[m] for m in METRICS},
        "stats_by_country": "the same figures by the visitors' country, ordered by country",
        "rules_version": "as in metrics",
    },
)

REJECTS = Table(
    "rejects",
    "one row a line that no format could read; a log without any has no file",
    {
        "line": pl.Int64,
        "reason": pl.String,
        "length": pl.Int64,
        "head": pl.String,
    },
    {
        "line": "line number in the log, from 1",
        "reason": "what was wrong: no_match, bad_date, too_long …",
        "length": "bytes of the line",
        "head": "its first 200 characters, IPs masked",
    },
)

TABLES = {t.name: t for t in (HITS, EVENTS, VISITS, METRICS_TABLE, DOCUMENTS, REJECTS)}
