"""Workers for the crash tests, started once for each kind of place."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from usage_stats_dagster_tests.crash.places import in_services
from usage_stats_dagster_tests.crash.points import compiler
from usage_stats_dagster_tests.crash.workers import Helpers, helpers
from usage_stats_dagster_tests.s3_server import S3Server


@pytest.fixture(scope="session")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Helpers]:
    """Of worlds in a folder."""
    _needs_a_compiler()
    with helpers(tmp_path_factory.mktemp("crash")) as made:
        yield made


@pytest.fixture(scope="session")
def service_workers(s3: S3Server, opensearch: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Helpers]:
    """Of worlds whose lake is in a bucket, and whose index is an OpenSearch."""
    _needs_a_compiler()
    with helpers(tmp_path_factory.mktemp("crash"), [in_services(s3, opensearch) for _ in range(3)]) as made:
        yield made


@pytest.fixture
def place(s3: S3Server, opensearch: str) -> dict[str, str]:
    """The environment of a bucket and of indices of a test's own."""
    return in_services(s3, opensearch)


def _needs_a_compiler() -> None:
    if sys.platform != "linux" or compiler() is None:
        pytest.skip("the library that sees every system call needs Linux and a C compiler (Debian's gcc)")
