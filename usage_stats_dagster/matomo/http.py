"""HTTP to a Matomo: one request, one answer, and whether a request without an answer can have arrived.

What belongs here: sockets, time limits, the token's name. What does not: what an answer means (`sender.py`,
`live_api.py`), and trying again, which is theirs to decide.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import orjson

TOKEN_VARIABLE = "MATOMO_TOKEN"  # noqa: S105  (a variable's name)
"""The only place that the token comes from; it goes into request bodies only, never into an address or a message."""

_HEAD = 200


class MatomoError(Exception):
    """Matomo can't be used as asked; the message says why and what to do."""


class NotSentError(MatomoError):
    """No connection came about: Matomo has seen nothing of the request."""


class LostAnswerError(MatomoError):
    """The connection broke or the time was up: Matomo may have done the work, or may be doing it still."""


class MatomoAwayError(MatomoError):
    """Matomo did not answer well for as long as we were to be patient. Nothing is lost; a later run goes on."""


@dataclass(frozen=True)
class Answer:
    """An HTTP answer, whatever its status; `retry_after` in seconds, when the server names it so."""

    status: int
    body: bytes
    retry_after: float | None = None

    @property
    def json(self) -> Any:  # noqa: ANN401
        """The body as JSON, or None when it is none."""
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return None

    @property
    def head(self) -> str:
        """The body's beginning, for messages."""
        return " ".join(self.body[:_HEAD].decode("utf-8", "replace").split())


def token_from_environment() -> str:
    """MATOMO_TOKEN; raises MatomoError when it is not set."""
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if not token:
        msg = f"{TOKEN_VARIABLE} is not set: put a Matomo token there (user settings, Security; write access to send, view to read)"
        raise MatomoError(msg)
    return token


class MatomoHttp:
    """POSTs to one Matomo; connections are kept and shared by threads."""

    def __init__(self, url: str, token: str, timeout: float = 120.0) -> None:
        base = url.rstrip("/")
        for name in ("/index.php", "/matomo.php", "/piwik.php"):
            base = base.removesuffix(name)
        self.url = base
        import urllib3  # noqa: PLC0415  (a run whose source is logs knows this module, and needs no HTTP)

        self._token = token
        self._errors = urllib3.exceptions
        self._pool = urllib3.PoolManager(
            maxsize=8,
            retries=False,
            timeout=urllib3.Timeout(connect=min(timeout, 15.0), read=timeout),
        )

    def bulk(self, requests: list[str]) -> Answer:
        """Sends tracking requests (JSON objects) as one bulk request. Raises NotSentError, LostAnswerError."""
        token = orjson.dumps(self._token).decode()
        body = f'{{"requests":[{",".join(requests)}],"token_auth":{token}}}'
        return self._post("/matomo.php", body.encode(), "application/json")

    def api(self, parameters: dict[str, str | int]) -> Answer:
        """Calls the reporting API, token in the body. Raises NotSentError, LostAnswerError."""
        fields = {"module": "API", "format": "JSON", "language": "en", **parameters, "token_auth": self._token}
        return self._post("/index.php", urlencode(fields).encode(), "application/x-www-form-urlencoded")

    def _post(self, path: str, body: bytes, kind: str) -> Answer:
        headers = {"Content-Type": kind, "User-Agent": "usage-stats-dagster", "Accept-Encoding": "gzip"}
        try:
            r = self._pool.request("POST", self.url + path, body=body, headers=headers, redirect=False)
        except self._errors.LocationValueError as e:
            msg = f"matomo.url = {self.url!r} is no address: use one such as 'https://matomo.example.org'"
            raise MatomoError(msg) from e
        except (self._errors.NewConnectionError, self._errors.ConnectTimeoutError) as e:
            msg = f"{self.url}: no connection ({_reason(e)})"
            raise NotSentError(msg) from e
        except self._errors.HTTPError as e:
            msg = f"{self.url}: no answer ({_reason(e)})"
            raise LostAnswerError(msg) from e
        if 300 <= r.status < 400:
            msg = (
                f"matomo.url = {self.url!r} redirects to {r.headers.get('Location')}: set matomo.url to where it leads"
            )
            raise MatomoError(msg)
        return Answer(r.status, r.data, _seconds(r.headers.get("Retry-After")))


def _seconds(value: str | None) -> float | None:
    try:
        return max(0.0, float(value)) if value else None
    except ValueError:  # a date: our own back-off does as well
        return None


def _reason(error: Exception) -> str:
    return type(error).__name__.removesuffix("Error")
