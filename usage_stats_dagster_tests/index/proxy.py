"""A proxy before a real OpenSearch that does what networks and overloaded servers do.

What belongs here: forwarding, and the faults. What does not: what is tested.
"""

import json
import ssl
import threading
from collections.abc import Callable
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import urllib3

Fault = Callable[[str, int, int], str | None]
"""(path, how many requests so far, bytes of this one) -> None, "429", "drop" (after the server did it), "413", "items"."""


class Proxy:
    """Its address, what it was asked, and the fault in force."""

    def __init__(self, upstream: str, fault: Fault = lambda *_: None) -> None:
        self.fault = fault
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        self.count = 0
        self.lock = threading.Lock()
        self.pool = urllib3.PoolManager(maxsize=8)
        self.upstream = upstream
        self.url = ""


@contextmanager
def proxy(upstream: str, fault: Fault = lambda *_: None, tls: ssl.SSLContext | None = None):
    """A proxy to `upstream`; over TLS with a context."""
    state = Proxy(upstream, fault)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def _forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            with state.lock:
                state.count += 1
                count = state.count
                state.seen.append((self.command, self.path, dict(self.headers)))
            fault = state.fault(self.path, count, len(body))
            if fault in ("429", "413"):
                self._answer(int(fault), b'{"error":{"type":"made_up","reason":"too much"}}')
                return
            if fault == "items" and "/_bulk" in self.path:
                self._answer(200, _with_refused_items(state, self.path, body, count))
                return
            headers = {"content-type": self.headers.get("content-type") or "application/json"}
            answer = state.pool.request(
                self.command, state.upstream + self.path, body=body, headers=headers, retries=False
            )
            if fault == "drop":
                self.close_connection = True
                return
            self._answer(answer.status, answer.data)

        def _answer(self, status: int, data: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", "application/json; charset=UTF-8")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _forward  # noqa: N815

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    state.url = f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _with_refused_items(state: Proxy, path: str, body: bytes, turn: int) -> bytes:
    """Two items of three go to the server; the third is refused for now, as a full queue does it."""
    lines = body.splitlines(keepends=True)
    if b'"index"' not in lines[0]:
        return state.pool.request(
            "POST", state.upstream + path, body=body, headers={"content-type": "application/x-ndjson"}
        ).data
    pairs = [b"".join(lines[i : i + 2]) for i in range(0, len(lines), 2)]
    kept = [p for n, p in enumerate(pairs) if (n + turn) % 3]
    answered = iter([])
    if kept:
        sent = state.pool.request(
            "POST",
            state.upstream + path.partition("?")[0],
            body=b"".join(kept),
            headers={"content-type": "application/x-ndjson"},
        )
        answered = iter(json.loads(sent.data)["items"])
    refused = {"index": {"status": 429, "error": {"type": "rejected_execution_exception", "reason": "full"}}}
    items = [next(answered) if (n + turn) % 3 else refused for n in range(len(pairs))]
    return json.dumps({"errors": any("error" in i["index"] for i in items), "items": items}).encode()
