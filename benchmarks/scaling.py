"""Does the cost grow with the lines and no faster? The same run at 200 thousand, 2 million and 20 million lines.

`python -m benchmarks.scaling [--lines 200000,2000000,20000000] [--days 1|4]`

Linear means: microseconds a line beyond start-up stay level, and peak memory does not grow.
"""

from __future__ import annotations

import argparse
import sys

from benchmarks.logs import SETTINGS
from benchmarks.measure import (
    FailedRunError,
    check_lines,
    generate,
    machine,
    megabytes,
    table,
    usage_stats,
    warm,
    warm_code,
    workspace,
)

START_UP_LINES = 1_000


def main() -> int:
    """Prints a row for each length; 1 when a run failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lines", default="200000,2000000,20000000", help="lengths, with commas between")
    parser.add_argument("--days", type=int, choices=(1, 4), default=1)
    args = parser.parse_args()
    lengths = [START_UP_LINES, *sorted(int(n.replace("_", "")) for n in args.lines.split(","))]

    print(machine())
    warm_code(SETTINGS)
    rows: list[tuple[str, ...]] = []
    start_up = 0.0
    for lines in lengths:
        logs = generate(lines, args.days) / "logs"
        warm(logs)
        days = [f.name.removeprefix("access-").removesuffix(".log") for f in sorted((logs / "1").iterdir())]
        with workspace(SETTINGS) as folder:
            try:
                cost = usage_stats(folder, "run", "--from", days[0], "--to", days[-1], "--logs", str(logs))
                check_lines(folder, lines)
            except FailedRunError as e:
                print(f"our run failed: {e}", file=sys.stderr)
                return 1
        if lines == START_UP_LINES:
            start_up = cost.wall
        beyond = max(0.0, cost.wall - start_up)
        rows.append(
            (f"{lines:,}", f"{cost.wall:.2f}", f"{cost.cpu:.2f}", f"{1e6 * beyond / lines:.2f}", f"{lines / cost.wall:,.0f}", megabytes(cost.rss))
        )  # fmt: skip
    print(table(("lines", "wall s", "CPU s", "µs/line beyond start-up", "lines/s", "peak RSS"), rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
