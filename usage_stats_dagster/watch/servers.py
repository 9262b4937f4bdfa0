"""A silent server: one that sent logs until now and has next to nothing on a day on which others of its site work.

What belongs here: the rule, over lines by server and day. What does not: which server a log is of (`logs/discover.py`, by
the site's `path_pattern`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import date, timedelta

import polars as pl

from usage_stats_dagster.watch.findings import Finding

LINES_SCHEMA = pl.Schema({"idsite": pl.Int32, "server": pl.String, "day": pl.Date, "lines": pl.Int64})


def silent_servers(
    lines: pl.DataFrame, asked: Collection[tuple[int, date]], *, days: int, share: float, least: int
) -> Iterator[Finding]:
    """Servers (LINES_SCHEMA, with the days before) whose lines are below `share` of their mean over the `days` before.

    The mean is over the days on which the server has lines; below `least` lines it says nothing. Where every server of
    the site is silent the day is missing, which is another warning.
    """
    for (idsite,), site in lines.partition_by("idsite", as_dict=True).items():
        by_server = {
            s: dict(part.select("day", "lines").iter_rows())
            for (s,), part in site.partition_by("server", as_dict=True).items()
        }
        for day in sorted(d for s, d in asked if s == idsite):
            usual = {s: _mean(of, day, days) for s, of in by_server.items()}
            quiet = [s for s, mean in usual.items() if mean >= least and by_server[s].get(day, 0) < share * mean]
            working = [s for s in by_server if s not in quiet and by_server[s].get(day, 0) >= least]
            if not working:
                continue
            for server in sorted(quiet):
                have, mean = by_server[server].get(day, 0), usual[server]
                others = ", ".join(sorted(working))
                message = f"server {server} has {have:,} lines, usually {mean:,.0f}, while {others} go on: is its log missing?"
                yield Finding(
                    idsite,
                    day,
                    "silent_server",
                    message.replace("go on", "goes on") if len(working) == 1 else message,
                    have,
                    mean,
                )


def _mean(of: dict[date, int], day: date, days: int) -> float:
    found = [n for k in range(1, days + 1) if (n := of.get(day - timedelta(k), 0))]
    return sum(found) / len(found) if found else 0.0
