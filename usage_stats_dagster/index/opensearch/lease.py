"""One writer a site at a time: a lease in the platform's state index, whichever machine the writer runs on.

What belongs here: taking, renewing and giving back the lease. What does not: what is done under it.

The lease is a document that its holder writes anew every few seconds, each time on the condition that it is as it was
(`if_seq_no`). Who waits watches the number: one that has not moved for `STALE` seconds has no living holder and is taken
over. No clock is compared with another machine's. A holder on this machine whose process is gone is known at once.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import Any

from usage_stats_dagster.index.interface import DocumentIndexError, IndexBusyError
from usage_stats_dagster.index.opensearch.http import IndexAnswerError, OpenSearchHttp, Parameters

RENEW = 5.0
"""Seconds between two renewals."""
STALE = 30.0
"""Seconds without a renewal after which the holder counts as dead."""
_LOOK = 0.1
_GIVE_BACK = 5.0
_held_here: set[str] = set()


class LostLeaseError(DocumentIndexError):
    """Another writer took over: this one stood still for too long."""


class Lease:
    """The right to write a site; a context manager. Raises IndexBusyError after `patience` seconds."""

    def __init__(self, http: OpenSearchHttp, state: str, idsite: int, *, patience: float = 3600.0) -> None:
        self._http = http
        self._idsite = idsite
        self._path = f"/{state}/_doc/lease-{idsite}"
        self._patience = patience
        self._me: dict[str, Any] = {
            "machine": machine(),
            "process": os.getpid(),
            "host": socket.gethostname(),
            "token": secrets.token_hex(8),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        self._number: tuple[int, int] | None = None
        self._done = threading.Event()
        self._lost = False
        self._renewer: threading.Thread | None = None

    def __enter__(self) -> Lease:
        # Before it is asked for: a thread that sees the lease before we hear that it is ours must not take us for dead.
        _held_here.add(self._me["token"])
        try:
            self._wait()
        except BaseException:
            _held_here.discard(self._me["token"])
            raise
        self._renewer = threading.Thread(target=self._renew, name=f"lease-{self._idsite}", daemon=True)
        self._renewer.start()
        return self

    def _wait(self) -> None:
        waited, unmoved, seen = 0.0, 0.0, None
        while not self._take(seen if unmoved > STALE else None):
            found = self._http.ask("GET", self._path, missing=True)
            if not found or not found["found"]:
                continue
            number, holder = (found["_seq_no"], found["_primary_term"]), found["_source"]
            # The token is ours where only the answer to our request was lost.
            if (holder["token"] == self._me["token"] or _is_gone(holder)) and self._take(number):
                break
            # Time during which the server was away is not counted: its holder could not renew.
            unmoved = unmoved + _LOOK if number == seen else 0.0
            waited, seen = waited + _LOOK, number
            if waited > self._patience:
                msg = (
                    f"site {self._idsite} is being indexed by process {holder['process']} on {holder['host']} since "
                    f"{holder['since']}: wait for it to end, or stop it"
                )
                raise IndexBusyError(msg)
            time.sleep(_LOOK)

    def __exit__(self, *_: object) -> None:
        self._done.set()
        if self._renewer is not None:
            self._renewer.join()
        if not self._lost and self._number is not None:
            give_back = partial(
                self._http.once, "DELETE", self._path, None, self._condition(self._number), missing=True
            )
            # When the server stays away there is nothing to give back: the lease goes stale.
            with suppress(DocumentIndexError):
                self._http.patiently(give_back, seconds=_GIVE_BACK)
        _held_here.discard(self._me["token"])

    def check(self) -> None:
        """Before each step that readers see: still ours? Raises LostLeaseError."""
        if self._lost:
            msg = f"site {self._idsite}: another run took over while this one stood still; run the day again"
            raise LostLeaseError(msg)

    def _take(self, number: tuple[int, int] | None) -> bool:
        conditions: Parameters = self._condition(number) if number else {"op_type": "create"}
        try:
            answer = self._http.ask("PUT", self._path, self._me, conditions)
        except IndexAnswerError as e:
            if e.status == 409:
                return False
            raise
        self._number = (answer["_seq_no"], answer["_primary_term"])
        return True

    def _renew(self) -> None:
        while not self._done.wait(RENEW):
            try:
                assert self._number is not None
                answer = self._http.once("PUT", self._path, self._me, self._condition(self._number))
                self._number = (answer["_seq_no"], answer["_primary_term"])
            except IndexAnswerError as e:
                if e.status == 409 and not self._still_mine():
                    self._lost = True
                    return
            except DocumentIndexError:
                continue  # the server is away: nobody else can take the lease meanwhile

    def _still_mine(self) -> bool:
        """Whether the renewal went through and only its answer was lost."""
        try:
            found = self._http.once("GET", self._path, missing=True)
        except DocumentIndexError:
            return True
        if found and found["found"] and found["_source"]["token"] == self._me["token"]:
            self._number = (found["_seq_no"], found["_primary_term"])
            return True
        return False

    @staticmethod
    def _condition(number: tuple[int, int]) -> Parameters:
        return {"if_seq_no": number[0], "if_primary_term": number[1]}


def end_of_the_dead(http: OpenSearchHttp, state: str, idsite: int) -> None:
    """Remove the site's lease where its holder is known to be gone: nobody writes to the site now who would take it over."""
    path = f"/{state}/_doc/lease-{idsite}"
    found = http.ask("GET", path, missing=True)
    if found and found["found"] and _is_gone(found["_source"]):
        with suppress(IndexAnswerError):  # another writer was faster
            conditions = {"if_seq_no": found["_seq_no"], "if_primary_term": found["_primary_term"]}
            http.ask("DELETE", path, None, conditions, missing=True)


@cache
def machine() -> str:
    """This boot of this machine and its process numbers' namespace; empty where the system doesn't tell."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _is_gone(holder: dict[str, Any]) -> bool:
    if not machine() or holder["machine"] != machine():
        return False
    if holder["process"] == os.getpid():
        return holder["token"] not in _held_here
    try:
        os.kill(holder["process"], 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass
    return False
