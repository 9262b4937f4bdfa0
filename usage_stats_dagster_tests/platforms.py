"""Small platforms for tests: a folder, settings, log lines, and what the documents say in the end.

What belongs here: building blocks that several test modules use. What does not: tests.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from usage_stats_dagster.pipeline.run import RunReport, run
from usage_stats_dagster.pipeline.workspace import Workspace
from usage_stats_dagster.schemas import DOCUMENTS, METRICS
from usage_stats_dagster.settings import Settings, load_settings

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
HOST = "repo.example.org"
DAY = date(2025, 3, 1)


def settings(folder: Path, **sections: Any) -> Settings:
    """Settings whose state, lake and logs all lie in the folder; site 1 is a DSpace unless told."""
    values: dict[str, Any] = {
        "platform": {"grace_seconds": 0},
        "storage": {"root": str(folder / "lake")},
        "ledger": {"url": f"sqlite:///{folder / 'ledger.db'}"},
        "index": {"path": str(folder / "index.db")},
        "logs_dir": str(folder / "logs"),
        "sites": [{"id": 1, "platform": "dspace", "url": f"https://{HOST}"}],
    }
    for name, section in sections.items():
        values[name] = {**values.get(name, {}), **section} if isinstance(section, Mapping) else section
    return load_settings(**values)


@dataclass
class Platform:
    """A platform in a folder."""

    folder: Path
    settings: Settings

    @classmethod
    def make(cls, folder: Path, **sections: Any) -> Platform:
        """A new one."""
        folder.mkdir(parents=True, exist_ok=True)
        return cls(folder, settings(folder, **sections))

    @property
    def ws(self) -> Workspace:
        """Opened anew, as a new process would."""
        return Workspace(self.settings)

    def log(self, name: str, lines: Iterable[str] | bytes, site: int = 1) -> Path:
        """Writes a log of the site."""
        path = self.folder / "logs" / str(site) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(lines if isinstance(lines, bytes) else "".join(f"{x}\n" for x in lines).encode())
        return path

    def run(self, first: date | None = None, last: date | None = None) -> RunReport:
        """All stages, in this process."""
        return run(self.ws, first=first, last=last or first)

    def documents(self) -> pl.DataFrame:
        """Every document in the lake, by site, date and identifier."""
        files = sorted((self.folder / "lake" / "documents").rglob("*.parquet"))
        frame = pl.concat([pl.read_parquet(f, hive_partitioning=False) for f in files]) if files else DOCUMENTS.empty()
        return frame.sort("idsite", "date", "identifier")

    def files(self, *tables: str) -> dict[str, bytes]:
        """The bytes of the tables' parquet files, by path below the lake."""
        lake = self.folder / "lake"
        return {str(p.relative_to(lake)): p.read_bytes() for t in tables for p in sorted((lake / t).rglob("*.parquet"))}

    def figures(self, *metrics: str) -> dict[date, tuple[int, ...]]:
        """Sums by date of the metrics (default: COUNTER's four)."""
        names = metrics or METRICS[4:]
        sums = self.documents().group_by("date").agg(pl.col(names).sum()).sort("date")
        return {row[0]: row[1:] for row in sums.iter_rows()}


def line(
    when: datetime | str,
    url: str = "/handle/1/1",
    *,
    ip: str = "192.0.2.7",
    agent: str = FIREFOX,
    method: str = "GET",
    status: int = 200,
    referrer: str = "-",
    zone: str = "+0000",
) -> str:
    """A combined log line; `when` as datetime or `HH:MM:SS` of DAY."""
    if isinstance(when, str):
        h, m, s = map(int, when.split(":"))
        when = datetime(DAY.year, DAY.month, DAY.day) + timedelta(hours=h, minutes=m, seconds=s)
    stamp = f"{when:%d/%b/%Y:%H:%M:%S} {zone}"
    return f'{ip} - - [{stamp}] "{method} {url} HTTP/1.1" {status} 1234 "{referrer}" "{agent}"'


PDF = "/bitstream/handle/1/1/paper.pdf"
