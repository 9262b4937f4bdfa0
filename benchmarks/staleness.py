"""How long `status --stale` and `warnings` take over a long history: sites x years of ledger rows, no logs, no lake.

    python benchmarks/staleness.py [SITES] [YEARS]

Prints seconds of wall and CPU for: nothing stale, one site stale, every day stale, a day's warnings, all from a cold process' caches.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import sqlalchemy as sa

from usage_stats_dagster.ledger.ledger import now
from usage_stats_dagster.ledger.tables import DayStatus, LogStatus, date_status, log_day, log_file
from usage_stats_dagster.metrics.version import rules_version
from usage_stats_dagster.pipeline.stale import stale_days, stretches
from usage_stats_dagster.pipeline.versions import figures_parts, import_version
from usage_stats_dagster.pipeline.workspace import Workspace
from usage_stats_dagster.settings import load_settings
from usage_stats_dagster.watch.look import look

LAST = date(2025, 12, 31)


def platform(folder: Path, sites: int, **rules: object) -> Workspace:
    """A platform of so many sites."""
    return Workspace(
        load_settings(
            storage={"root": str(folder / "lake")},
            ledger={"url": f"sqlite:///{folder / 'ledger.db'}"},
            index={"path": str(folder / "index.db")},
            sites=[{"id": s, "platform": "dspace", "url": f"https://r{s}.example.org"} for s in range(1, sites + 1)],
            rules=rules,
        )
    )


def fill(ws: Workspace, years: int) -> int:
    """A log and a finished day a site and day; returns how many site-days."""
    days = [LAST - timedelta(k) for k in range(round(365.25 * years))]
    figures = dict.fromkeys(("views", "downloads", "total_item_investigations", "unique_item_investigations"), 1000)
    counts = figures | {"events": 5000, "robots": 1200, "mapped": 3000, "unmapped": 200, "documents": 700}
    with ws.ledger.write() as c:
        for site in ws.settings.sites:
            version, imported = rules_version(figures_parts(ws, site)), import_version(ws, site)
            status = {
                "idsite": site.id, "status": DayStatus.DONE, "files_loaded": 1, "rules_version": version,
                "counts": counts, "updated_at": now(),
            }  # fmt: skip
            c.execute(sa.insert(date_status), [{**status, "day": d} for d in days])
            base = site.id * 100_000
            log = {
                "idsite": site.id, "head_length": 1024, "status": LogStatus.LOADED, "bytes": 1, "lines": 9000,
                "content_hash": "0" * 32, "import_version": imported,
            }  # fmt: skip
            logs = [
                {
                    **log,
                    "id": base + k,
                    "identity": f"{base + k:032x}",
                    "name": f"{d}.log",
                    "path": f"/logs/{site.id}/{d}.log",
                }
                for k, d in enumerate(days)
            ]
            c.execute(sa.insert(log_file), logs)
            of_day = {"lines": 9000, "hits": 5000, "robots": 1200, "covers": True, "hits_hash": "0" * 32}
            c.execute(sa.insert(log_day), [{**of_day, "log_file_id": base + k, "day": d} for k, d in enumerate(days)])
    return len(days) * len(ws.settings.sites)


def timed(what: str, work: Callable[[], object]) -> None:
    """Prints what it took."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    print(f"{what:<44} {time.perf_counter() - wall:6.2f} s wall {time.process_time() - cpu:6.2f} s CPU   {result}")


def main() -> None:
    """Fills a ledger and asks."""
    sites, years = (int(a) for a in (*sys.argv[1:3], "100", "10")[:2]) if len(sys.argv) > 2 else (100, 10)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ws = platform(folder, sites)
        print(f"{fill(ws, years):,} site-days")
        timed("nothing is stale", lambda: stale_days(platform(folder, sites)).height)
        one = platform(folder, sites)
        one.settings = one.settings.model_copy(
            update={
                "sites": tuple(s.model_copy(update={"country": "br"} if s.id == 3 else {}) for s in one.settings.sites)
            }
        )
        timed("one site is stale", lambda: stale_days(one).height)
        other = platform(folder, sites, double_click_seconds=10)
        timed("every day is stale, as stretches", lambda: stretches(stale_days(other)).height)
        spam = platform(folder, sites, spam_referrers=["spam.example"])
        timed("every log of other settings, and gone", lambda: stretches(stale_days(spam)).height)
        timed("warnings of a day", lambda: look(platform(folder, sites), [LAST], today=LAST).findings.height)
        timed("warnings of a month", lambda: look(platform(folder, sites), today=LAST).findings.height)


if __name__ == "__main__":
    main()
