"""The PostgreSQL of these tests, and a schema in it for each test."""

import os
from collections.abc import Iterator
from itertools import count

import psycopg
import pytest

from usage_stats_dagster_tests.mirror.cluster import cluster, programs

VARIABLE = "USAGE_STATS_TEST_POSTGRES"
_numbers = count()


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The URL of a PostgreSQL: the one that the environment names, else one of our own."""
    given = os.environ.get(VARIABLE)
    if given:
        yield given
        return
    found = programs()
    if found is None:
        pytest.skip(f"no PostgreSQL: install it (apt-get install postgresql) or set {VARIABLE} to a server's URL")
    with cluster(found) as url:
        yield url


@pytest.fixture
def database(server: str) -> Iterator[str]:
    """The server's URL with an empty schema of the test's own on its path."""
    schema = f"mirror_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(server, autocommit=True) as c:
        c.execute(f"CREATE SCHEMA {schema}")
    mark = "&" if "?" in server else "?"
    yield f"{server}{mark}options=-csearch_path%3D{schema}"
    with psycopg.connect(server, autocommit=True) as c:
        c.execute(f"DROP SCHEMA {schema} CASCADE")
