"""A real S3 server for tests: one from the environment, or a private versitygw; and buckets on it.

What belongs here: finding, starting and stopping it. What does not: what is tested against it, failures made on the way
to it (`s3_proxy.py`).
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config

from usage_stats_dagster_tests.services import free_port

S3_VARIABLE = "USAGE_STATS_TEST_S3"
"""URL of a server on which buckets may be made, with its keys: http://KEY:SECRET@127.0.0.1:7070"""

INSTALL = "go install github.com/versity/versitygw/cmd/versitygw@latest"
_KEY, _SECRET = "tests", "a-secret-of-tests"
_UP_SECONDS = 30


@dataclass(frozen=True)
class S3Server:
    """A server, and what is needed to use it."""

    endpoint: str
    key: str
    secret: str

    @property
    def environment(self) -> dict[str, str]:
        """The standard variables of the credentials."""
        return {
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.key,
            aws_secret_access_key=self.secret,
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required"),
        )

    def bucket(self) -> str:
        """A new bucket."""
        name = f"tests-{secrets.token_hex(6)}"
        self.client().create_bucket(Bucket=name)
        return name

    def objects(self, bucket: str, prefix: str = "") -> dict[str, bytes]:
        """Every object under the prefix, by key."""
        client = self.client()
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        keys = [o["Key"] for page in pages for o in page.get("Contents", [])]
        return {k: client.get_object(Bucket=bucket, Key=k)["Body"].read() for k in keys}

    def uploads(self, bucket: str) -> list[str]:
        """Keys of unfinished uploads."""
        return [u["Key"] for u in self.client().list_multipart_uploads(Bucket=bucket).get("Uploads", [])]


def s3_server(folder: Path) -> Iterator[S3Server]:
    """The server of the environment, else a private one with its data in the folder; skips where there is neither."""
    given = os.environ.get(S3_VARIABLE)
    if given:
        parts = urlsplit(given)
        yield S3Server(f"{parts.scheme}://{parts.hostname}:{parts.port}", parts.username or "", parts.password or "")
        return
    with private_server(folder) as server:
        yield server


@contextmanager
def private_server(folder: Path, *options: str) -> Iterator[S3Server]:
    """A server of its own, with versitygw's options; its data are in the folder, and stay there."""
    program = shutil.which("versitygw", path=f"{os.environ.get('PATH', '')}:{_go_bin()}")
    if not program:
        pytest.skip(f"no S3 server: set {S3_VARIABLE}, or `{INSTALL}`")
    data, port = folder / "data", free_port()
    data.mkdir(parents=True, exist_ok=True)
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(
            [program, "--port", f"127.0.0.1:{port}", *options, "posix", str(data)],
            env={**os.environ, "ROOT_ACCESS_KEY": _KEY, "ROOT_SECRET_KEY": _SECRET}, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        found = S3Server(f"http://127.0.0.1:{port}", _KEY, _SECRET)
        _wait(found, process, folder / "server.log")
        yield found
    finally:
        process.terminate()
        process.wait(timeout=30)


def _go_bin() -> str:
    """Where `go install` puts programs."""
    return os.environ.get("GOBIN") or str(Path(os.environ.get("GOPATH") or Path.home() / "go") / "bin")


def _wait(server: S3Server, process: subprocess.Popen, log: Path) -> None:
    give_up = time.monotonic() + _UP_SECONDS
    while True:
        try:
            urllib.request.urlopen(server.endpoint, timeout=5).close()
        except urllib.error.HTTPError:
            return  # it answers: who asks without credentials is refused
        except OSError:
            if process.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError(f"versitygw did not come up:\n{log.read_text()[-2000:]}") from None
            time.sleep(0.05)
        else:
            return
