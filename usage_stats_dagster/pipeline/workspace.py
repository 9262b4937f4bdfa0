"""What every stage works with: settings, lake, ledger, index, the visitors' key, and who is told of progress.

What belongs here: opening these once and lazily. What does not: any stage.
"""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Any, Generic, TypeVar, overload

import sqlalchemy as sa

from usage_stats_dagster.index.interface import DocumentIndex
from usage_stats_dagster.index.open import open_index
from usage_stats_dagster.lake.storage import TEMPORARY_SUFFIX
from usage_stats_dagster.lake.store import Lake
from usage_stats_dagster.ledger.ledger import Ledger
from usage_stats_dagster.lookups.all import Lookups, lookups_for
from usage_stats_dagster.settings import Settings, Site

SECRET_VARIABLE = "USAGE_STATS_SECRET"  # noqa: S105  (a variable's name)
TIMINGS_VARIABLE = "USAGE_STATS_TIMINGS"
_SECRET_BYTES = 32
_KEY = "visitor.key"

Progress = Callable[[str, int, int], None]
"""Called with (what, done, total) as work goes on: bytes of the logs, then site-days."""


def silent(what: str, done: int, total: int) -> None:
    """Tells nobody."""
    del what, done, total


listener: ContextVar[Progress] = ContextVar("listener", default=silent)
"""Who is told of progress in this process: the command line sets it, through Dagster's run too."""

timings: dict[str, float] = {}
"""Seconds by stage, over the life of the process; `write_timings` leaves them for benchmarks."""


T = TypeVar("T")


class _opened_once(Generic[T]):  # noqa: N801  (used as a decorator, like functools.cached_property)
    """A cached property that threads of one stage may ask for at the same time: it is opened once."""

    def __init__(self, method: Callable[[Any], T]) -> None:
        self._method = method
        self._lock = RLock()
        self.__doc__ = method.__doc__

    def __set_name__(self, _owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> _opened_once[T]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> T | _opened_once[T]:
        if instance is None:
            return self
        with self._lock:
            if self._name not in instance.__dict__:
                instance.__dict__[self._name] = self._method(instance)
            value: T = instance.__dict__[self._name]
            return value

    def __set__(self, instance: object, value: T) -> None:
        instance.__dict__[self._name] = value


@dataclass
class Workspace:
    """One opened platform: everything that a stage needs, made on first use."""

    settings: Settings
    logs_dir: Path | None = None

    def __post_init__(self) -> None:
        """Sites are completed from LA Referencia's source metadata, where the settings name them."""
        if self.settings.matomo.sources_url:
            from usage_stats_dagster.matomo.lareferencia import with_sources  # noqa: PLC0415  (a database's client)

            self.settings = with_sources(self.settings)

    def progress(self, what: str, done: int, total: int) -> None:
        """Tells the listener how far the work is."""
        listener.get()(what, done, total)

    @_opened_once
    def lake(self) -> Lake:
        """The tables. May be read where it can't be written."""
        return Lake(self.settings.storage)

    @_opened_once
    def _writable_lake(self) -> Lake:
        self.lake.ready()
        return self.lake

    @_opened_once
    def ledger(self) -> Ledger:
        """What was done."""
        return Ledger(self.settings.ledger.url)

    @_opened_once
    def index(self) -> DocumentIndex:
        """Where documents are indexed."""
        return open_index(self.settings, create=True)

    @_opened_once
    def key(self) -> bytes:
        """The key of the visitors' hashes: from USAGE_STATS_SECRET, else a file beside the ledger, made once."""
        given = os.environ.get(SECRET_VARIABLE)
        if given:
            return given.encode()
        path = self.key_file
        try:
            return path.read_bytes()
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f"{_KEY}.{os.getpid()}{TEMPORARY_SUFFIX}")
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(fd, "wb") as f:
                f.write(secrets.token_bytes(_SECRET_BYTES))
                f.flush()
                os.fsync(f.fileno())
            try:  # two first runs at once must end with one key
                os.link(temporary, path)
            except FileExistsError:
                pass
            finally:
                temporary.unlink()
            return path.read_bytes()

    @property
    def key_file(self) -> Path:
        """Where the visitors' key lies when USAGE_STATS_SECRET does not give it."""
        return self._state_folder() / _KEY

    def lookups(self, site: Site) -> Lookups:
        """Robots, countries and referrers as the site sees them."""
        return lookups_for(self.settings, site)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """The one writer of this lake, for the length of a stage. Removes first what a killed one left half written."""
        lake = self._writable_lake
        with lake.writing(self._state_folder() / "writer.lock"):
            for half_a_key in self._state_folder().glob(f"{_KEY}.*{TEMPORARY_SUFFIX}"):
                half_a_key.unlink(missing_ok=True)
            yield

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Adds the seconds spent to the process's timings of the stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            timings[stage] = timings.get(stage, 0.0) + time.perf_counter() - start
            _give_back()

    def _state_folder(self) -> Path:
        url = sa.engine.make_url(self.settings.ledger.url)
        if url.get_backend_name() == "sqlite" and url.database and url.database != ":memory:":
            return Path(url.database).parent
        return Path("data")


def write_timings() -> None:
    """Leaves the timings as JSON in the file that USAGE_STATS_TIMINGS names, for benchmarks."""
    name = os.environ.get(TIMINGS_VARIABLE)
    if name:
        Path(name).write_text(json.dumps(timings))


def _give_back() -> None:
    """Freed memory goes back to the system between stages: what one has let go does not add to the next one's peak."""
    with suppress(AttributeError, OSError):  # glibc's own; elsewhere there is nothing to call
        ctypes.CDLL(None).malloc_trim(0)
