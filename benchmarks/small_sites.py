"""Many small sites: what each costs beyond the run's start-up, and what a run costs that finds nothing new.

`python -m benchmarks.small_sites [--sites 200] [--lines 500]`

Every site gets one log of one day. A run over one site stands for start-up; the aim is at most 0.1 s for each further site.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from itertools import islice
from pathlib import Path

from benchmarks.measure import (
    FailedRunError,
    check_lines,
    generate,
    machine,
    megabytes,
    table,
    usage_stats,
    warm_code,
    workspace,
)

DAY = "2025-03-01"


def write_logs(folder: Path, sites: int, lines: int) -> Path:
    """`folder/logs/<idsite>/access.log` for each site: consecutive slices of the benchmark's log, so that no two are equal."""
    source = next((generate(sites * lines) / "logs" / "1").iterdir())
    old = time.time() - 3600
    with source.open("rb") as f:
        for site in range(1, sites + 1):
            log = folder / "logs" / str(site) / f"access-{DAY}.log"
            log.parent.mkdir(parents=True)
            log.write_bytes(b"".join(islice(f, lines)))
            os.utime(log, (old, old))
    return folder / "logs"


def settings(sites: int) -> str:
    """Settings that list the sites."""
    one = '[[sites]]\nid = {id}\nurl = "https://repo{id}.example.org"\nplatform = "dspace"\ncountry = "br"\n'
    return '[platform]\nname = "benchmark"\ngrace_seconds = 0\n' + "".join(
        one.format(id=i) for i in range(1, sites + 1)
    )


def main() -> int:
    """Prints the runs and the seconds a site; 1 when a run failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sites", type=int, default=200)
    parser.add_argument("--lines", type=int, default=500, help="lines of each site's log")
    args = parser.parse_args()
    if args.sites < 2:
        parser.error("--sites: at least 2, since one alone stands for start-up")
    with workspace(settings(args.sites)) as folder:
        write_logs(folder, args.sites, args.lines)
        try:
            warm_code(settings(1))
            one = usage_stats(folder, "run", "--day", DAY, "--sites", "1")
            shutil.rmtree(folder / "data", ignore_errors=True)
            every = usage_stats(folder, "run", "--day", DAY)
            again = usage_stats(folder, "run")
            check_lines(folder, args.sites * args.lines)
        except FailedRunError as e:
            print(f"our run failed: {e}", file=sys.stderr)
            return 1
    print(f"{args.sites} sites of {args.lines:,} lines, one day; {machine()}\n")
    runs = (("one site", one), (f"{args.sites} sites", every), ("again, nothing new", again))
    print(
        table(
            ("", "wall s", "CPU s", "peak RSS"),
            [(n, f"{c.wall:.2f}", f"{c.cpu:.2f}", megabytes(c.rss)) for n, c in runs],
        )
    )
    print(f"\n{(every.wall - one.wall) / (args.sites - 1):.3f} s a site beyond start-up (at most 0.1)")
    for name, seconds in sorted(every.stages.items(), key=lambda s: -s[1]):
        print(f"  {name}: {seconds:.2f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
