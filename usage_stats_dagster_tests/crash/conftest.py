"""Workers for the crash tests, started once."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from usage_stats_dagster_tests.crash.points import compiler
from usage_stats_dagster_tests.crash.workers import Helpers, helpers


@pytest.fixture(scope="session")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Helpers]:
    if sys.platform != "linux" or compiler() is None:
        pytest.skip("the library that sees every system call needs Linux and a C compiler (Debian's gcc)")
    with helpers(tmp_path_factory.mktemp("crash")) as made:
        yield made
