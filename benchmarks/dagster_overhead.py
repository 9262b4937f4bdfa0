"""What Dagster itself costs for a day: the same run with its graph (in-process executor) and as plain function calls.

`python -m benchmarks.dagster_overhead [--lines 20000] [--repeat 3]`

Both are whole processes in empty working folders: `usage-stats run`, and `usage-stats run --plain`, which calls the same
stages without Dagster. The day is small, so that the difference is not lost in the work; it does not grow with the lines.
"""

from __future__ import annotations

import argparse
import sys

from benchmarks.logs import SETTINGS
from benchmarks.measure import (
    FailedRunError,
    best,
    check_lines,
    environment,
    generate,
    machine,
    megabytes,
    table,
    usage_stats,
    warm,
    warm_code,
    workspace,
)

DAY = "2025-03-01"


def main() -> int:
    """Prints both runs, what importing costs, and the difference; 1 when a run failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lines", type=int, default=20_000)
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    logs = generate(args.lines) / "logs"
    warm(logs)
    costs = {}
    try:
        warm_code(SETTINGS)
        for name, options in (("stages alone", ["--plain"]), ("through Dagster", [])):
            runs = []
            for _ in range(args.repeat):
                with workspace(SETTINGS) as folder:
                    runs.append(usage_stats(folder, "run", "--day", DAY, "--logs", str(logs), *options))
                    check_lines(folder, args.lines)
            costs[name] = min(runs, key=lambda c: c.wall)
        for name, module in (
            ("importing Python alone", "sys"),
            ("importing the stages", "usage_stats_dagster.pipeline.run"),
            ("importing the graph too", "usage_stats_dagster.defs.run"),
        ):
            costs[name] = best([sys.executable, "-c", f"import {module}"], repeat=args.repeat, env=environment())
    except FailedRunError as e:
        print(f"a run failed: {e}", file=sys.stderr)
        return 1
    print(f"One day of {args.lines:,} lines, the fastest of {args.repeat}; {machine()}\n")
    print(
        table(
            ("", "wall s", "CPU s", "peak RSS"),
            [(n, f"{c.wall:.2f}", f"{c.cpu:.2f}", megabytes(c.rss)) for n, c in costs.items()],
        )
    )
    dagster, plain = costs["through Dagster"], costs["stages alone"]
    graph, stages = costs["importing the graph too"], costs["importing the stages"]
    print(
        f"\nDagster's own overhead: {dagster.wall - plain.wall:.2f} s a run (CPU {dagster.cpu - plain.cpu:.2f} s), "
        f"of which importing it {graph.wall - stages.wall:.2f} s (CPU {graph.cpu - stages.cpu:.2f} s)"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
