"""Content lines to hits: visitor, network, country, robot, action.

What belongs here: the columns of schemas.HITS but log_identity (the importer's), and the day. What does not: outcomes
(`outcomes.py`), the lists behind the look-ups (`lookups/`).
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import polars as pl
import polars_hash  # noqa: F401  (registers nchash and chash)

from usage_stats_dagster import schemas
from usage_stats_dagster.logs import addresses
from usage_stats_dagster.lookups.country import UNKNOWN
from usage_stats_dagster.lookups.distinct import numbered64
from usage_stats_dagster.lookups.remembered import Remembered

_ODDS = (1, 0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9)
"""Factors that tell a path from a referrer of the same text; sums and products are modulo 2^64."""

_NOBODY = 0xFFFFFFFF
"""Stands for no address or agent; no log has so many."""


class Lookups(Protocol):
    """What is known beside the log: each call takes a series of any length and gives one of the same length.

    Blocks are read side by side, so threads may call at the same time.
    """

    def robots(self, user_agent: pl.Series, /) -> pl.Series:
        """String: the rule that calls the agent a robot, or null."""
        ...

    def countries(self, ip: pl.Series, /) -> pl.Series:
        """String: ISO 3166-1 alpha-2, lower case; xx unknown."""
        ...

    def spam(self, referrer: pl.Series, /) -> pl.Series:
        """Boolean: the referrer is spam."""
        ...


def visitor(key: bytes) -> pl.Expr:
    """First 60 bits of SHA-256 over the key (as hexadecimal text), the address, a zero byte and the user agent."""
    secret = pl.concat_str(
        pl.lit(key.hex()), pl.col("ip").fill_null(""), pl.lit("\0"), pl.col("user_agent").fill_null("")
    )
    digest: pl.Expr = secret.chash.sha2_256()  # type: ignore[attr-defined]
    return digest.str.slice(0, 15).str.to_integer(base=16, dtype=pl.Int64)


class Visitors:
    """Who came: what a log's addresses and agents say, each asked about once. Blocks are read side by side: threads share it."""

    def __init__(self, lookups: Lookups, key: bytes) -> None:
        self._key = key
        self._addresses = Remembered(lambda ips: _address(ips, lookups))
        self._agents = Remembered(lookups.robots)

    def of(self, ip: pl.Series, user_agent: pl.Series, *, with_ip: bool = False) -> pl.DataFrame:
        """location_ip, location_country, robot and visitor of every row, and ip (clean) when asked for."""
        from_ip, addresses = self._addresses.coded(ip)
        from_agent, robots = self._agents.coded(user_agent)
        table = addresses.struct.unnest()
        who = pl.DataFrame(table[name].gather(from_ip) for name in ("location_ip", "location_country"))
        return who.with_columns(
            robots.gather(from_agent).alias("robot"),
            self._hashed(from_ip, from_agent, table["ip"], user_agent),
            pl.col("location_country").fill_null(UNKNOWN),
            *([table["ip"].gather(from_ip)] if with_ip else []),
        )

    def _hashed(self, from_ip: pl.Series, from_agent: pl.Series, clean: pl.Series, agent: pl.Series) -> pl.Series:
        """The visitor of every row, hashed once for each pair of address and agent. `clean`: by the address's number."""
        numbers = (n.cast(pl.UInt64).fill_null(_NOBODY).to_numpy() for n in (from_ip, from_agent))
        rows, first = numbered64(next(numbers) << np.uint64(32) | next(numbers))
        of_pair = pl.DataFrame({"ip": clean.gather(from_ip.gather(first)), "user_agent": agent.gather(first)})
        return of_pair.select(visitor(self._key).alias("visitor")).to_series().gather(rows)


def _address(ips: pl.Series, lookups: Lookups) -> pl.Series:
    """A struct for each address: ip (clean), location_ip, location_country."""
    clean = addresses.clean(ips)
    return clean.with_columns(lookups.countries(clean["ip"]).alias("location_country")).to_struct("address")


def hashed(text: str) -> pl.Expr:
    """xxh3_64 of a column's text: the same on every machine; null for null."""
    found: pl.Expr = pl.col(text).nchash.xxh3_64()  # type: ignore[attr-defined]
    return found


def tie() -> pl.Expr:
    """A hash of (url, referrer, method, status) that is the same on every machine, not negative. Needs `path_hash`."""
    parts = (pl.col("path_hash"), hashed("referrer"), hashed("method"), pl.col("status").cast(pl.UInt64))
    sums = (part.fill_null(0) * pl.lit(odd, pl.UInt64) for part, odd in zip(parts, _ODDS, strict=True))
    return (pl.sum_horizontal(*sums) & pl.lit((1 << 63) - 1, pl.UInt64)).cast(pl.Int64)


def to_hits(content: pl.DataFrame, visitors: Visitors, *, store_ips: bool) -> pl.DataFrame:
    """Hits of content lines: columns of schemas.HITS without log_identity, then `day`; one row a line, in order.

    `content` has line, time, day, ip, method, path, status, referrer, user_agent, host, path_hash, download.
    """
    who = visitors.of(content.get_column("ip"), content.get_column("user_agent"), with_ip=store_ips)
    if store_ips:
        who = who.drop("location_ip").rename({"ip": "location_ip"})
    hits = content.with_columns(
        *who,
        tie().alias("tie"),
        pl.col("host").str.to_lowercase(),
        pl.when("download").then(3).otherwise(1).cast(pl.Int8).alias("action_type"),
    ).rename({"path": "url", "referrer": "url_referrer", "method": "http_method", "status": "http_status"})
    columns = [c for c in schemas.HITS.columns if c != "log_identity"]
    return hits.select(*columns, "day")
