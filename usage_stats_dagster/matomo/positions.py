"""How far each site's hits have got to Matomo: batches, and what the ledger keeps of them.

What belongs here: a batch, written down before it goes out and taken away in the transaction that moves the positions on.
What does not: sending (`sender.py`), making requests (`tracking_request.py`, `replay.py`).

The batch on its way is kept whole, not as a range of lines: whatever happens to the lake or to the rules between a
crash and the next run, what is asked for and sent again is what went out.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cached_property
from typing import Any

import orjson
import sqlalchemy as sa
import zstandard
from sqlalchemy.engine import Connection

from usage_stats_dagster.ledger.ledger import Ledger, now
from usage_stats_dagster.ledger.tables import matomo_day, matomo_position, matomo_site
from usage_stats_dagster.matomo.tracking_request import MARKS, marked, marks

_NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Batch:
    """Requests of one site that go out together, in order.

    `requests`: JSON objects with their marks; `times`: the first and last second of their actions; `days`: the day of
    each request; `positions`: by source, the last line that the batch holds or passes over; `kept_back`: by day, how many
    lines it passes over. A batch without requests only passes over lines.
    """

    idsite: int
    first_number: int
    requests: Sequence[str]
    times: tuple[datetime, datetime]
    days: Sequence[date]
    positions: Mapping[str, int]
    kept_back: Mapping[date, int] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        idsite: int,
        number: int,
        requests: Sequence[str],
        times: Sequence[datetime],
        days: Sequence[date],
        positions: Mapping[str, int],
        kept_back: Mapping[date, int] | None = None,
    ) -> Batch:
        """A batch of requests that have no marks yet, numbered from `number`. `times` is UTC, one a request."""
        span = (min(times), max(times)) if times else (_NO_TIME, _NO_TIME)
        return cls(idsite, number, marked(requests, number), span, days, positions, kept_back or {})

    @cached_property
    def marks(self) -> list[str]:
        """The marks, one a request."""
        return marks(self.first_number, len(self.requests))

    def to_bytes(self) -> bytes:
        """Compressed JSON, for the ledger."""
        values = {
            "idsite": self.idsite,
            "first_number": self.first_number,
            "requests": self.requests,
            "times": self.times,
            "days": self.days,
            "positions": self.positions,
            "kept_back": {day.isoformat(): n for day, n in self.kept_back.items()},
        }
        return zstandard.compress(orjson.dumps(values), 3)

    @classmethod
    def from_bytes(cls, data: bytes) -> Batch:
        """The batch as it was."""
        v = orjson.loads(zstandard.decompress(data))
        first, last = map(datetime.fromisoformat, v["times"])
        days = [date.fromisoformat(d) for d in v["days"]]
        kept = {date.fromisoformat(d): n for d, n in v["kept_back"].items()}
        return cls(v["idsite"], v["first_number"], v["requests"], (first, last), days, v["positions"], kept)


class Positions:
    """The ledger's part in sending. One sender at a time may work on a site (the stage holds the writer's lock)."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def pending(self, idsite: int) -> Batch | None:
        """The batch that had been written down and not acknowledged when a run ended."""
        row = self._site(idsite)
        return Batch.from_bytes(row["pending"]) if row is not None and row["pending"] is not None else None

    def next_number(self, idsite: int) -> int:
        """The number of the next hit, after those of the batch on its way; of a new site any, so that a lost ledger does not begin where the old one did."""
        row = self._site(idsite)
        return int(row["next_number"]) if row is not None else secrets.randbelow(MARKS)

    def time_zone(self, idsite: int, mine: str) -> str:
        """The zone whose days the site's positions name: `mine` from the first time on."""
        row = self._site(idsite)
        if row is not None and row["time_zone"]:
            return str(row["time_zone"])
        values = {"time_zone": mine, "updated_at": now()}
        number = {} if row is not None else {"next_number": self.next_number(idsite)}
        with self._ledger.write(durable=True) as c:
            _upsert(c, matomo_site, {"idsite": idsite}, {**values, **number})
        return mine

    def lines(self, idsite: int, sources: Iterable[str]) -> dict[str, int]:
        """The last acknowledged line of the sources that have one."""
        wanted = set(sources)
        query = sa.select(matomo_position).where(matomo_position.c.idsite == idsite)
        query = query.where(matomo_position.c.source.in_(sorted(wanted)))
        return {r["source"]: r["line"] for r in self._ledger.rows(query)}

    def begin(self, batch: Batch) -> None:
        """Writes the batch down, durably, before anything of it goes out."""
        with self._ledger.write(durable=True) as c:
            _upsert(c, matomo_site, {"idsite": batch.idsite}, _on_its_way(batch))

    def acknowledge(self, batch: Batch, refused: Iterable[int], following: Batch | None = None) -> None:
        """Moves the positions past the batch, and writes down the one that follows it, in one transaction.

        `refused` are indices of requests that Matomo called invalid.
        """
        days = list(batch.days)
        bad = [days[i] for i in refused]
        after = {"pending": None, "updated_at": now()} if following is None else _on_its_way(following)
        with self._ledger.write(durable=True) as c:
            for source, line in batch.positions.items():
                moved = {"line": line, "updated_at": now()}
                _upsert(c, matomo_position, {"idsite": batch.idsite, "source": source}, moved)
            for day in sorted({*days, *batch.kept_back}):
                kept = batch.kept_back.get(day, 0)
                _add(c, batch.idsite, day, sent=days.count(day), refused=bad.count(day), kept_back=kept)
            _upsert(c, matomo_site, {"idsite": batch.idsite}, {**after, "message": None})

    def say(self, idsite: int, message: str | None) -> None:
        """Remembers why sending waits, for `status`."""
        with self._ledger.write() as c:
            where = matomo_site.c.idsite == idsite
            c.execute(sa.update(matomo_site).where(where).values(message=message, updated_at=now()))

    def put_day(self, idsite: int, day: date, **values: int | None) -> None:
        """Sets what Matomo has of a day: stored, twice."""
        with self._ledger.write() as c:
            _upsert(c, matomo_day, {"idsite": idsite, "day": day}, {**values, "updated_at": now()})

    def day(self, idsite: int, day: date) -> Mapping[str, Any]:
        """The counts of a day: sent, refused, kept_back, stored, twice (the last two None before Matomo was asked)."""
        query = sa.select(matomo_day).where(matomo_day.c.idsite == idsite, matomo_day.c.day == day)
        found = self._ledger.rows(query)
        return dict(found[0]) if found else {"sent": 0, "refused": 0, "kept_back": 0, "stored": None, "twice": None}

    def days(self, idsite: int | None = None) -> list[Mapping[str, Any]]:
        """The counts of every day of a site, or of all sites."""
        query = sa.select(matomo_day).order_by(matomo_day.c.idsite, matomo_day.c.day)
        return [
            dict(r) for r in self._ledger.rows(query if idsite is None else query.where(matomo_day.c.idsite == idsite))
        ]

    def messages(self) -> dict[int, str]:
        """Sites whose sending waits, and why."""
        query = sa.select(matomo_site.c.idsite, matomo_site.c.message).where(matomo_site.c.message.is_not(None))
        return {r["idsite"]: r["message"] for r in self._ledger.rows(query)}

    def _site(self, idsite: int) -> Mapping[str, Any] | None:
        found = self._ledger.rows(sa.select(matomo_site).where(matomo_site.c.idsite == idsite))
        return dict(found[0]) if found else None


def _on_its_way(batch: Batch) -> dict[str, Any]:
    number = (batch.first_number + len(batch.requests)) % MARKS
    return {"pending": batch.to_bytes(), "next_number": number, "updated_at": now()}


def _add(c: Connection, idsite: int, day: date, **more: int) -> None:
    where = sa.and_(matomo_day.c.idsite == idsite, matomo_day.c.day == day)
    sums = {k: matomo_day.c[k] + v for k, v in more.items()}
    if not c.execute(sa.update(matomo_day).where(where).values({**sums, "updated_at": now()})).rowcount:
        c.execute(sa.insert(matomo_day).values({"idsite": idsite, "day": day, **more, "updated_at": now()}))


def _upsert(c: Connection, table: sa.Table, key: dict[str, Any], values: dict[str, Any]) -> None:
    where = sa.and_(*(table.c[k] == v for k, v in key.items()))
    if not c.execute(sa.update(table).where(where).values(values)).rowcount:
        c.execute(sa.insert(table).values({**key, **values}))
