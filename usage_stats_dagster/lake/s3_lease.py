"""The turn of one writer of a lake on S3: an object that is taken by a conditional write and kept by renewing it.

What belongs here: taking, renewing, giving back, taking over from the dead, and knowing when it is lost. What does not:
the writes under it (`s3.py`).

The object says who holds the lease and for how long. Every change of it is a PUT with If-Match on what was read, so that
of two only one succeeds. Whether a lease has run out is told by the server's own clock (`Date` less `Last-Modified` of the
same answer): no two machines' clocks are compared. The holder stops writing a fifth before its successor may begin.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from threading import Event, Lock, Thread
from typing import Any

import orjson

from usage_stats_dagster.lake.lock import LockedError
from usage_stats_dagster.lake.s3_client import Answer, Bucket, MissingError, RefusedError
from usage_stats_dagster.lake.storage import LakeError

PATIENCE = 3600.0
_HELD_SHARE, _RENEW_SHARE = 0.8, 0.25
_POLL_FIRST, _POLL_LONGEST = 0.05, 1.0


class LeaseLostError(LakeError):
    """Another run may write now, so this one must not."""


@dataclass(frozen=True)
class _Seen:
    """The lease's object as read: its ETag, what it says, and how long ago it was written by the server's clock."""

    etag: str
    body: dict[str, Any]
    age: float


class Lease:
    """The lease at one key. Threads of this process take turns by an own lock first."""

    def __init__(self, bucket: Bucket, key: str, seconds: float) -> None:
        self._bucket, self._key, self._seconds = bucket, key, seconds
        self._turn = Lock()
        self._etag = ""
        self._held_until = 0.0
        self._writes = 0
        self._me = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"

    @contextmanager
    def held(self, taken: Callable[[], None], patience: float = PATIENCE) -> Iterator[None]:
        """Holds the lease; `taken` is called once it is. Raises LockedError after `patience` seconds of waiting."""
        give_up = time.monotonic() + patience
        if not self._turn.acquire(timeout=patience):
            msg = f"{self._bucket.address(self._key)}: held by another thread of this process for more than {patience:.0f} s"
            raise LockedError(msg)
        stop = Event()
        renewal = Thread(target=self._renew, args=(stop,), name="s3 lease", daemon=True)
        try:
            self._take(give_up, patience)
            renewal.start()
            taken()
            yield
            self.check()
        finally:
            stop.set()
            if renewal.ident is not None:
                renewal.join()
            try:
                self._give_back()
            finally:
                self._turn.release()

    def check(self) -> None:
        """Raises LeaseLostError unless the lease is held, and for long enough to finish one request."""
        if not self._held_until:
            msg = f"{self._bucket.address(self._key)}: nothing may be written without the writer's lease: a defect of the caller"
            raise LakeError(msg)
        if _now() > self._held_until:
            msg = (
                f"{self._bucket.address(self._key)}: this run lost its turn to write (it stood still, or S3 was away, for longer than "
                f"storage.lease_seconds = {self._seconds:g}): nothing more was written; run again, another run may be at work"
            )
            raise LeaseLostError(msg)

    def _take(self, give_up: float, patience: float) -> None:
        pause = _POLL_FIRST
        while True:
            seen = self._look()
            if seen is None:
                self._first()
                continue
            if (seen.body.get("free") or seen.age > seen.body["seconds"]) and self._put(seen.etag, free=False):
                return
            if time.monotonic() > give_up:
                holder = f"{seen.body.get('holder')}, renewed {seen.age:.0f} s ago"
                msg = f"{self._bucket.address(self._key)} is held by {holder}, for more than {patience:.0f} s: wait for it to end, or stop it"
                raise LockedError(msg)
            time.sleep(pause)
            pause = min(pause * 1.5, _POLL_LONGEST)

    def _first(self) -> None:
        """Makes the object, free, where there is none; sees that the server keeps to conditions before any is relied on."""
        body = self._body(free=True)
        for first in (True, False):
            try:
                self._bucket.call("put_object", self._key, Body=body, IfNoneMatch="*")
            except RefusedError:
                return
            if not first:
                msg = (
                    f"{self._bucket.address(self._key)}: {self._bucket.server} ignores If-None-Match: two runs could write at once. "
                    "Use a server that has S3's conditional writes (AWS, MinIO, Ceph, versitygw, R2 …)"
                )
                raise LakeError(msg)

    def _look(self) -> _Seen | None:
        def read(answer: Answer) -> _Seen:
            date = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
            age = max(0.0, (date - answer["LastModified"]).total_seconds())  # some servers' `Date` is a second behind
            try:
                body = orjson.loads(answer["Body"].read())
                body["seconds"] = float(body["seconds"])
            except (orjson.JSONDecodeError, TypeError, KeyError, ValueError):
                body = {"holder": "unknown", "seconds": self._seconds}
            return _Seen(answer["ETag"], body, age)

        try:
            seen: _Seen = self._bucket.call("get_object", self._key, read)
        except MissingError:
            return None
        return seen

    def _put(self, etag: str, *, free: bool) -> bool:
        """Replaces the object as it was seen; False when somebody else did. Each body is written once, so that an own
        write whose answer was lost is known again."""
        body = self._body(free=free)
        started = _now()
        try:
            self._etag = self._bucket.call("put_object", self._key, Body=body, IfMatch=etag)["ETag"]
        except (RefusedError, MissingError):
            seen = self._look()
            if seen is None or seen.body.get("write") != orjson.loads(body)["write"]:
                return False
            self._etag = seen.etag
        self._held_until = 0.0 if free else started + _HELD_SHARE * self._seconds
        return True

    def _body(self, *, free: bool) -> bytes:
        self._writes += 1
        says = {"holder": self._me, "seconds": self._seconds, "free": free, "write": f"{self._me}:{self._writes}"}
        return orjson.dumps(says)

    def _renew(self, stop: Event) -> None:
        while not stop.wait(_RENEW_SHARE * self._seconds):
            try:
                if not self._put(self._etag, free=False):
                    self._held_until = min(self._held_until, _now() - 1)  # another has it
                    return
            except LakeError:
                if _now() > self._held_until:
                    return

    def _give_back(self) -> None:
        """Says that it is free; where that fails it runs out by itself."""
        held, self._held_until = self._held_until, 0.0
        if held > _now():
            try:
                self._put(self._etag, free=True)
            except LakeError:
                return


def _now() -> float:
    """Seconds that go on while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
