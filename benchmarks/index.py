"""Indexing a site-day into OpenSearch, against curl sending prebuilt NDJSON to the same server.

What belongs here: the two ways, alternating in one run, and their ratio. What does not: other stages.

curl has nothing to do but read files: its rate is the server's. Ours begins with a frame and ends with the day visible to
readers: JSON, hashes, the lease, hiding the day while it is written, refresh, comparing the sums, the record of the day.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.measure import tool
from usage_stats_dagster.documents.contract import index_body, with_ids
from usage_stats_dagster.index.embedded import EmbeddedIndex
from usage_stats_dagster.index.opensearch.bulk import action
from usage_stats_dagster.index.opensearch.index import OpenSearchIndex
from usage_stats_dagster.index.source import encoded
from usage_stats_dagster.schemas import DOCUMENTS, METRICS
from usage_stats_dagster_tests.opensearch_server import opensearch_url, removed, section

DAY = date(2025, 3, 1)
COUNTRIES = np.array(["ar", "br", "cl", "co", "de", "es", "fr", "gb", "in", "mx", "pe", "us", "uy", "xx"])


def documents(count: int) -> pl.DataFrame:
    """So many documents of a day, two countries each on average, drawn from a seed."""
    random = np.random.default_rng(7)
    repeats = np.minimum(random.geometric(0.45, count), 12)
    number = np.repeat(np.arange(count), repeats)
    place = np.concatenate([np.arange(r) for r in repeats])
    rows = pl.DataFrame({"number": number, "country": COUNTRIES[(number + place) % len(COUNTRIES)]})
    rows = rows.with_columns(*[pl.Series(m, random.integers(0, 6, rows.height)) for m in METRICS])
    made = rows.group_by("number", maintain_order=True).agg(
        *[pl.col(m).sum() for m in METRICS],
        stats_by_country=pl.struct("country", *METRICS).sort_by(pl.col("country")),
    )
    host = pl.format("oai:repository{}.example.org", pl.col("number") % 7)
    made = made.with_columns(
        idsite=pl.lit(1, pl.Int32), year=pl.lit(DAY.year, pl.Int32), month=pl.lit(DAY.month, pl.Int32),
        day=pl.lit(DAY.day, pl.Int32), date=pl.lit(DAY), level=pl.lit("R"), country=pl.lit("BR"),
        identifier=pl.format("{}:123456789/{}", host, "number"), identifier_prefix=host, rules_version=pl.lit("0" * 16),
    )  # fmt: skip
    return DOCUMENTS.conform(with_ids(made).select(*DOCUMENTS.columns))


def by_curl(url: str, bodies: list[Path], requests: int) -> float:
    """Seconds until all bodies are in a fresh index and seen, `requests` at a time."""
    name = f"curl-{time.time_ns()}"
    _call(url, "PUT", f"/{name}", index_body(0))
    config = "\n".join(
        f'url = "{url}/{name}/_bulk?filter_path=errors"\nheader = "content-type: application/x-ndjson"\nheader = "expect:"\n'
        f'data-binary = "@{b}"\noutput = "{b}.answer"\nnext'
        for b in bodies
    )
    start = time.perf_counter()
    subprocess.run(
        [tool("curl"), "--no-progress-meter", "--fail", "--parallel", "--parallel-immediate", "--parallel-max", str(requests), "--config", "-"],
        input=config.removesuffix("next").encode(), check=True,
    )  # fmt: skip
    _call(url, "POST", f"/{name}/_refresh")
    seconds = time.perf_counter() - start
    assert all(json.loads(Path(f"{b}.answer").read_bytes()) == {"errors": False} for b in bodies)
    _call(url, "DELETE", f"/{name}")
    return seconds


def by_us(url: str, frame: pl.DataFrame, requests: int) -> tuple[float, float]:
    """Seconds, and seconds of this process' CPU, until the frame is a whole day of a fresh index."""
    options = section(url, bulk_requests=requests)
    with OpenSearchIndex(options) as index:
        before = date(2025, 2, 28)
        made = frame.head(1).with_columns(date=pl.lit(before), year=2025, month=2, day=28)
        index.replace(1, before, before, DOCUMENTS.conform(with_ids(made)))  # a site's index is made once, as curl's is
        cpu, start = time.process_time(), time.perf_counter()
        index.replace(1, DAY, DAY, frame)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        assert index.totals()["documents"].item() == frame.height + 1
    removed(options)
    return seconds, cpu


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--documents", type=int, default=42_000)
    parser.add_argument("--requests", type=int, default=2, help="bulk requests in flight, curl's and ours")
    parser.add_argument("--size", type=int, default=5000, help="documents in a request")
    parser.add_argument("--repeat", type=int, default=5)
    given = parser.parse_args()
    frame = documents(given.documents)
    print(f"{frame.height:,} documents, {given.requests} requests at a time, load {os.getloadavg()[0]:.1f}")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        lines = encoded(frame).select(action("index") + "\n" + pl.col("source") + "\n").to_series()
        bodies = []
        for n in range(0, len(lines), given.size):
            bodies.append(folder / f"{n}.ndjson")
            bodies[-1].write_text(lines[n : n + given.size].str.join("").item())
        print(f"{sum(b.stat().st_size for b in bodies) / 1e6:.0f} MB of NDJSON")
        url = stack.enter_context(opensearch_url(quick=False))
        by_curl(url, bodies, given.requests)  # the server's own warming up
        rounds = [
            (by_curl(url, bodies, given.requests), *by_us(url, frame, given.requests)) for _ in range(given.repeat)
        ]
        start = time.process_time()
        with EmbeddedIndex(folder / "index.db") as embedded:
            embedded.replace(1, DAY, DAY, frame)
        embedded_cpu = time.process_time() - start
    curl, ours, cpu = (statistics.median(r[i] for r in rounds) for i in range(3))
    print(f"curl      {curl:6.2f} s   {frame.height / curl:8,.0f} documents/s")
    print(f"ours      {ours:6.2f} s   {frame.height / ours:8,.0f} documents/s   {cpu:.2f} s of client CPU")
    pairs = sorted(r[0] / r[1] for r in rounds)
    print(f"our rate over curl's: {curl / ours:.2f} (medians); by pairs {', '.join(f'{p:.2f}' for p in pairs)}")
    print(f"embedded index: {embedded_cpu:.2f} s of CPU")


def _call(url: str, method: str, path: str, body: object = None) -> None:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data, {"content-type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=120) as answer:
        answer.read()


if __name__ == "__main__":
    sys.exit(main())
