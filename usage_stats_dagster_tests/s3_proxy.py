"""Between the lake and a real S3 server: counts requests, and makes them fail as networks and servers do.

What belongs here: passing on, counting, failing. What does not: which failures a test wants (it gives a function).
"""

from __future__ import annotations

import http.client
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

Fault = str | None
"""None: pass it on. "503", "429", …: refuse it. "cut": break the connection before the server sees it. "half": break it in the
middle of the body sent up. "hang": take it, and never answer. "lost": the server does it, the answer is lost. "torn": half of the answer's body."""

Plan = Callable[["Request"], Fault]


class Request:
    """What a plan sees of a request: method, path with query, and its number among all requests (from 0)."""

    def __init__(self, method: str, path: str, number: int) -> None:
        self.method, self.path, self.number = method, unquote(path), number

    @property
    def kind(self) -> str:
        """The method, with what S3 tells apart by the query."""
        query = urlsplit(self.path).query
        for word in ("uploads", "uploadId", "list-type"):
            if word in query:
                return f"{self.method} {word}"
        return self.method


class Proxy:
    """A running proxy: `endpoint` to connect to, `plan` to change at any time, what was counted."""

    def __init__(self, upstream: str) -> None:
        self.plan: Plan = lambda _: None
        self.seen: list[Request] = []
        self.faults: Counter[str] = Counter()
        self.open = self.most_open = 0
        self.lock = threading.Lock()
        self.hanging, self.closing = threading.Event(), threading.Event()
        self._target = urlsplit(upstream)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def forget(self) -> None:
        """Counts from nothing."""
        with self.lock:
            self.seen, self.faults = [], Counter()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy, target = self, self._target

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                super().setup()
                with proxy.lock:
                    proxy.open += 1
                    proxy.most_open = max(proxy.most_open, proxy.open)

            def finish(self) -> None:
                with proxy.lock:
                    proxy.open -= 1
                super().finish()

            def handle_expect_100(self) -> bool:
                return True  # answered with the body's fate, so that a refusal comes first

            def log_message(self, *_: object) -> None:
                pass

            def _pass(self) -> None:
                with proxy.lock:
                    request = Request(self.command, self.path, len(proxy.seen))
                    proxy.seen.append(request)
                    fault = proxy.plan(request)
                    if fault:
                        proxy.faults[fault] += 1
                length = int(self.headers.get("Content-Length") or 0)
                if fault == "cut":
                    return self._break()
                if fault and fault.isdigit():
                    return self._refuse(int(fault))
                if "100-continue" in (self.headers.get("Expect") or ""):
                    self.send_response_only(100)
                    self.end_headers()
                if fault == "half":
                    self.rfile.read(length // 2)
                    return self._break()
                body = self.rfile.read(length)
                if fault == "hang":
                    proxy.hanging.set()
                    proxy.closing.wait()
                    return self._break()
                server = http.client.HTTPConnection(target.hostname or "", target.port, timeout=60)
                try:
                    server.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                    for name, value in self.headers.items():
                        if name.lower() not in ("expect", "connection"):
                            server.putheader(name, value)
                    server.endheaders(body or None)
                    answer = server.getresponse()
                    data = answer.read()
                finally:
                    server.close()
                if fault == "lost":
                    return self._break()
                self.send_response_only(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                        self.send_header(name, value)
                size = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(data))
                self.send_header("Content-Length", size or "0")
                self.end_headers()
                if fault == "torn":
                    self.wfile.write(data[: len(data) // 2])
                    return self._break()
                self.wfile.write(data)
                return None

            def _refuse(self, status: int) -> None:
                code = {429: "SlowDown", 503: "ServiceUnavailable"}.get(status, "InternalError")
                data = f"<Error><Code>{code}</Code><Message>by the proxy</Message></Error>".encode()
                self.send_response_only(status)
                self.send_header("Content-Length", str(0 if self.command == "HEAD" else len(data)))
                self.send_header("Connection", "close")
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)
                self.close_connection = True

            def _break(self) -> None:
                """Resets the connection."""
                self.wfile.flush()
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass  # noqa: N815

        return Handler

    def __enter__(self) -> Proxy:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def proxy_to(endpoint: str) -> Iterator[Proxy]:
    """A proxy in front of a server."""
    with Proxy(endpoint) as proxy:
        yield proxy
