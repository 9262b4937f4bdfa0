"""A process that reads a world over and over, as users' programs do: `python -m …reader FOLDER`, until its input ends.

Prints, as JSON, every different thing that it saw: of each table, of each file of hits, of the index.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from threading import Thread

import polars as pl

from usage_stats_dagster.index.embedded import EmbeddedIndex
from usage_stats_dagster.index.interface import Selection
from usage_stats_dagster.lake.store import Lake
from usage_stats_dagster.schemas import DOCUMENTS, EVENTS, HITS, METRICS_TABLE, VISITS, Table
from usage_stats_dagster_tests.crash.states import INDEX, LAKE
from usage_stats_dagster_tests.crash.worlds import FIRST


def rows_hash(frame: pl.DataFrame) -> str:
    """A hash over all rows, in order."""
    return f"{frame.height} rows, {hash(frame.write_json())}"


def look(lake: Lake, index: EmbeddedIndex) -> dict[str, str]:
    """What a reader sees now, of the first day of site 1."""

    def table(t: Table) -> pl.DataFrame:
        return lake.scan(t, [(1, FIRST)]).collect()

    where = Selection(sites=(1,), start=FIRST, end=FIRST)
    seen = {t.name: rows_hash(table(t)) for t in (VISITS, EVENTS, METRICS_TABLE, DOCUMENTS)}
    for path in sorted(lake.folder(HITS, 1, FIRST).glob("*.parquet")):
        seen[f"hits {path.name}"] = rows_hash(pl.read_parquet(path, hive_partitioning=False))
    seen["index"] = rows_hash(index.sources(where))
    seen["index's sums"] = rows_hash(index.totals(where))
    return seen


def main() -> None:
    """Looks until the standard input ends."""
    folder = Path(sys.argv[1])
    lake, index = Lake(str(folder / LAKE)), EmbeddedIndex(folder / INDEX, create=False)
    ended = Thread(target=sys.stdin.read, daemon=True)
    ended.start()
    seen: dict[str, dict[str, int]] = {}
    while ended.is_alive():
        for what, found in look(lake, index).items():
            of = seen.setdefault(what, {})
            of[found] = of.get(found, 0) + 1
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
