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
from usage_stats_dagster.logs.outcomes import IS_DOWNLOAD
from usage_stats_dagster.lookups.distinct import Distinct


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


def _visitors(ips: Distinct, clean: pl.Series, agents: Distinct, key: bytes) -> pl.Series:
    """The visitor of every row, hashed once for each pair of address and agent."""
    pair = ips.rows.to_numpy().astype(np.uint64) << np.uint64(32) | agents.rows.to_numpy()
    pairs, rows = np.unique(pair, return_inverse=True)
    of_pair = pl.DataFrame(
        {"ip": clean.gather(pairs >> np.uint64(32)), "user_agent": agents.values.gather(pairs & np.uint64(0xFFFFFFFF))}
    ).select(visitor(key).alias("visitor"))
    return of_pair.to_series().gather(rows)


def tie() -> pl.Expr:
    """A hash of (url, referrer, method, status) that is the same on every machine, not negative."""
    parts = (pl.col(c).cast(pl.String).fill_null("") for c in ("path", "referrer", "method", "status"))
    hashed: pl.Expr = pl.concat_str(*parts, separator="\0").nchash.xxh3_64()  # type: ignore[attr-defined]
    return (hashed & pl.lit((1 << 63) - 1, pl.UInt64)).cast(pl.Int64)


def to_hits(content: pl.DataFrame, lookups: Lookups, key: bytes, *, store_ips: bool) -> pl.DataFrame:
    """Hits of content lines: columns of schemas.HITS without log_identity, then `day`; one row a line, in order.

    `content` has line, time, day, ip, method, path, status, referrer, user_agent, host.
    """
    ips, agents = Distinct(content.get_column("ip")), Distinct(content.get_column("user_agent"))
    networks = addresses.clean(ips.values)
    country = lookups.countries(networks.get_column("ip"))
    hits = content.with_columns(
        _visitors(ips, networks.get_column("ip"), agents, key),
        tie().alias("tie"),
        ips.spread(networks.get_column("ip" if store_ips else "location_ip")).alias("location_ip"),
        ips.spread(country).alias("location_country"),
        agents.spread(lookups.robots(agents.values)).alias("robot"),
        pl.col("host").str.to_lowercase(),
        pl.when(IS_DOWNLOAD).then(3).otherwise(1).cast(pl.Int8).alias("action_type"),
    ).rename({"path": "url", "referrer": "url_referrer", "method": "http_method", "status": "http_status"})
    columns = [c for c in schemas.HITS.columns if c != "log_identity"]
    return hits.select(*columns, "day")
