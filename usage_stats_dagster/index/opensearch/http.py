"""Requests to OpenSearch: one at a time, tried again while the server is away or overloaded, errors explained.

What belongs here: the client (opensearch-py: connections, TLS, basic authentication, AWS's signature), patience, and what
an error means. What does not: what is asked (`questions.py`), a bulk's items (`bulk.py`).

Passwords come from the environment only: USAGE_STATS_OPENSEARCH_USER and USAGE_STATS_OPENSEARCH_PASSWORD; AWS's keys from
boto3's standard chain, where `index.aws_region` asks for signed requests.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import opensearchpy
import orjson
from opensearchpy import exceptions as oe
from opensearchpy.serializer import JSONSerializer

from usage_stats_dagster.index.interface import DocumentIndexError
from usage_stats_dagster.settings import IndexSection

USER_VARIABLE = "USAGE_STATS_OPENSEARCH_USER"
PASSWORD_VARIABLE = "USAGE_STATS_OPENSEARCH_PASSWORD"  # noqa: S105  (a variable's name)

AGAIN = frozenset({429, 502, 503, 504})
"""Answers after which the same request may succeed: overload, a proxy without server, a shard that is not there yet."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 15.0
_READ_PATIENCE = 5.0

Parameters = Mapping[str, str | int]
T = TypeVar("T")


class IndexUnreachableError(DocumentIndexError):
    """OpenSearch did not answer, or refused for now, for as long as we wait."""


class IndexAnswerError(DocumentIndexError):
    """OpenSearch refused a request; `status` and `kind` say how, as it named it."""

    def __init__(self, message: str, status: int, kind: str) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind


class OpenSearchHttp:
    """A server; threads may share the object. `patient=False` for who reads: then failing soon is better than waiting."""

    def __init__(self, options: IndexSection, *, patient: bool = True) -> None:
        self.url = (options.url or "").rstrip("/")
        self.patience = options.patience_seconds if patient else min(_READ_PATIENCE, options.patience_seconds)
        self.closed = threading.Event()
        self._client = _client(options)

    def close(self) -> None:
        """Close the connections; waiting requests give up."""
        self.closed.set()
        self._client.close()

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        parameters: Parameters | None = None,
        *,
        missing: bool = False,
    ) -> Any:  # noqa: ANN401  (JSON)
        """The answer as JSON; with `missing`, None where there is no such thing (404).

        Raises IndexUnreachableError after `patience` seconds, IndexAnswerError for a refusal.
        """
        return self.patiently(lambda: self.once(method, path, body, parameters, missing=missing))

    def once(
        self,
        method: str,
        path: str,
        body: object = None,
        parameters: Parameters | None = None,
        *,
        missing: bool = False,
    ) -> Any:  # noqa: ANN401  (JSON)
        """As `ask`, without a second try: IndexUnreachableError says that one may help."""
        if self.closed.is_set():
            msg = f"the index {self.url} is closed"
            raise DocumentIndexError(msg)
        headers = {"content-type": "application/x-ndjson" if isinstance(body, bytes) else "application/json"}
        try:
            return self._client.transport.perform_request(
                method, path, params=dict(parameters or {}), body=body, headers=headers
            )
        except oe.TransportError as e:
            status = e.status_code if isinstance(e.status_code, int) else 0
            if status == 404 and missing:
                return None
            raise self._explained(e, status) from e
        except oe.ImproperlyConfigured as e:
            msg = f"OpenSearch at {self.url}: {e}"
            raise DocumentIndexError(msg) from e

    def wait_until_recovered(self) -> None:
        """Wait for a server that has just started to know its indices: until then it says that there are none."""

        def work() -> None:
            try:
                answer = self.once("GET", "/_cluster/state/blocks", None, {"filter_path": "blocks.global"})
            except IndexAnswerError as e:
                if e.status != 403:  # readers may not be allowed to look
                    raise
                return
            if "1" in answer.get("blocks", {}).get("global", {}):
                msg = f"OpenSearch at {self.url} is starting and does not know its indices yet: run again later"
                raise IndexUnreachableError(msg)

        self.patiently(work)

    def patiently(self, work: Callable[[], T], seconds: float | None = None) -> T:
        """Does the work, again after IndexUnreachableError with growing pauses, until `patience` seconds are over."""
        pause, give_up = _FIRST_PAUSE, time.monotonic() + min(self.patience, seconds or self.patience)
        while True:
            try:
                return work()
            except IndexUnreachableError:
                if time.monotonic() + pause > give_up or self.closed.is_set():
                    raise
                self.closed.wait(pause * random.uniform(0.5, 1.0))  # noqa: S311  (so that two clients don't keep step)
                pause = min(pause * 2, _LONGEST_PAUSE)

    def _explained(self, e: oe.TransportError, status: int) -> DocumentIndexError:
        where = f"OpenSearch at {self.url}"
        if isinstance(e, oe.SSLError):
            return DocumentIndexError(
                f"{where}: its certificate is not trusted ({_reason(e)}): name its authority in index.ca"
            )
        if status == 0:
            return IndexUnreachableError(
                f"{where} does not answer ({_reason(e)}): start it, or correct index.url; then run again"
            )
        if status in AGAIN:
            return IndexUnreachableError(
                f"{where} can't serve for now ({status}: {_reason(e)}): run again when it has recovered"
            )
        if status in (401, 403):
            way_out = f"{USER_VARIABLE} and {PASSWORD_VARIABLE}, or index.aws_region and AWS's keys"
            return IndexAnswerError(f"{where} refuses ({status}: {_reason(e)}): set {way_out}", status, str(e.error))
        return IndexAnswerError(f"{where}: {status}: {_reason(e)}", status, str(e.error))


def _reason(e: oe.TransportError) -> str:
    info = e.info if isinstance(e.info, Mapping) else {}
    error = info.get("error")
    causes = error.get("root_cause") if isinstance(error, Mapping) else None
    if causes and isinstance(causes[0], Mapping):
        return f"{causes[0].get('type')}: {causes[0].get('reason')}"
    return str(error or e.error)[:300] if e.status_code != "N/A" else str(e.info)[:300]


class _Json(JSONSerializer):
    """orjson in place of the standard module: large answers are read in a third of the time."""

    def loads(self, s: Any) -> Any:  # noqa: ANN401
        return orjson.loads(s)

    def dumps(self, data: Any) -> Any:  # noqa: ANN401
        return data if isinstance(data, bytes | str) else orjson.dumps(data)


def _client(options: IndexSection) -> opensearchpy.OpenSearch:
    logging.getLogger("opensearch").setLevel(logging.ERROR)  # what fails is told by our own errors
    return opensearchpy.OpenSearch(
        hosts=[options.url],
        http_auth=authentication(options),
        verify_certs=options.verify,
        ssl_show_warn=False,
        ca_certs=options.ca,
        timeout=options.timeout_seconds,
        max_retries=0,
        pool_maxsize=4 * options.bulk_requests + 8,
        connection_class=opensearchpy.Urllib3HttpConnection,
        serializer=_Json(),
        serializers={"application/json": _Json()},
    )


def authentication(options: IndexSection) -> Any:  # noqa: ANN401  (what opensearch-py takes)
    """AWS's signer where a region is set, else user and password of the environment, else None."""
    if options.aws_region:
        import boto3  # noqa: PLC0415  (slow, and only for AWS)

        credentials = boto3.Session().get_credentials()
        if credentials is None:
            msg = "index.aws_region is set, but there are no AWS keys: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or a role"
            raise DocumentIndexError(msg)
        return opensearchpy.Urllib3AWSV4SignerAuth(credentials, options.aws_region, "es")
    user, password = os.environ.get(USER_VARIABLE), os.environ.get(PASSWORD_VARIABLE)
    if bool(user) != bool(password):
        msg = f"{USER_VARIABLE} and {PASSWORD_VARIABLE} go together: set both or none"
        raise DocumentIndexError(msg)
    return (user, password) if user else None
