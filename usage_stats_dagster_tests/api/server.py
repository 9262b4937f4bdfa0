"""The application behind a real HTTP server, and a client that asks it.

What belongs here: starting, asking, stopping. What does not: what is indexed, or what the answers should be.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import urllib3
import uvicorn
from fastapi import FastAPI

_UP_SECONDS = 20


@dataclass
class Client:
    """Asks one server; parameters are encoded as a browser does."""

    url: str

    def __post_init__(self) -> None:
        self._pool = urllib3.PoolManager()

    def get(self, path: str, *, method: str = "GET", **parameters: Any) -> tuple[int, Any]:
        """Status and JSON of the answer."""
        answer = self._pool.request_encode_url(method, self.url + path, fields=parameters)
        return answer.status, json.loads(answer.data)

    def ok(self, path: str, **parameters: Any) -> Any:
        """The JSON of an answer 200."""
        status, content = self.get(path, **parameters)
        assert status == 200, content
        return content

    def send(self, method: str, path: str, body: bytes, **headers: str) -> tuple[int, Any]:
        answer = self._pool.request(method, self.url + path, body=body, headers=headers)
        return answer.status, json.loads(answer.data)

    def headers(self, method: str, path: str, **headers: str) -> dict[str, str]:
        named = {k.replace("_", "-"): v for k, v in headers.items()}
        return dict(self._pool.request(method, self.url + path, headers=named).headers)


@contextmanager
def serving(app: FastAPI) -> Iterator[Client]:
    """The application on a port of its own."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [s]}, daemon=True)
        thread.start()
        give_up = time.monotonic() + _UP_SECONDS
        while not server.started:
            if not thread.is_alive() or time.monotonic() > give_up:
                raise RuntimeError("the server did not come up")
            time.sleep(0.01)
        try:
            yield Client(f"http://127.0.0.1:{s.getsockname()[1]}")
        finally:
            server.should_exit = True
            thread.join(timeout=_UP_SECONDS)
