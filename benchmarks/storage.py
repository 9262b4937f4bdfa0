"""The lake on S3 against plain Polars: the same frame written to and read from the same server.

    python -m benchmarks.storage [--rows 1000000] [--repeat 7]

The server is that of USAGE_STATS_TEST_S3, or a private versitygw (docs/s3.md says how to get it). Our writing is measured with
all that goes with it: the look at what stands there, the content hash, the manifest, the sweep of stale files. Polars' is
`write_parquet` to the same bucket, with the same compression and row groups. Reading is a scan of every column and of
three, without a local copy; and once more with the copy that a run has of what it wrote a moment ago.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.measure import machine, megabytes, table
from usage_stats_dagster.lake.sink import PARQUET
from usage_stats_dagster.lake.store import Lake, Manifest
from usage_stats_dagster.schemas import EVENTS
from usage_stats_dagster.settings import StorageSection
from usage_stats_dagster_tests.s3_server import S3Server, s3_server

DAY = date(2025, 3, 1)
TARGET = 1.3
HEAD = ("s", "wall min", "Polars", "wall median", "Polars", "CPU min", "Polars", "ratio of wall", "of CPU")
COLUMNS = ("idvisit", "server_time", "identifier")

Pair = tuple[Callable[[], object], Callable[[], object]]
"""Our work, and Polars' on the same rows."""
Times = list[tuple[float, float]]


def events(n: int, seed: int = 1) -> pl.DataFrame:
    """A day's events: 20,000 items, 4,000 agents' visits of eight actions, times in order."""
    random = np.random.default_rng(seed)
    visit, item = np.sort(random.integers(0, 1 << 48, n // 8 + 1))[np.arange(n) // 8], random.integers(0, 20_000, n)
    frame = pl.DataFrame(
        {"idvisit": visit, "item": item, "k": np.arange(n), "second": np.sort(random.integers(0, 86_400, n))}
    )
    return EVENTS.conform(
        frame.select(
            pl.col("k").alias("idlink_va"), pl.col("idvisit").cast(pl.Int64),
            pl.col("idvisit").hash(1).map_batches(lambda s: pl.Series([f"{v:016x}" for v in s]), pl.String).alias("idvisitor"),
            pl.lit(1, pl.Int32).alias("idsite"),
            (pl.lit(datetime(2025, 3, 1)).cast(pl.Datetime("us", "UTC")) + pl.duration(seconds="second")).alias("server_time"),
            pl.when(pl.col("item") % 3 == 0).then(3).otherwise(1).cast(pl.Int8).alias("action_type"),
            pl.lit(None, pl.String).alias("action_name"),
            pl.format("repo.example.org/handle/123456789/{}", "item").alias("action_url"), pl.lit(2, pl.Int8).alias("action_url_prefix"),
            pl.when(pl.col("item") % 5 == 0).then(pl.lit("https://www.google.com/")).alias("url_referrer"),
            (pl.col("item") % 1800).cast(pl.Int32).alias("time_spent_ref_action"),
            pl.lit("GET").alias("http_method"), pl.lit(200, pl.Int16).alias("http_status"),
            pl.format("oai:repo.example.org:123456789/{}", "item").alias("identifier"),
            pl.lit("investigation").alias("item_action"), pl.lit(None, pl.String).alias("country_item"),
            pl.when(pl.col("idvisit") % 9 == 0).then(pl.lit("counter: bot")).alias("robot"),
            pl.lit("48e3c064a46bd132d7abcf8d4f22b6be").alias("log_identity"), (pl.col("k") + 1).alias("line"),
        )
    )  # fmt: skip


def measured(pairs: dict[str, Pair], repeat: int) -> dict[str, tuple[Times, Times]]:
    """Seconds of (wall, CPU) for ours and for Polars, by name. In turns, so that a busy machine hits all alike; who comes
    first changes with every round, since the second finds memory that the first has asked the system for."""
    took: dict[str, tuple[Times, Times]] = {name: ([], []) for name in pairs}
    for n in range(-1, repeat):  # one round that does not count: first connections
        for name, pair in pairs.items():
            for which in (0, 1) if n % 2 else (1, 0):
                wall, cpu = time.perf_counter(), time.process_time()
                pair[which]()
                if n >= 0:
                    took[name][which].append((time.perf_counter() - wall, time.process_time() - cpu))
    return took


def run(server: S3Server, rows: int, repeat: int) -> str:
    """The table of one run."""
    os.environ.update(server.environment)
    bucket, frame = server.bucket(), events(rows)
    root = f"s3://{bucket}/lake"
    section = StorageSection(root=root, endpoint=server.endpoint)
    options = {
        "aws_endpoint_url": server.endpoint, "aws_allow_http": "true", "aws_region": "us-east-1",
        "aws_access_key_id": server.key, "aws_secret_access_key": server.secret,
    }  # fmt: skip
    lake, plain, count = Lake(section), f"s3://{bucket}/plain.parquet", iter(range(1 << 20))
    unused = Path("writer.lock")

    def write() -> None:
        with lake.writing(unused), lake.writer(EVENTS, 1, DAY) as w:
            # A row more or less: a file of the same content would not go up again.
            w.append(frame.slice(0, rows - next(count)))
            lake.commit(w, Manifest(EVENTS.name, 1, DAY, "benchmark"))

    def read(of: Lake, *columns: str) -> pl.DataFrame:
        scan = of.scan(EVENTS, [(1, DAY)])
        return (scan.select(columns) if columns else scan).collect()

    def plain_read(*columns: str) -> pl.DataFrame:
        scan = pl.scan_parquet(plain, storage_options=options)
        return (scan.select(columns) if columns else scan).collect()

    # Readers of their own, which don't know what was written; each write makes their last copies old.
    readers = [Lake(section.model_copy(update={"connections": n})) for n in (7, 6)]
    pairs: dict[str, Pair] = {
        "write": (write, lambda: frame.write_parquet(plain, storage_options=options, **PARQUET)),
        "read": (lambda: read(readers[0]), plain_read),
        "read 3 columns": (lambda: read(readers[1], *COLUMNS), lambda: plain_read(*COLUMNS)),
        "read again": (lambda: read(readers[0]), plain_read),
    }
    took = measured(pairs, repeat)
    assert read(lake).equals(frame.slice(0, rows - next(count) + 1))
    lines = []
    for name, (ours, theirs) in took.items():
        cells = [
            f"{of(t[k] for t in times):.3f}"
            for k, of in ((0, min), (0, statistics.median), (1, min))
            for times in (ours, theirs)
        ]
        lines.append((name, *cells, *(f"{min(t[k] for t in ours) / min(t[k] for t in theirs):.2f}" for k in (0, 1))))
    stored = server.client().head_object(Bucket=bucket, Key="lake/" + _key(lake))["ContentLength"]
    head = (
        f"{machine()}; {rows:,} events, {megabytes(stored)} of parquet; {repeat} rounds; target {TARGET} times Polars"
    )
    return f"{head}\n" + table(HEAD, lines)


def _key(lake: Lake) -> str:
    return str(lake.part(EVENTS, 1, DAY)).split("/lake/")[1]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        servers = s3_server(Path(folder))
        try:
            print(run(next(servers), options.rows, options.repeat))
        finally:
            servers.close()


if __name__ == "__main__":
    main()
