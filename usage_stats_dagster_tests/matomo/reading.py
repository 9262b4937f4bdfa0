"""A workspace whose source is a database, and its tables."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from usage_stats_dagster.pipeline.run import run
from usage_stats_dagster.pipeline.workspace import Workspace
from usage_stats_dagster.schemas import Table
from usage_stats_dagster.settings import Settings


def workspace(
    folder: Path, url: str, sites: list[dict[str, Any]], *, platform: dict[str, Any] | None = None, **matomo: Any
) -> Workspace:
    return Workspace(
        Settings(
            platform=platform or {},
            storage={"root": str(folder / "lake")},
            ledger={"url": f"sqlite:///{folder}/ledger.db"},
            index={"path": str(folder / "index.db")},
            matomo={"mode": "database", "database_url": url, **matomo},
            sites=sites,
        )
    )


def days(first: date, last: date) -> list[date]:
    return [first + timedelta(k) for k in range((last - first).days + 1)]


def table(ws: Workspace, of: Table, idsite: int, first: date, last: date) -> pl.DataFrame:
    return ws.lake.scan(of, [(idsite, d) for d in days(first, last)]).collect()


def made(folder: Path, url: str, sites: list[dict[str, Any]], first: date, last: date, **more: Any) -> Workspace:
    ws = workspace(folder, url, sites, **more)
    run(ws, first=first, last=last)
    return ws
