"""A server that answers as a Matomo does, over real sockets: bulk tracking, Live and summary reports, and how they fail.

What belongs here: HTTP, the API's forms of an answer, faults. What does not: what is stored (`store.py`). Runs inside a test
(`Matomo`), or as a process of its own that can be killed: `python -m …server PORT STORE_URL SEED SHARE_OF_FAULTS`.
"""

from __future__ import annotations

import json
import random
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

from usage_stats_dagster_tests.matomo_http.store import Store, dumps

TOKEN = "0123456789abcdef0123456789abcdef"
FAULTS = ("503", "429", "502 before", "502 after", "lost after", "dies", "late", "hangs", "skips", "page", "off")
LATE = 0.15
"""Seconds that a request lives on, at the most, after its connection broke."""


class Matomo:
    """The server: `fault` names what goes wrong with the next bulk request (None: nothing), `api_fault` with an API call."""

    def __init__(self, store: Store | None = None, port: int = 0, visits: Iterable[dict[str, Any]] = ()) -> None:
        self.store = store
        self.visits = list(visits)
        self.fault: Callable[[], str | None] = lambda: None
        self.api_fault: Callable[[], str | None] = lambda: None
        self.zone = "UTC"
        self.cap: int | None = None
        self.lose: Callable[[list[dict[str, Any]]], list[dict[str, Any]]] = lambda page: page
        self.maintenance = False
        self.bulk_requests: list[list[Any]] = []
        self.api_calls: list[dict[str, str]] = []
        self._server = _Server(("127.0.0.1", port), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Matomo:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def serve(self) -> None:
        """Serves until killed."""
        self._server.serve_forever()

    def all_visits(self, idsite: int) -> list[dict[str, Any]]:
        """The site's visits, given or tracked."""
        given = [v for v in self.visits if int(v.get("idSite", idsite)) == idsite]
        return given + (self.store.live_visits(idsite) if self.store else [])


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_: object) -> None:
        """A client that was killed is no news."""


class _Gone(Exception):  # noqa: N818  (not an error: an instruction)
    """The connection is to break without an answer."""


def _handler(matomo: Matomo) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            try:
                status, answer, more = (bulk if self.path == "/matomo.php" else api)(matomo, body)
            except _Gone:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", "Content-Length": str(len(answer)), **more}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def bulk(matomo: Matomo, body: bytes) -> tuple[int, bytes, dict[str, str]]:
    """The bulk tracking API: status, body, headers."""
    assert matomo.store is not None
    if matomo.maintenance:
        return 503, b"<html>Matomo is under maintenance</html>", {}
    fault = matomo.fault()
    if fault == "503":
        return 503, b"<html>Matomo is under maintenance</html>", {}
    if fault == "429":
        return 429, b"", {"Retry-After": "0.01"}
    if fault == "502 before":
        return 502, b"<html>Bad Gateway</html>", {}
    if fault == "page":
        return 200, b"<html>Please wait</html>", {}
    if fault == "off":  # record_statistics = 0
        return 200, dumps({"status": "success", "tracked": 0, "invalid": 0}), {}
    if fault == "too large":
        return 413, b"", {}
    try:
        sent = json.loads(body)
    except (ValueError, UnicodeDecodeError):
        return 200, dumps({"status": "success", "tracked": 0, "invalid": 0}), {}
    if sent.get("token_auth") != TOKEN:
        return 401, dumps({"status": "error", "tracked": 0, "invalid": 0}), {}
    requests = sent["requests"]
    matomo.bulk_requests.append(requests)
    if fault == "late":  # the client sees a broken connection; PHP begins only then
        threading.Timer(LATE * random.random(), matomo.store.track, [requests]).start()
        raise _Gone
    if fault == "hangs":  # longer than the client waits
        time.sleep(LATE)
    skip = [i for i in range(len(requests)) if i % 3 == 0] if fault == "skips" else []
    tracked, invalid = matomo.store.track(requests, skip, die=fault == "dies")
    if fault in ("dies", "lost after"):
        raise _Gone
    if fault == "502 after":
        return 502, b"<html>Bad Gateway</html>", {}
    told = {"status": "success", "tracked": tracked, "invalid": len(invalid), "invalid_indices": invalid}
    return 200, dumps(told), {}


def api(matomo: Matomo, body: bytes) -> tuple[int, bytes, dict[str, str]]:
    """The reporting API: status, body, headers. Its own errors come with status 200."""
    asked = dict(parse_qsl(body.decode()))
    matomo.api_calls.append(asked)
    fault = matomo.api_fault()
    if fault == "gone":
        raise _Gone
    if fault is not None and fault.isdigit():
        return int(fault), b"<html>no</html>", {}
    if fault is not None:
        return 200, dumps({"result": "error", "message": fault}), {}
    if asked.get("token_auth") != TOKEN:
        message = "You can't access this resource as it requires 'view' access for the website id = 1."
        return 200, dumps({"result": "error", "message": message}), {}
    visits = matomo.all_visits(int(asked["idSite"]))
    if asked["method"] == "SitesManager.getSiteFromId":
        return 200, dumps({"idsite": int(asked["idSite"]), "timezone": matomo.zone}), {}
    first, last = (asked["date"].split(",") * 2)[:2]
    low = datetime.fromisoformat(first).replace(tzinfo=UTC)
    high = datetime.fromisoformat(last).replace(tzinfo=UTC) + timedelta(days=1)
    inside = [v for v in visits if low.timestamp() <= v["lastActionTimestamp"] < high.timestamp()]
    if asked["method"] == "VisitsSummary.get":
        return (
            200,
            dumps({"nb_visits": len(inside), "nb_actions": sum(v["actions"] for v in inside)} if inside else []),
            {},
        )
    assert asked["method"] == "Live.getLastVisitsDetails"
    found = [v for v in inside if v["lastActionTimestamp"] > int(asked.get("minTimestamp", 0))]
    found.sort(key=lambda v: (v["lastActionTimestamp"], v["idVisit"]), reverse=asked.get("filter_sort_order") != "asc")
    start = int(asked["filter_offset"])
    page = matomo.lose(found[start : start + int(asked["filter_limit"])])
    if matomo.cap is not None:
        page = [{**v, "actionDetails": v["actionDetails"][: matomo.cap]} for v in page]
    return 200, dumps(page), {}


def main(port: int, url: str, seed: int, share: float) -> None:
    """Serves with random faults until killed."""
    dice = random.Random(seed)
    matomo = Matomo(Store(url), port)
    matomo.fault = lambda: dice.choice(FAULTS) if dice.random() < share else None
    matomo.serve()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
