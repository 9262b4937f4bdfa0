"""What tests of log reading share: small real look-ups, options, a log written to a file."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from usage_stats_dagster.logs.judge import LogBlock, ReadOptions
from usage_stats_dagster.logs.read import LogReader, LogSummary, read_log
from usage_stats_dagster.settings import Settings, Site


class SmallLookups:
    """Agents with `bot` in them are robots, 2001:db8::/32 is in xz, referrers with `spam` are spam."""

    def robots(self, user_agent: pl.Series) -> pl.Series:
        named = user_agent.to_frame("ua").select(
            pl.when(pl.col("ua").str.contains("(?i)bot")).then(pl.lit("test: bot"))
        )
        return named.to_series()

    def countries(self, ip: pl.Series) -> pl.Series:
        known = pl.when(pl.col("ip").str.starts_with("2001:db8:")).then(pl.lit("xz")).otherwise(pl.lit("xx"))
        return ip.to_frame("ip").select(known).to_series()

    def spam(self, referrer: pl.Series) -> pl.Series:
        return referrer.str.contains("spam", literal=True)


def options(site: dict | None = None, **more) -> ReadOptions:
    settings = more.pop("settings", Settings())
    return ReadOptions(Site(id=1, **(site or {})), settings, SmallLookups(), b"secret key of the tests", **more)


def write(folder: Path, content: str | bytes, name: str = "access.log") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


class Read:
    """A log read to its end."""

    def __init__(self, path: Path, asked: ReadOptions) -> None:
        reader: LogReader = read_log(path, asked)
        self.blocks: list[LogBlock] = list(reader)
        self.summary: LogSummary = reader.summary

    @property
    def hits(self) -> pl.DataFrame:
        return pl.concat([b.hits for b in self.blocks])

    @property
    def rejects(self) -> pl.DataFrame:
        return pl.concat([b.rejects for b in self.blocks])

    @property
    def outcomes(self) -> dict[str, int]:
        counted = pl.concat([b.outcomes for b in self.blocks]).group_by("outcome").agg(pl.col("lines").sum())
        return dict(counted.sort("outcome").iter_rows())


def read(path: Path, site: dict | None = None, **more) -> Read:
    return Read(path, options(site, **more))


def line(
    path: str = "/handle/1/2", status: int = 200, when: str = "01/Mar/2025:10:00:00 +0000", ip: str = "192.0.2.1"
) -> str:
    return f'{ip} - - [{when}] "GET {path} HTTP/1.1" {status} 512 "-" "Mozilla/5.0"\n'
