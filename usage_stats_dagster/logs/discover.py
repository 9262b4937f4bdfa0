"""Which log files there are: folders by site, or the globs that a site names.

What belongs here: paths, sizes, times of change, the date and server that a path names. What does not: opening a log
(`identity.py`, `read.py`) or remembering it (`ledger/`).
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from usage_stats_dagster.settings import Settings, Site

_NOT_LOGS = re.compile(
    r"(^\.)|(~$)|(\.(tmp|part|swp|swx|crdownload|filepart|lock|md5|sha1|sha256|toml)$)", re.IGNORECASE
)
_DATE = re.compile(
    r"(?<!\d)(?P<y>(?:19|20)\d\d)(?P<sep>[-_.]?)(?P<m>0[1-9]|1[0-2])(?P=sep)(?P<d>0[1-9]|[12]\d|3[01])(?!\d{3})"
)


@dataclass(frozen=True)
class FoundLog:
    """A file that should be a log: `size` in bytes on disk, `mtime_ns` its last change, and what its path says."""

    idsite: int
    path: Path
    size: int
    mtime_ns: int
    log_date: date | None
    server: str | None


@dataclass
class Discovery:
    """What was found, in a fixed order, and what was in the way (path, message)."""

    logs: list[FoundLog] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    sites: list[int] = field(default_factory=list)


def discover(settings: Settings, *, sites: Iterable[int] | None = None, logs_dir: Path | None = None) -> Discovery:
    """All log files of the sites asked for (default: all), by site and path.

    Without `[[sites]]`, every numeric folder under `logs_dir` is a site. `logs_dir` given here stands in for what the
    settings configure; when it has files but no site folder they belong to the only site asked for or configured, or
    to site 1. A folder that is no site's, and a path that can't be read, are problems, never a stop.
    """
    found = Discovery()
    wanted = set(sites) if sites is not None else None
    base = logs_dir or Path(settings.logs_dir)
    known = {s.id for s in settings.sites}
    for site in settings.sites:
        if (wanted is None or site.id in wanted) and site.logs is not None and logs_dir is None:
            found.sites.append(site.id)
            _add(found, site, (Path(p) for pattern in site.logs for p in glob.iglob(pattern, recursive=True)))  # noqa: PTH207
    globbed = set(found.sites)
    if base.is_dir():
        flat = []
        for entry in sorted(base.iterdir()):
            if not entry.is_dir():
                flat.append(entry)
            elif entry.name.isdigit() and (not known or int(entry.name) in known):
                idsite = int(entry.name)
                if idsite not in globbed and (wanted is None or idsite in wanted):
                    found.sites.append(idsite)
                    _add(found, settings.site(idsite), _walk(entry, found))
            elif not _NOT_LOGS.search(entry.name):
                choices = ", ".join(map(str, sorted(known))) or "any number"
                found.problems.append(
                    (
                        str(entry),
                        f"no site is called {entry.name!r}: name the folder by a site's id ({choices}), or list it in [[sites]] logs",
                    )
                )
        if flat:
            _flat(found, flat, settings, wanted, given=logs_dir is not None)
    elif logs_dir is not None:
        found.problems.append((str(base), "no such folder"))
    found.sites.sort()
    found.logs.sort(key=lambda f: (f.idsite, str(f.path)))
    return found


def _flat(found: Discovery, files: list[Path], settings: Settings, wanted: set[int] | None, *, given: bool) -> None:
    """Files directly in the folder: the one site's when `--logs` names the folder, else out of place."""
    files = [f for f in files if not _NOT_LOGS.search(f.name)]
    if not files:
        return
    candidates = sorted(wanted or {s.id for s in settings.sites} or {1})
    if given and len(candidates) == 1 and not found.sites:
        found.sites.append(candidates[0])
        _add(found, settings.site(candidates[0]), files)
        return
    way = "say whose they are with --sites" if given else "put them into a folder named by the site's id"
    found.problems.append((str(files[0]), f"{len(files)} files lie beside the sites' folders: {way}"))


def _walk(folder: Path, found: Discovery) -> Iterator[Path]:
    def note(error: OSError) -> None:
        found.problems.append((str(error.filename), f"can't be listed: {error.strerror}"))

    for base, folders, files in os.walk(folder, onerror=note, followlinks=True):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        yield from (Path(base) / f for f in sorted(files))


def _add(found: Discovery, site: Site, paths: Iterable[Path]) -> None:
    seen = {f.path for f in found.logs if f.idsite == site.id}
    for path in paths:
        if path in seen or _NOT_LOGS.search(path.name):
            continue
        try:
            stat = path.stat()
        except OSError as e:
            found.problems.append((str(path), f"can't be looked at: {e.strerror}"))
            continue
        if path.is_dir():
            continue
        seen.add(path)
        log_date, server = read_path(path, site)
        found.logs.append(FoundLog(site.id, path, stat.st_size, stat.st_mtime_ns, log_date, server))


def read_path(path: Path, site: Site) -> tuple[date | None, str | None]:
    """The date and the server that a path names.

    By the site's `path_pattern` (groups `date` and `server`) when it has one, else the last date written as
    YYYYMMDD or YYYY-MM-DD (also with _ or .), and no server.
    """
    text = str(path)
    if site.path_pattern:
        m = re.search(site.path_pattern, text)
        if not m:
            return None, None
        groups = m.groupdict()
        return _date_of(groups.get("date")), groups.get("server")
    return _date_of(text), None


def _date_of(text: str | None) -> date | None:
    for m in reversed(list(_DATE.finditer(text or ""))):
        try:
            return date(int(m["y"]), int(m["m"]), int(m["d"]))
        except ValueError:
            continue
    return None
