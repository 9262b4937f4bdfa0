"""Lakes and platforms in a bucket, and rows for them.

What belongs here: building blocks of this folder's tests. What does not: tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from usage_stats_dagster.lake.store import Lake, Manifest
from usage_stats_dagster.schemas import METRICS, METRICS_TABLE
from usage_stats_dagster.settings import StorageSection
from usage_stats_dagster_tests.platforms import Platform
from usage_stats_dagster_tests.s3_server import S3Server

DAY = date(2025, 3, 1)
PART = f"lake/metrics/idsite=1/year={DAY.year}/month={DAY.month}/day={DAY.day}/part-0.parquet"
LOCK = Path("/nonexistent/unused.lock")
LEASE = 5.0
"""Seconds: a dead writer's turn is over soon, and a live one keeps its own on a machine that is busy."""


@dataclass(frozen=True)
class Bucket:
    """A bucket of a server, reached at the endpoint."""

    server: S3Server
    name: str
    endpoint: str

    def section(self, **more: Any) -> dict[str, Any]:
        """The settings of storage."""
        return {"root": f"s3://{self.name}/lake", "endpoint": self.endpoint, "lease_seconds": LEASE, **more}

    def lake(self, **more: Any) -> Lake:
        return Lake(StorageSection(**self.section(**more)))

    def platform(self, folder: Path, **more: Any) -> Platform:
        """A platform whose lake is in the bucket."""
        return Platform.make(folder, storage=self.section(), **more)

    def objects(self) -> dict[str, bytes]:
        """Every object of the lake, by key below it."""
        return {k.removeprefix("lake/"): v for k, v in self.server.objects(self.name, "lake/").items()}

    def files(self, *tables: str) -> dict[str, bytes]:
        """The bytes of the tables' parquet files, as `Platform.files` gives those of a local lake."""
        return {k: v for k, v in self.objects().items() if k.split("/")[0] in tables and k.endswith(".parquet")}


def rows(n: int, seed: int = 1) -> pl.DataFrame:
    """Rows that hardly compress: about 80 bytes each."""
    random = np.random.default_rng(seed)
    return METRICS_TABLE.conform(
        pl.DataFrame({"identifier": pl.int_range(n, eager=True).cast(pl.String)})
        .with_columns(
            idsite=pl.lit(1, pl.Int32), day=pl.lit(DAY), country=pl.lit("br"), country_item=pl.lit(None, pl.String),
            level=pl.lit("R"), rules_version=pl.lit("0"), searches=pl.lit(0, pl.Int64),
            **{m: pl.Series(random.integers(0, 1 << 60, n)) for m in METRICS},
        )
        .select(*METRICS_TABLE.columns)
    )  # fmt: skip


def write(lake: Lake, frame: pl.DataFrame, mark: str = "m") -> Manifest:
    """One site-day of metrics, with the writer's lease held already."""
    with lake.writer(METRICS_TABLE, 1, DAY) as w:
        w.append(frame)
        return lake.commit(w, Manifest("metrics", 1, DAY, mark))


def commit(lake: Lake, frame: pl.DataFrame, mark: str = "m") -> Manifest:
    """One site-day of metrics."""
    with lake.writing(LOCK):
        return write(lake, frame, mark)
