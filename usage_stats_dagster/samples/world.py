"""The sample world: three sites, their logs and the settings that fit, from a seed.

What belongs here: the sites and how their servers rotate logs. What does not: what a site holds (`catalogues.py`), who visits
(`sessions.py`), how a line is written (`lines.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from usage_stats_dagster.samples import lines
from usage_stats_dagster.samples.catalogues import Catalogue, dspace, ojs, scielo
from usage_stats_dagster.samples.sessions import DAY, SPAM_HOST, crowds, draw_requests


@dataclass(frozen=True)
class SampleFile:
    """One log: `format` is its line format as `logs/formats` calls it, `lines` counts the `broken` ones too, `bytes` are those on disk."""

    idsite: int
    day: date
    path: Path
    format: str
    lines: int
    broken: int
    bytes: int


@dataclass(frozen=True)
class SampleReport:
    """What was made: the settings file and the logs, in the order of their sites and names."""

    settings: Path
    logs: tuple[SampleFile, ...]

    @property
    def files(self) -> int:
        """How many logs."""
        return len(self.logs)

    @property
    def lines(self) -> int:
        """All lines of all logs."""
        return sum(f.lines for f in self.logs)

    @property
    def bytes(self) -> int:
        """All bytes on disk."""
        return sum(f.bytes for f in self.logs)


@dataclass(frozen=True)
class SampleSite:
    """A site of the sample; `slots` are the parts of a day's logs: a file each, by `by` (server or hour of rotation)."""

    id: int
    name: str
    url: str
    platform: str
    level: str
    country: str
    format: str
    line: Callable[[str], pl.Expr]
    catalogue: Callable[[np.random.Generator, int], Catalogue]
    items: int
    sessions: float
    countries: Mapping[str, float]
    slots: tuple[str, ...]
    by: str

    @property
    def host(self) -> str:
        """The host of the address."""
        return self.url.removeprefix("https://")


SITES = (
    SampleSite(
        1, "Repositório Institucional", "https://repositorio.universidade.example", "dspace", "R", "br", "combined",
        lines.combined, dspace, 2_500, 700, {"br": 60, "pt": 8, "ao": 4, "mz": 4, "us": 6, "es": 4, "co": 3},
        ("{day}_web1.log.gz", "{day}_web2.log"), "server",
    ),
    SampleSite(
        2, "Revistas Académicas", "https://revistas.academia.example", "ojs", "R", "co", "vhost_combined",
        lines.vhost_combined, ojs, 900, 420, {"co": 35, "mx": 20, "ar": 12, "pe": 10, "es": 8, "cl": 6, "ec": 5},
        tuple(f"access.{{day}}-{h:02d}.log" for h in (0, 6, 12, 18)), "hour",
    ),
    SampleSite(
        3, "Coleção de Periódicos", "https://periodicos.colecao.example", "scielo", "N", "br", "combined",
        lines.behind_proxy, scielo, 1_800, 520, {"br": 45, "mx": 12, "co": 10, "us": 7, "pt": 6, "ar": 5, "in": 4, "cn": 3},
        ("periodicos.{day}.log.zst",), "day",
    ),
)  # fmt: skip


def make_sample(folder: Path, *, days: int, seed: int, first_day: date) -> SampleReport:
    """Writes `folder/logs/<idsite>/…` and `folder/usage_stats.toml`; the same arguments give the same bytes.

    About 12,000 lines a day over three sites. A request belongs to the log that was open when its answer was finished, so a
    log can open with a line of the day before, as servers write it. Existing files of the same names are replaced.
    Raises ValueError when `days` is not positive.
    """
    if days < 1:
        msg = f"a sample needs at least one day, not {days}"
        raise ValueError(msg)
    folder.mkdir(parents=True, exist_ok=True)
    files: list[SampleFile] = []
    for site in SITES:
        # Each site has its own stream, so that a change to one leaves the others' bytes alone.
        rng = np.random.default_rng([seed, site.id])
        requests = _requests(rng, site, days, first_day)
        files.extend(_write(rng, site, requests, folder / "logs" / str(site.id), first_day))
    settings = folder / "usage_stats.toml"
    settings.write_text(_settings(first_day), encoding="utf-8")
    return SampleReport(settings, tuple(files))


def _requests(rng: np.random.Generator, site: SampleSite, days: int, first_day: date) -> pl.DataFrame:
    """All requests of the site, in the order in which a server logs them, with the log (`day`, `slot`) of each."""
    catalogue = site.catalogue(rng, site.items)
    share = 1 / np.arange(1, site.items + 1) ** 0.9
    popularity = np.cumsum(rng.permutation(share / share.sum()))
    drawn = [
        draw_requests(
            rng, crowd, catalogue, site.url, days=days, first_weekday=first_day.weekday(), countries=site.countries, popularity=popularity,
        )
        for crowd in crowds(site.sessions)
    ]  # fmt: skip
    requests = lines.with_bad_bytes(rng, pl.concat(drawn))
    finished = pl.col("time") + pl.col("seconds")
    slot = {
        "server": pl.col("visitor") % len(site.slots),  # a balancer keeps a client on one server
        "hour": ((finished % DAY) // (DAY // len(site.slots))),
        "day": pl.lit(0),
    }[site.by]
    return (
        requests.with_columns(finished=finished, day=(finished // DAY).cast(pl.Int32), slot=slot.cast(pl.Int32))
        .with_row_index("drawn")
        .sort("finished", "drawn")
    )


def _write(
    rng: np.random.Generator, site: SampleSite, requests: pl.DataFrame, folder: Path, first_day: date
) -> list[SampleFile]:
    made = []
    written = requests.with_columns(stamp=lines.stamp(first_day)).with_columns(line=site.line(site.host))
    for (d, slot), log in sorted(written.partition_by("day", "slot", as_dict=True).items()):
        day = first_day + timedelta(days=int(d))
        parts = len(site.slots) if site.by == "hour" else 1
        hours = 24 // parts * (int(slot) + 1 if parts > 1 else 1)
        closed = datetime.combine(day, time(), tzinfo=UTC) + timedelta(hours=hours, seconds=5)
        path = folder / site.slots[int(slot)].replace("{day}", day.isoformat())
        overlong = 1_100_000 if (site.id, int(d), int(slot)) == (1, 0, 0) else 0
        counts = lines.write_log(rng, path, log["line"], closed=closed, overlong=overlong)
        made.append(SampleFile(site.id, day, path, site.format, **counts))
    return made


def _settings(first_day: date) -> str:
    head = f"""# Settings of the sample: three sites of one platform. Every key is described in docs/.
[platform]
name = "Sample network"
time_zone = "UTC"
start_date = {first_day.isoformat()}

[rules]
spam_referrers = ["{SPAM_HOST}"]
"""
    return head + "".join(
        f'''
[[sites]]
id = {s.id}
name = "{s.name}"
url = "{s.url}"
platform = "{s.platform}"
level = "{s.level}"
country = "{s.country}"
files_per_day = {len(s.slots)}
'''
        for s in SITES
    )
