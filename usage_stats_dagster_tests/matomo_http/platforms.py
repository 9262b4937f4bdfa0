"""A platform that sends to, or reads from, the Matomo of a test.

What belongs here: building blocks of this folder's tests. What does not: tests.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from usage_stats_dagster.matomo.http import MatomoError
from usage_stats_dagster.pipeline.imports import import_logs
from usage_stats_dagster.pipeline.sending import send_days
from usage_stats_dagster.pipeline.stage import StageReport
from usage_stats_dagster_tests.matomo_http.server import Matomo
from usage_stats_dagster_tests.matomo_http.store import Store
from usage_stats_dagster_tests.platforms import DAY, HOST, Platform, line

ROBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
DROPPED = "Mozilla/5.0 (X11; Linux x86_64) Unwanted/1.0"
"""An agent that is no robot to us and that the tests' Matomo drops."""


def store_in(folder: Path) -> Store:
    """A Matomo's tables in the folder."""
    return Store(f"sqlite:///{folder / 'matomo.db'}")


def platform_for(
    folder: Path, server: Matomo, *, sites: Iterable[int] = (1,), excluded: Iterable[str] = (), **more: Any
) -> Platform:
    """A platform whose Matomo is this one: quick to give up, small batches."""
    section = {
        "url": server.url, "send": True, "send_batch": 10, "request_seconds": 0.6, "timeout_seconds": 0.1, "patience_seconds": 30,
    }  # fmt: skip
    return Platform.make(
        folder, matomo={**section, **more.pop("matomo", {})},
        sites=[{"id": s, "platform": "dspace", "url": f"https://{HOST}", "exclude": list(excluded)} for s in sites], **more,
    )  # fmt: skip


def lines(n: int, *, start: int = 0, agent: str | None = None, site: int = 1, every: int = 1) -> list[str]:
    """Lines one second apart, each with a URL of its own."""
    more = {} if agent is None else {"agent": agent}
    return [
        line(_clock(start + k * every), f"/handle/1/{site}-{start + k * every}", ip=f"192.0.2.{k % 250}", **more)
        for k in range(n)
    ]


def _clock(second: int) -> str:
    return f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"


def send(platform: Platform, sites: Iterable[int] = (1,)) -> list[StageReport | MatomoError]:
    """Imports what is new and sends it, as a new process would."""
    ws = platform.ws
    import_logs(ws)
    return send_days(ws, [DAY], list(sites))


def stored(matomo: Matomo, site: int = 1) -> Counter[str]:
    """How often Matomo has each URL's path."""
    assert matomo.store is not None
    return Counter({url.removeprefix(HOST): n for url, n in matomo.store.urls(site)})


def paths(n: int, *, start: int = 0, site: int = 1) -> Counter[str]:
    """What `lines` should have become."""
    return Counter(f"/handle/1/{site}-{start + k}" for k in range(n))


def first_then(fault: str, at: int = 1) -> Any:
    """A server's faults: the one named, at the bulk request of that number (from 0) only."""
    count = itertools.count()
    return lambda: fault if next(count) == at else None
