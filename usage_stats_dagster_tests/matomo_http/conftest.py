"""What this folder's tests share: the token of their Matomo, and a MariaDB where there is one."""

from collections.abc import Iterator

import pytest

from usage_stats_dagster.matomo.http import TOKEN_VARIABLE
from usage_stats_dagster_tests.matomo_http.server import TOKEN
from usage_stats_dagster_tests.services import MariaDB, mariadb_server


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the environment, where alone it is looked for."""
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)


@pytest.fixture(scope="session")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDB]:
    """A MariaDB with nothing in it."""
    yield from mariadb_server(tmp_path_factory.mktemp("mariadb"))
