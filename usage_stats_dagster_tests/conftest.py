"""What holds for every test: an environment of its own, and no silent skip of a service test where services are required."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import Phase, settings

if TYPE_CHECKING:
    from usage_stats_dagster_tests.s3_server import S3Server

REQUIRED = "USAGE_STATS_REQUIRE_SERVICES"
"""Set in CI: a test of a real service that skips there has failed."""

settings.register_profile("fixed", derandomize=True)
settings.load_profile("fixed")
"""Every property test tries the same cases each time: CI does not fail by chance. `make soak` draws fresh ones."""

settings.register_profile("mutations", phases=[Phase.explicit, Phase.generate])
"""For `mutations.py`: stop at the first failure, don't make it smaller."""


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The settings of whoever runs the tests play no part, nor does a usage_stats.toml in the working folder."""
    for name in list(os.environ):
        if name.startswith("USAGE_STATS_") and not name.startswith("USAGE_STATS_TEST_") and name != REQUIRED:
            monkeypatch.delenv(name)
    for name in ("DAGSTER_HOME", "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "PGDATABASE", "USAGE_STATS_SECRET"):
        monkeypatch.delenv(name, raising=False)
    if Path("usage_stats.toml").exists():
        monkeypatch.chdir(tmp_path_factory.mktemp("cwd"))


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server; tests make buckets of their own on it."""
    from usage_stats_dagster_tests.s3_server import s3_server  # boto3 costs half a second

    yield from s3_server(tmp_path_factory.mktemp("s3"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Generator[None, Any, None]:
    """A skipped service test is a failure where services are required."""
    del call
    outcome = yield
    report = outcome.get_result()
    if report.skipped and os.environ.get(REQUIRED) and item.get_closest_marker("services"):
        report.outcome = "failed"
        report.longrepr = f"{REQUIRED} is set, but the test skipped: {report.longrepr}"


@pytest.fixture(scope="session")
def opensearch() -> Iterator[str]:
    """The address of a real OpenSearch, one for all tests of the session: each test uses a prefix of its own."""
    from usage_stats_dagster_tests.opensearch_server import opensearch_url

    with opensearch_url() as url:
        yield url
