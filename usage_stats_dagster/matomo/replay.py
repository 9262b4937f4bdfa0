"""Files of raw tracker requests as batches: what other collectors wrote down is sent as they would have sent it.

What belongs here: lines to requests, and which lines can't be one. What does not: sending (`sender.py`).

A line is a JSON object of parameters, a query string (`?idsite=1&rec=1&…`) or a tracker's URL. Requests go as they are,
but for the mark (`pv_id`), which is ours, and a `token_auth`, which is left out. A line needs `idsite` and a time (`cdt`,
as `Y-m-d H:i:s` UTC or epoch seconds): without one Matomo would date it today. Lines that are no request, or not UTF-8
(one of those would lose its whole batch), are counted by reason and passed over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo

import orjson
import xxhash

from usage_stats_dagster.logs.compression import DamagedLog, open_log
from usage_stats_dagster.matomo.positions import Batch, Positions

_READ = 1 << 20
_LONGEST_LINE = 1 << 20
_EPOCH = 9
"""Digits from which a number is an epoch time."""


class _NotARequestError(Exception):
    """The reason."""


@dataclass(frozen=True)
class RawRequest:
    """One request: its line (from 1), site, time (UTC) and parameters as a JSON object."""

    line: int
    idsite: int
    time: datetime
    body: str


@dataclass
class ReplayFile:
    """A file of requests, and after `read` what it held: requests by site, lines passed over by reason."""

    path: Path
    identity: str = ""
    requests: Counter[int] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    damage: str | None = None

    def survey(self) -> None:
        """Reads it once: identity, counts."""
        digest = xxhash.xxh3_128()
        for line, raw in self._lines():
            digest.update(raw)
            digest.update(b"\n")
            try:
                self.requests[parse(line, raw).idsite] += 1
            except _NotARequestError as e:
                self.rejected[str(e)] += 1
        self.identity = digest.hexdigest()

    @property
    def source(self) -> str:
        """The name of its positions."""
        return f"replay/{self.identity}"

    def batches(self, idsite: int, positions: Positions, zone: ZoneInfo, size: int) -> Iterator[Batch]:
        """The site's requests behind its position, in the order of lines. Days are those of the zone."""
        done = positions.lines(idsite, [self.source]).get(self.source, 0)
        part: list[RawRequest] = []
        for request in self._of(idsite):
            if request.line <= done:
                continue
            part.append(request)
            if len(part) == size:
                yield self._batch(idsite, part, positions, zone)
                part = []
        if part:
            yield self._batch(idsite, part, positions, zone)

    def _batch(self, idsite: int, part: list[RawRequest], positions: Positions, zone: ZoneInfo) -> Batch:
        times = [r.time for r in part]
        days = [t.astimezone(zone).date() for t in times]
        number = positions.next_number(idsite)
        return Batch.of(idsite, number, [r.body for r in part], times, days, {self.source: part[-1].line})

    def _of(self, idsite: int) -> Iterator[RawRequest]:
        for line, raw in self._lines():
            try:
                request = parse(line, raw)
            except _NotARequestError:
                continue
            if request.idsite == idsite:
                yield request

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        """Numbered lines that hold something. A file that is cut off gives its good part, and `damage`."""
        number, rest = 0, b""
        with open_log(self.path) as f:
            while True:
                try:
                    block = f.read(_READ)
                except DamagedLog as e:
                    self.damage, block = e.reason, b""
                    rest = b""  # the end of a damaged file is half a line
                *whole, rest = (rest + block).split(b"\n") if block else (rest, b"")
                for raw in whole:
                    number += 1
                    if raw.strip():
                        yield number, raw.strip()
                if not block:
                    return


def parse(line: int, raw: bytes) -> RawRequest:
    """The request of a line; raises with the reason why it is none."""
    if len(raw) > _LONGEST_LINE:
        reason = "too long"
        raise _NotARequestError(reason)
    try:
        parameters = _parameters(raw)
        idsite, time = int(str(parameters["idsite"])), _time(str(parameters["cdt"]))
    except UnicodeDecodeError as e:
        reason = "not UTF-8"
        raise _NotARequestError(reason) from e
    except KeyError as e:
        reason = f"no {e.args[0]}"
        raise _NotARequestError(reason) from e
    except (ValueError, OverflowError) as e:
        reason = "unreadable"
        raise _NotARequestError(reason) from e
    given = {k: v for k, v in parameters.items() if k not in ("token_auth", "pv_id")}
    try:
        body = orjson.dumps({**given, "rec": 1, "queuedtracking": 0}).decode()
    except orjson.JSONEncodeError as e:  # half of a surrogate pair
        reason = "not UTF-8"
        raise _NotARequestError(reason) from e
    return RawRequest(line, idsite, time, body)


def _parameters(raw: bytes) -> dict[str, Any]:
    if raw.startswith(b"{"):
        loaded: dict[str, Any] = orjson.loads(raw.decode())
        return loaded
    query = raw.decode().split("?", 1)[-1].split("#", 1)[0]
    return dict(parse_qsl(query, keep_blank_values=True, errors="strict"))


def _time(text: str) -> datetime:
    if text.isdigit() and len(text) >= _EPOCH:
        return datetime.fromtimestamp(int(text), UTC)
    found = datetime.fromisoformat(text)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
