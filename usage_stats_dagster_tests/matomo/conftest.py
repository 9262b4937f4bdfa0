"""The MariaDB that the tests of this folder share, with the dumps in it."""

from collections.abc import Iterator

import pytest

from usage_stats_dagster_tests.services import DUMPS, MariaDB, mariadb_server


@pytest.fixture(scope="session")
def server(tmp_path_factory) -> Iterator[MariaDB]:
    """A MariaDB without anything in it that the test does not load."""
    yield from mariadb_server(tmp_path_factory.mktemp("mariadb"))


@pytest.fixture(scope="session")
def mariadb(server) -> MariaDB:
    """A MariaDB with the fixtures' dumps."""
    for name in DUMPS:
        server.load(name)
    return server
