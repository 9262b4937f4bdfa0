"""`usage-stats run --plain` of some days in this folder, timed from its first query to the index: for `benchmarks.matomo`.

What is left out of the times is what is left out of the pandas way's: importing packages, and reading the settings. The
process is set up as the command sets itself up (`cli/start.py`).

`python -m benchmarks.matomo_ours FIRST LAST` prints what it cost, as JSON.
"""

# ruff: noqa: PLC0415  (the allocator reads its settings when Polars is imported)
from __future__ import annotations

import gc
import json
import os
import sys
import time
from datetime import date

from usage_stats_dagster.cli.start import ALLOCATOR, OBJECTS_BETWEEN_COLLECTIONS


def main() -> None:
    """Imports everything that the run will, then runs all stages."""
    first, last = map(date.fromisoformat, sys.argv[1:])
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("_RJEM_MALLOC_CONF", ALLOCATOR)
    gc.disable()
    import connectorx  # noqa: F401
    import pymysql  # noqa: F401

    import usage_stats_dagster.pipeline.extraction
    import usage_stats_dagster.pipeline.months  # noqa: F401
    from usage_stats_dagster.cli.common import open_workspace
    from usage_stats_dagster.pipeline.run import run

    gc.freeze()
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS, 20, 100)
    gc.enable()
    ws = open_workspace(None)
    wall, cpu = time.perf_counter(), time.process_time()
    run(ws, first=first, last=last)
    print(json.dumps({"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}))


if __name__ == "__main__":
    main()
