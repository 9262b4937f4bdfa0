"""Requests to one bucket: tried again with back-off, bounded in number, and errors that say what to do.

What belongs here: boto3, which failures pass, what each of the others means to an operator. What does not: which objects
there are (`s3.py`, `s3_upload.py`, `s3_lease.py`).

botocore's own retries are off: they don't cover a body whose connection breaks halfway, and a write with a condition must
be looked at before it counts as refused (its first try may have arrived).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import BoundedSemaphore
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ResponseStreamingError,
)

from usage_stats_dagster.lake.storage import LakeError
from usage_stats_dagster.settings import StorageSection

TRIES = 12
"""At a third of all requests failing, one in half a million fails for good."""

_UNREACHABLE_TRIES = 6
"""Nobody listens at the address: a restarting server is back by then, a wrong address is told within seconds."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0

_PASSING = (HTTPClientError, IncompleteReadError, ResponseStreamingError)
_AGAIN = {"RequestTimeout", "SlowDown", "ThrottlingException", "Throttling", "ConditionalRequestConflict"}


Answer = dict[str, Any]
"""What boto3 makes of an answer; a body in it is read from the connection."""


class RefusedError(Exception):
    """A condition of the request does not hold (412), or the object is as it was (304)."""


class MissingError(Exception):
    """There is no such object or upload (404)."""


@dataclass(frozen=True)
class Timeouts:
    """Seconds for a connection to stand, for the next bytes of an answer, and for all tries of a request together."""

    connect: float = 10
    read: float = 60
    all_tries: float = 600


class Bucket:
    """One bucket of one S3 server. Its client and connections are shared by threads."""

    def __init__(
        self, section: StorageSection, name: str, *, timeouts: Timeouts | None = None, connections: int | None = None
    ) -> None:
        self.name = name
        self.server = section.endpoint or "AWS"
        self._timeouts = timeouts = timeouts or Timeouts()
        most = connections or section.connections
        path_style = section.path_style if section.path_style is not None else section.endpoint is not None
        self._turns = BoundedSemaphore(most)
        config = Config(
            s3={"addressing_style": "path" if path_style else "auto"},
            max_pool_connections=most,
            connect_timeout=timeouts.connect,
            read_timeout=timeouts.read,
            retries={"total_max_attempts": 1, "mode": "standard"},
            # Checksums that only AWS knows: other servers refuse them. Bodies are signed, or sent by TLS.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        try:
            session = boto3.session.Session()
            self._client = session.client(
                "s3",
                endpoint_url=section.endpoint,
                # Other servers take any region; AWS's is the bucket's.
                region_name=section.region or session.region_name or "us-east-1",
                config=config,
            )
        except (BotoCoreError, ValueError) as e:
            msg = (
                f"storage: no S3 client can be made ({e}): correct storage.endpoint, storage.region or the AWS profile"
            )
            raise LakeError(msg) from e

    def call(
        self,
        operation: str,
        key: str = "",
        then: Callable[[Answer], Any] | None = None,
        **more: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401  (boto3 has no types)
        """One request until it has an answer; `then` makes something of the answer within the try.

        Raises MissingError, RefusedError, or LakeError when it can't be had or stays away.
        """
        request = getattr(self._client, operation)
        arguments = {"Bucket": self.name, **({"Key": key} if key else {}), **more}
        tries, pause, give_up = 1, _FIRST_PAUSE, time.monotonic() + self._timeouts.all_tries
        while True:
            try:
                with self._turns:
                    if hasattr(more.get("Body"), "seek"):
                        more["Body"].seek(0)
                    answer = request(**arguments)
                    return then(answer) if then else answer
            except ClientError as e:
                error: Exception = e
                most = TRIES if self._passes(e, operation, key) else 0
            except (NoCredentialsError, PartialCredentialsError) as e:
                msg = (
                    f"{self.address(key)}: no credentials for S3 ({e}): set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
                    "AWS_PROFILE, or run where a role gives them; they never stand in the settings"
                )
                raise LakeError(msg) from e
            except EndpointConnectionError as e:
                error, most = e, _UNREACHABLE_TRIES
            except _PASSING as e:
                error, most = e, TRIES
            except BotoCoreError as e:
                msg = f"{self.address(key)}: {e}"
                raise LakeError(msg) from e
            if tries >= most or time.monotonic() > give_up:
                msg = (
                    f"{self.address(key)}: {self.server} failed {tries} times to {_verb(operation)}, lastly with "
                    f"{_short(error)}: see that it is up and reachable (storage.endpoint), then run again; what is there is whole"
                )
                raise LakeError(msg) from error
            tries += 1
            time.sleep(pause * random.uniform(0.5, 1))  # noqa: S311  (only spreads the tries)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def address(self, key: str) -> str:
        """The object as people write it."""
        return f"s3://{self.name}/{key}"

    def _passes(self, error: ClientError, operation: str, key: str) -> bool:
        """True for an error worth another try; raises what any other one means."""
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        code = str(error.response.get("Error", {}).get("Code", ""))
        if status == 501 or code == "NotImplemented":
            msg = f"{self.address(key)}: {self.server} has no {_verb(operation)}: use a server that has S3's conditional writes and uploads in parts"
            raise LakeError(msg) from error
        if status >= 500 or status in (408, 429) or code in _AGAIN:
            return True
        if status in (304, 412):
            raise RefusedError(code) from error
        if status == 404 and code != "NoSuchBucket":
            raise MissingError(code) from error
        way = self._way_out(status, code)
        msg = f"{self.address(key)}: {self.server} refused to {_verb(operation)} ({status} {_short(error)}): {way}"
        raise LakeError(msg) from error

    def _way_out(self, status: int, code: str) -> str:
        if code == "NoSuchBucket":
            return f"make the bucket {self.name!r}, or correct storage.root"
        if status in (301, 307) or code in ("AuthorizationHeaderMalformed", "IllegalLocationConstraintException"):
            return "the bucket is of another region or server: set storage.region or storage.endpoint"
        if code in ("RequestTimeTooSkewed",):
            return "this machine's clock is wrong"
        if status in (401, 403):
            return (
                "the credentials (AWS_ACCESS_KEY_ID …, AWS_PROFILE, or the machine's role) need s3:GetObject, PutObject, "
                "DeleteObject, ListBucket, ListBucketMultipartUploads and AbortMultipartUpload there"
            )
        return "correct storage.root, storage.endpoint or storage.region"


def _verb(operation: str) -> str:
    return operation.removesuffix("_v2").replace("_", " ")


def _short(error: Exception) -> str:
    if isinstance(error, ClientError):
        e = error.response.get("Error", {})
        return " ".join(f"{e.get('Code', '')} {e.get('Message', '')}".split())[:200] or "an error"
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
