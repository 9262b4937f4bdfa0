"""Logs to documents against GoAccess and ripgrep, on the same lines, in one run.

`python -m benchmarks.logs [--lines 2000000] [--days 1|4] [--gzip] [--goaccess-lines N] [--repeat 1]`

The ratios are what counts: lines per wall second of ours over theirs. GoAccess (Debian's) makes its full reports as JSON;
ripgrep counts the lines that match the whole combined regex, which is about the least that reading a log can cost.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from itertools import islice
from pathlib import Path

from benchmarks.measure import (
    Cost,
    FailedRunError,
    MissingToolError,
    best,
    check_lines,
    generate,
    machine,
    measure,
    megabytes,
    table,
    tool,
    usage_stats,
    warm,
    warm_code,
    workspace,
)  # fmt: skip

SETTINGS = """
[platform]
name = "benchmark"
grace_seconds = 0
[[sites]]
id = 1
name = "Repository"
url = "https://repo.example.org"
platform = "dspace"
level = "R"
country = "br"
"""
QUOTED = r'"((?:[^"\\]|\\.)*)"'
COMBINED = (
    r"^(\S+) (\S+) (\S+) \[(\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\] "
    rf'"([A-Z]+) (\S+) (HTTP/\d\.\d)" (\d{{3}}) (\d+|-) {QUOTED} {QUOTED}\s*$'
)


def ours(logs: Path, lines: int, first: str, last: str, repeat: int, *, plain: bool) -> tuple[Cost, Cost]:
    """The whole of `usage-stats run` in an empty working folder, and a run after it that finds nothing new."""
    runs = []
    how = ["--plain"] if plain else []
    for _ in range(repeat):
        with workspace(SETTINGS) as folder:
            every = usage_stats(folder, "run", *how, "--from", first, "--to", last, "--logs", str(logs))
            runs.append((every, usage_stats(folder, "run", *how, "--logs", str(logs))))
            check_lines(folder, lines)
    return min(runs, key=lambda r: r[0].wall)


def ripgrep(files: list[Path], repeat: int) -> tuple[Cost, int]:
    """`rg -c` of the full regex; also the lines that it matched."""
    search = [*(["-z"] if files[0].suffix == ".gz" else []), "--no-config", "--text", "--no-filename", "-c", COMBINED]
    cost = best([tool("rg"), *search, *map(str, files)], repeat=max(3, repeat))
    return cost, sum(int(line) for line in cost.out.split())


def goaccess(files: list[Path], lines: int, limit: int) -> tuple[Cost, int]:
    """GoAccess to JSON over the first `limit` lines; also how many those were. Needs a plain file: a packed one is unpacked first."""
    program = tool("goaccess")
    options = ["--log-format=COMBINED", "--no-global-config", "--no-progress"]
    with tempfile.TemporaryDirectory(prefix="usage-stats-bench-") as scratch:
        if limit < lines:
            head = Path(scratch) / "head.log"
            with head.open("wb") as out:
                left = limit
                for file in files:
                    with file.open("rb") as f:
                        for line in islice(f, left):
                            out.write(line)
                            left -= 1
            files = [head]
        report = Path(scratch) / "report.json"
        cost = measure([program, *map(str, files), *options, "-o", str(report)], env={**os.environ, "TERM": "dumb"})
        return cost, min(limit, lines)


def theirs(
    files: list[Path], plain_files: list[Path], args: argparse.Namespace
) -> tuple[list[tuple[str, Cost, int]], list[str]]:
    """GoAccess's and ripgrep's rows, and what to note about them; a tool that is not installed is noted only."""
    rows: list[tuple[str, Cost, int]] = []
    notes: list[str] = []
    try:
        cost, limit = goaccess(plain_files, args.lines, args.goaccess_lines or args.lines)
        rows.append(("GoAccess to JSON", cost, limit))
        if limit < args.lines:
            notes.append(f"GoAccess read {limit:,} lines only; it is faster a line on a short log than on a long one.")
        if args.gzip:
            notes.append("GoAccess read the plain log.")
    except (MissingToolError, FailedRunError) as e:
        notes.append(f"GoAccess left out: {e}")
    try:
        cost, matched = ripgrep(files, args.repeat)
        rows.append(("ripgrep -c, full regex", cost, args.lines))
        notes.append(f"ripgrep matched {matched:,} lines; its peak memory is the file that it maps.")
    except (MissingToolError, FailedRunError) as e:
        notes.append(f"ripgrep left out: {e}")
    return rows, notes


def main() -> int:
    """Runs all three and prints the tables; 1 when our own run failed, the others are left out when they are not installed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lines", type=int, default=2_000_000)
    parser.add_argument("--days", type=int, choices=(1, 4), default=1)
    parser.add_argument("--gzip", action="store_true", help="ours and ripgrep read the packed log")
    parser.add_argument("--goaccess-lines", type=int, help="GoAccess on the first N lines only, scaled by line")
    parser.add_argument("--repeat", type=int, default=1, help="runs of ours; the fastest counts")
    parser.add_argument("--plain", action="store_true", help="ours without Dagster: `usage-stats run --plain`")
    parser.add_argument("--skip-ours", action="store_true")
    args = parser.parse_args()

    plain = generate(args.lines, args.days) / "logs"
    read = generate(args.lines, args.days, packed=True) / "logs" if args.gzip else plain
    files, plain_files = sorted((read / "1").iterdir()), sorted((plain / "1").iterdir())
    size = sum(f.stat().st_size for f in files)
    print(
        f"{args.lines:,} lines in {len(files)} file(s), {megabytes(size)}{' packed' if args.gzip else ''}; {machine()}\n"
    )
    warm(read)

    rows: list[tuple[str, Cost, int]] = []
    notes: list[str] = []
    again: Cost | None = None
    failed = False
    if not args.skip_ours:
        first, last = (f.name.split(".")[0].removeprefix("access-") for f in (files[0], files[-1]))
        try:
            warm_code(SETTINGS)
            run, again = ours(read, args.lines, first, last, args.repeat, plain=args.plain)
            rows.append(("usage-stats run", run, args.lines))
        except FailedRunError as e:
            failed = True
            print(f"our run failed: {e}", file=sys.stderr)
    others, more = theirs(files, plain_files, args)
    rows += others
    notes += more

    head = ("", "wall s", "CPU s", "lines/s", "peak RSS")
    print(
        table(head, [(n, f"{c.wall:.2f}", f"{c.cpu:.2f}", f"{k / c.wall:,.0f}", megabytes(c.rss)) for n, c, k in rows])
    )
    _ratios(rows)
    if again is not None:
        print(f"\nA run that finds nothing new: {again.wall:.2f} s")
    if rows and rows[0][1].stages:
        _stages(rows[0][1])
    print("".join(f"\n{note}" for note in notes))
    return 1 if failed else 0


def _ratios(rows: list[tuple[str, Cost, int]]) -> None:
    if len(rows) < 2 or rows[0][0] != "usage-stats run":
        return
    wall = {name: lines / cost.wall for name, cost, lines in rows}
    cpu = {name: lines / cost.cpu for name, cost, lines in rows}
    mine = rows[0][0]
    print()
    for name, aim in (("GoAccess to JSON", "at least 10"), ("ripgrep -c, full regex", "at least 0.10, aim 0.25")):
        if name in wall:
            ratio, per_cpu = wall[mine] / wall[name], cpu[mine] / cpu[name]
            print(f"ours / {name}: {ratio:.2f}x ({aim}); {per_cpu:.2f}x by CPU seconds")


def _stages(cost: Cost) -> None:
    rest = cost.wall - sum(cost.stages.values())
    stages = [*sorted(cost.stages.items(), key=lambda s: -s[1]), ("start-up and the rest", rest)]
    rows = [(name, f"{seconds:.2f}", f"{100 * seconds / cost.wall:.0f} %") for name, seconds in stages]
    print("\nWhere the time goes:\n" + table(("stage", "s", "of wall"), rows))


if __name__ == "__main__":
    sys.exit(main())
