"""A process that reads a world over and over, as users' programs do: `python -m …reader FOLDER`, until its input ends.

Lake and index lie where the folder's settings and the environment say.

Prints, as JSON, every different thing that it saw: of each table, of each file of hits, of the index.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from threading import Thread

import polars as pl

from usage_stats_dagster.index.interface import DocumentIndex, Selection
from usage_stats_dagster.index.open import open_index
from usage_stats_dagster.lake.store import Lake
from usage_stats_dagster.schemas import DOCUMENTS, EVENTS, HITS, METRICS_TABLE, VISITS, Table
from usage_stats_dagster.settings import load_settings
from usage_stats_dagster_tests.crash.worlds import FIRST, inside


def rows_hash(frame: pl.DataFrame) -> str:
    """A hash over all rows, in order."""
    return f"{frame.height} rows, {hash(frame.write_json())}"


def look(lake: Lake, index: DocumentIndex) -> dict[str, str]:
    """What a reader sees now, of the first day of site 1."""

    def table(t: Table) -> pl.DataFrame:
        return lake.scan(t, [(1, FIRST)]).collect()

    where = Selection(sites=(1,), start=FIRST, end=FIRST)
    seen = {t.name: rows_hash(table(t)) for t in (VISITS, EVENTS, METRICS_TABLE, DOCUMENTS)}
    for file in lake.files(lake.folder(HITS, 1, FIRST)):
        if file.name.endswith(".parquet"):
            seen[f"hits {file.name}"] = rows_hash(lake.scan_files(HITS, [file]).collect())
    seen["index"] = rows_hash(index.sources(where))
    seen["index's sums"] = rows_hash(index.totals(where))
    return seen


def main() -> None:
    """Looks until the standard input ends."""
    seen: dict[str, dict[str, int]] = {}
    with inside(Path(sys.argv[1])):
        settings = load_settings()
        lake, index = Lake(settings.storage), open_index(settings)
        ended = Thread(target=sys.stdin.read, daemon=True)
        ended.start()
        while ended.is_alive():
            for what, found in look(lake, index).items():
                of = seen.setdefault(what, {})
                of[found] = of.get(found, 0) + 1
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
