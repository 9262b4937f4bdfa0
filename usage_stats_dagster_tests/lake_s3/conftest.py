"""A bucket of its own for each test, and a proxy before the server."""

from collections.abc import Iterator

import pytest

from usage_stats_dagster_tests.lake_s3.lakes import Bucket
from usage_stats_dagster_tests.s3_proxy import Proxy, proxy_to
from usage_stats_dagster_tests.s3_server import S3Server


@pytest.fixture
def proxy(s3: S3Server) -> Iterator[Proxy]:
    with proxy_to(s3.endpoint) as p:
        yield p


@pytest.fixture
def bucket(s3: S3Server, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """An empty bucket, reached through the proxy, with the credentials in the environment."""
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    return Bucket(s3, s3.bucket(), proxy.endpoint)
