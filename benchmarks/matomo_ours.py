"""`usage-stats run --plain` of some days in this folder, timed from its first query to the index: for `benchmarks.matomo`.

What is left out of the times is what is left out of the pandas way's: importing packages, and reading the settings.

`python -m benchmarks.matomo_ours FIRST LAST` prints what it cost, as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import date

import alembic.command
import alembic.config
import connectorx
import pymysql

import usage_stats_dagster.pipeline.extraction
import usage_stats_dagster.pipeline.months
from usage_stats_dagster.cli.common import open_workspace
from usage_stats_dagster.pipeline.run import run

_IMPORTED_WHEN_USED = (alembic, connectorx, pymysql, usage_stats_dagster)


def main() -> None:
    """Runs all stages."""
    first, last = map(date.fromisoformat, sys.argv[1:])
    ws = open_workspace(None)
    wall, cpu = time.perf_counter(), time.process_time()
    run(ws, first=first, last=last)
    print(json.dumps({"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}))


if __name__ == "__main__":
    main()
