"""Rows of Matomo's tables to rows of ours: EVENTS and VISITS.

What belongs here: names, types, identifiers. What does not: SQL (`queries.py`), clients (`database.py`), days, the lake and the ledger (`pipeline/extraction.py`).

Events and visits hold what Matomo holds, as it spells it: URLs of downloads are HTML-escaped, identifiers are raw.
Mapping happens at the documents, since LA Referencia counts each spelling and then adds up.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from functools import lru_cache

import polars as pl

from usage_stats_dagster.items.match import identify
from usage_stats_dagster.matomo import queries
from usage_stats_dagster.matomo.columns import EVENT, Columns
from usage_stats_dagster.matomo.database import Reader
from usage_stats_dagster.matomo.queries import RAW_EVENT, Period
from usage_stats_dagster.schemas import EVENTS, VISITS
from usage_stats_dagster.settings import MatomoSection, Site

AUTO_SLOTS = (1, 6, 2, 3, 4, 5, 7, 8, 9, 10)
"""Custom variables in the order in which `identifier_slot = "auto"` looks for OAI identifiers: repositories send 1,
aggregators 6 (LA Referencia)."""

c = pl.col


@dataclass(frozen=True)
class Wanted:
    """Which columns of the events are asked for and kept."""

    identifier: str | None
    """The column of the identifier, such as custom_var_v1; None: by the address."""
    country: str | None
    kept: tuple[str, ...]

    @property
    def asked(self) -> tuple[str, ...]:
        """Custom columns of the query, each once."""
        return tuple(dict.fromkeys([*filter(None, (self.identifier, self.country)), *self.kept]))

    @property
    def schema(self) -> pl.Schema:
        """Of the query's answer."""
        return pl.Schema({**RAW_EVENT, **dict.fromkeys(self.asked, pl.String())})


def wanted(reader: Reader, columns: Columns, period: Period, site: Site, matomo: MatomoSection) -> Wanted:
    """What to ask for: the site's slots, or for `auto` the first that holds an OAI identifier in the period."""
    have = columns.have[EVENT]
    kept = [f"custom_var_{k}{n}" for n in matomo.custom_variables for k in ("k", "v")]
    kept += [f"custom_dimension_{n}" for n in matomo.custom_dimensions]
    if site.identifier_slot == "auto":
        slots = [f"custom_var_v{n}" for n in AUTO_SLOTS if f"custom_var_v{n}" in have]
        identifier = next((s for s in slots if reader.rows(queries.filled(columns, period, s))), None)
    else:
        identifier = None if site.identifier_slot == "url" else f"custom_var_v{site.identifier_slot}"
    country = f"custom_var_v{site.country_slot}" if identifier and site.country_slot else None
    return Wanted(identifier, country, tuple(k for k in kept if k in have))


def events(raw: pl.DataFrame, site: Site, want: Wanted) -> pl.DataFrame:
    """EVENTS of rows of `queries.events` (columns of `want.schema`, in any integer type), in their order.

    A row without an action of its own is a search where it has a keyword, else a page view of no URL. `identifier` is
    the custom variable's, else what the site's rules find in the URL; `country_item` its first two letters.
    """
    search = c("keyword_type").is_not_null()
    kind = pl.when(search).then(queries.SEARCH_TYPE).otherwise(c("action_type").fill_null(1))
    if want.identifier is None:
        found = _identified(raw["action_url"], site)
        raw = raw.with_columns(found["identifier"].alias("__id"), found["item_action"].alias("__act"))
    else:
        text = c(want.identifier).str.strip_chars()
        raw = raw.with_columns(pl.when(text != "").then(text).alias("__id"), pl.lit(None, pl.String).alias("__act"))
    country = c(want.country).str.slice(0, 2).str.to_uppercase() if want.country else pl.lit(None, pl.String)
    made = raw.select(
        c("idlink_va", "idvisit").cast(pl.Int64),
        _hex("idvisitor"),
        pl.lit(site.id, pl.Int32).alias("idsite"),
        _utc("server_time"),
        kind.cast(pl.Int8).alias("action_type"),
        c("keyword").alias("action_name"),
        c("action_url"),
        c("action_url_prefix").cast(pl.Int8),
        pl.lit(None, pl.String).alias("url_referrer"),
        c("time_spent_ref_action").cast(pl.Int32),
        pl.lit(None, pl.String).alias("http_method"),
        pl.lit(None, pl.Int16).alias("http_status"),
        c("__id").alias("identifier"),
        c("__act").alias("item_action"),
        pl.when(country.str.contains("^[A-Z]{2}$")).then(country).alias("country_item"),
        pl.lit(None, pl.String).alias("robot"),
        pl.lit(None, pl.String).alias("log_identity"),
        pl.lit(None, pl.Int64).alias("line"),
        *want.kept,
    )
    return EVENTS.conform(made)


def visits(raw: pl.DataFrame, idsite: int, *, store_ips: bool, counted_here: bool) -> pl.DataFrame:
    """VISITS of rows of `queries.visits_ended`, which are counted on their day, and of `visits_of`, which are on another."""
    made = raw.select(
        c("idvisit").cast(pl.Int64),
        _hex("idvisitor"),
        pl.lit(idsite, pl.Int32).alias("idsite"),
        _utc("visit_first_action_time"),
        _utc("visit_last_action_time"),
        c("visit_total_actions", "visit_total_time").cast(pl.Int32),
        c("location_country").str.to_lowercase(),
        addresses(raw["location_ip"], whole=store_ips),
        c("referer_type").cast(pl.Int8),
        c("referer_name"),
        c("config_browser_name"),
        c("config_os"),
        c("config_device_type").cast(pl.Int8),
        pl.lit(None, pl.String).alias("user_agent"),
        pl.lit(None, pl.String).alias("robot"),
        pl.lit(counted_here).alias("counted_here"),
    )
    return VISITS.conform(made)


def addresses(raw: pl.Series, *, whole: bool) -> pl.Series:
    """As `address`, of a Binary column: IPv4's, which may be as many as there are visits, over the whole column."""
    distinct = raw.unique().drop_nulls()
    four = distinct.bin.size() == 4
    v4 = pl.DataFrame({"ip": distinct.filter(four)}).with_columns(
        n=c("ip").bin.reinterpret(dtype=pl.UInt32, endianness="big")
    )
    parts = [c("n") // 256**k % 256 if whole or k > 1 else pl.lit(0) for k in (3, 2, 1, 0)]
    others = distinct.filter(~four)
    texts = pl.Series([address(b, whole=whole) for b in others], dtype=pl.String)
    known = pl.concat(
        [v4.select("ip", text=pl.format("{}.{}.{}.{}", *parts)), pl.DataFrame({"ip": others, "text": texts})]
    )
    return raw.replace_strict(known["ip"], known["text"], default=None, return_dtype=pl.String).alias("location_ip")


@lru_cache(maxsize=1 << 16)
def address(raw: bytes, *, whole: bool) -> str | None:
    """The network (IPv4 /16, IPv6 /48) of an address of 4 or 16 bytes, or the address; null for what is none."""
    if len(raw) not in (4, 16):
        return None
    found = ipaddress.ip_address(raw)
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:
        found = found.ipv4_mapped
    bits = 0 if whole else 16 if found.version == 4 else 80
    return str(type(found)(int(found) >> bits << bits))


def _identified(urls: pl.Series, site: Site) -> pl.DataFrame:
    distinct = urls.unique().drop_nulls().alias("action_url")
    known = identify(distinct, site).with_columns(distinct)
    return urls.alias("action_url").to_frame().join(known, on="action_url", how="left", maintain_order="left")


def _hex(column: str) -> pl.Expr:
    return c(column).cast(pl.Binary).bin.encode("hex")


def _utc(column: str) -> pl.Expr:
    return c(column).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
