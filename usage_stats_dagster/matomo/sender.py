"""Sending batches to the bulk tracking API so that each request is stored once, whatever breaks in between.

What belongs here: the protocol, told below, and what each answer means. What does not: where requests come from
(`tracking_request.py`, `replay.py`), the ledger's tables (`positions.py`), asking Matomo (`sender_resolve.py`).

**Why exactly once.** (1) A batch is written down in the ledger before its first byte goes out, and taken away only in the
transaction that moves the positions past it (and writes down the next): after any crash the ledger holds exactly the batch that may be on its way.
(2) Every request carries a mark that Matomo stores with the action, unique among the site's actions of those seconds.
(3) Only an answer that accounts for every request (`tracked` + `invalid` = sent) ends a batch. After anything else, or
none, or a crash, nothing is sent before (a) `settle` seconds have gone by, in which a request that Matomo has already
begun ends, and (b) a look, begun after that, at which marks are stored. Only requests whose marks are not there are
sent again. This does not lean on a bulk request being one transaction: a batch stored in part is completed, and a
request that Matomo skipped on a lock timeout (it answers "success" with a smaller `tracked`) is found out as well.
(4) What Matomo drops (robots, spam, excluded addresses) is never stored, so sending it again changes nothing.
The one assumption is (a): a request does not live on for `settle` seconds after its connection broke. Set it above the
longest time that the web server and PHP leave a request alive. The daily count of marks stored twice tells if it failed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from usage_stats_dagster.matomo.http import Answer, LostAnswerError, MatomoAwayError, MatomoError, NotSentError
from usage_stats_dagster.matomo.positions import Batch, Positions
from usage_stats_dagster.matomo.sender_resolve import StoredActions

OK, TOO_LARGE, TOO_MANY, UNAVAILABLE, SERVER_ERROR = 200, 413, 429, 503, 500


class Tracking(Protocol):
    """What takes a bulk request: `http.MatomoHttp`."""

    def bulk(self, requests: list[str]) -> Answer:
        """One bulk request."""
        ...


@dataclass(frozen=True)
class Patience:
    """Seconds: `settle` as told above; waits between tries grow from `first` to `longest`; after `total` without progress
    the sender gives up for this run (the place is kept).
    """

    settle: float = 120.0
    first: float = 1.0
    longest: float = 60.0
    total: float = 900.0


class _Fate(Enum):
    DONE = "done"
    REFUSED_FOR_NOW = "refused for now"  # certainly not processed
    TOO_LARGE = "too large"  # certainly not processed
    UNSURE = "unsure"


@dataclass(frozen=True)
class _Verdict:
    fate: _Fate
    invalid: tuple[int, ...] = ()
    why: str = ""
    wait: float | None = None


class _Trying:
    """The waits between tries: twice as long each time, until patience ends."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._next = patience.first
        self._end = time.monotonic() + patience.total

    def wait(self, why: str, asked: float | None) -> None:
        """Waits (for as long as the server asks, within `longest`); raises MatomoAwayError when patience is over."""
        pause = min(max(self._next, asked or 0.0), self._patience.longest)
        if time.monotonic() + pause > self._end:
            msg = f"{why}; tried for {self._patience.total:.0f} s. The place is kept: a later run goes on from there"
            raise MatomoAwayError(msg)
        time.sleep(pause)
        self._next = min(2 * self._next, self._patience.longest)


@dataclass
class SendReport:
    """What a run sent of one site. `resolved`: batches that Matomo had to be asked about. `resent`: requests of those sent again."""

    batches: int = 0
    requests: int = 0
    refused: int = 0
    resolved: int = 0
    resent: int = 0
    said: list[str] = field(default_factory=list)


class Sender:
    """Sends one site's batches, one after another. Sites may run beside each other, each in a thread of its own."""

    def __init__(
        self, tracking: Tracking, positions: Positions, stored: StoredActions, patience: Patience | None = None
    ) -> None:
        self._tracking = tracking
        self._positions = positions
        self._stored = stored
        self._patience = patience or Patience()

    def send(self, idsite: int, batches: Callable[[], Iterator[Batch]]) -> SendReport:
        """Ends what an earlier run left, then sends what `batches()` makes (it is called after that: positions have moved).

        Raises MatomoAwayError when Matomo stays away, MatomoError when it refuses for good; the place is kept.
        """
        report = SendReport()
        left = self._positions.pending(idsite)
        if left is not None:
            self._positions.acknowledge(left, self._finish(left, report, unsure=True))
        ended: tuple[Batch, list[int]] | None = None
        for batch in batches():
            if ended is None:
                self._positions.begin(batch)
            else:
                self._positions.acknowledge(*ended, following=batch)
            ended = batch, self._finish(batch, report, unsure=False)
        if ended is not None:
            self._positions.acknowledge(*ended)
        return report

    def _finish(self, batch: Batch, report: SendReport, *, unsure: bool) -> list[int]:
        """Sees to it that every request of the batch is stored, dropped or refused by Matomo; the indices of the last."""
        open_ = list(range(len(batch.requests)))
        most = len(open_)
        refused: list[int] = []
        trying = _Trying(self._patience)
        report.resolved += unsure
        while open_:
            try:
                if unsure:
                    open_ = self._not_stored(batch, open_)
                    report.resent += len(open_)
                    if not open_:
                        break
                sent = open_[:most]
                verdict = self._post(batch, sent, known=report.batches > 0)
            except MatomoAwayError as e:
                verdict = _Verdict(_Fate.UNSURE, why=str(e))
            if verdict.fate is _Fate.DONE:
                refused += [sent[i] for i in verdict.invalid]
                open_ = open_[len(sent) :]
                unsure = False
                continue
            if verdict.fate is _Fate.TOO_LARGE and len(sent) > 1:
                most = len(sent) // 2
                continue
            report.resolved += verdict.fate is _Fate.UNSURE and not unsure
            unsure = verdict.fate is _Fate.UNSURE
            if verdict.why not in report.said:
                report.said.append(verdict.why)
                self._positions.say(batch.idsite, verdict.why)
            trying.wait(f"site {batch.idsite}: {verdict.why}", verdict.wait)
        report.batches += 1
        report.requests += len(batch.requests)
        report.refused += len(refused)
        return refused

    def _not_stored(self, batch: Batch, open_: list[int]) -> list[int]:
        """Those of the open requests that Matomo does not have, nor will have of what was sent so far."""
        settled = time.monotonic() + self._patience.settle
        pause = min(self._patience.first, self._patience.settle / 4)
        while True:
            late = time.monotonic() >= settled  # before the look: what it finds is what there was after settling
            found = self._stored.found(batch.idsite, batch.times, [batch.marks[i] for i in open_])
            open_ = [i for i in open_ if batch.marks[i] not in found]
            if late or not open_:
                return open_
            time.sleep(max(0.0, min(pause, settled - time.monotonic())))
            pause = min(2 * pause, 10.0)

    def _post(self, batch: Batch, open_: list[int], *, known: bool) -> _Verdict:
        requests = [batch.requests[i] for i in open_]
        try:
            answer = self._tracking.bulk(requests)
        except NotSentError as e:
            return _Verdict(_Fate.REFUSED_FOR_NOW, why=str(e))
        except LostAnswerError as e:
            return _Verdict(_Fate.UNSURE, why=str(e))
        return judge(answer, len(requests), batch.idsite, known=known)


def judge(answer: Answer, sent: int, idsite: int, *, known: bool) -> _Verdict:
    """What an answer to a bulk request of `sent` requests means. Raises MatomoError for what waiting can't mend.

    `known`: Matomo has taken requests of the site before, so that a batch that is invalid as a whole is bad luck and
    not a site that Matomo doesn't know.
    """
    if answer.status == TOO_MANY:
        return _Verdict(
            _Fate.REFUSED_FOR_NOW, why="Matomo's server asks for fewer requests (429)", wait=answer.retry_after
        )
    if answer.status == UNAVAILABLE:
        why = f"Matomo is in maintenance or overloaded (503: {answer.head})"
        return _Verdict(_Fate.UNSURE, why=why, wait=answer.retry_after)
    if answer.status >= SERVER_ERROR:
        return _Verdict(
            _Fate.UNSURE, why=f"Matomo's server failed ({answer.status}: {answer.head})", wait=answer.retry_after
        )
    if answer.status == TOO_LARGE:
        return _Verdict(
            _Fate.TOO_LARGE, why="one request alone is too large for Matomo's server (413): raise its limit"
        )
    if answer.status != OK:
        msg = f"site {idsite}: Matomo refuses the batch ({answer.status}: {answer.head}): is MATOMO_TOKEN right, with write access to the site?"
        raise MatomoError(msg)
    told = answer.json
    if not isinstance(told, dict) or told.get("status") != "success":
        return _Verdict(_Fate.UNSURE, why=f"Matomo's answer is none of the bulk API's: {answer.head!r}")
    tracked, invalid = int(told.get("tracked", 0)), int(told.get("invalid", 0))
    if tracked + invalid != sent:
        why = f"Matomo took {tracked + invalid} of {sent} requests"
        if not tracked and not invalid:
            why = "Matomo records nothing ([Tracker] record_statistics = 0?)"
        return _Verdict(_Fate.UNSURE, why=why)
    if invalid == sent and not known:
        msg = f"site {idsite}: Matomo calls every request invalid: is there a site {idsite}, and has the token write access to it? Nothing was stored"
        raise MatomoError(msg)
    indices = told.get("invalid_indices") or range(invalid)
    return _Verdict(_Fate.DONE, invalid=tuple(int(i) for i in indices))


def send_sites(
    sender: Sender, sites: dict[int, Callable[[], Iterator[Batch]]], *, at_once: int = 4
) -> dict[int, SendReport | MatomoError]:
    """Sends several sites beside each other, each in its order: a report a site, or why it stopped."""

    def one(idsite: int) -> SendReport | MatomoError:
        try:
            return sender.send(idsite, sites[idsite])
        except MatomoError as e:
            return e

    with ThreadPoolExecutor(max_workers=at_once, thread_name_prefix="matomo") as pool:
        return dict(zip(sites, pool.map(one, sites), strict=True))
