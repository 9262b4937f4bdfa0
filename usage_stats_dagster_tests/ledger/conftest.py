"""Database servers of our own for the ledger."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from usage_stats_dagster_tests.mirror.cluster import cluster, programs
from usage_stats_dagster_tests.services import mariadb_server


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """A PostgreSQL of our own, by its URL."""
    found = programs()
    if found is None:
        pytest.skip("no PostgreSQL: install it (apt-get install postgresql)")
    with cluster(found) as url:
        yield url.replace("postgresql://", "postgresql+psycopg://")


@pytest.fixture(scope="module")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A MariaDB of our own, by the URL of an empty database."""
    for server in mariadb_server(tmp_path_factory.mktemp("mariadb")):
        server.execute("ledger")
        yield f"{server.url.replace('mysql://', 'mysql+pymysql://')}/ledger"
