"""Real services for tests: a MariaDB from the environment, or a private one started from the machine's own programs.

What belongs here: finding, starting, filling and stopping them. What does not: what is tested against them.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pymysql
import pytest

from usage_stats_dagster_tests.shared import shared

MARIADB_VARIABLE = "USAGE_STATS_TEST_MARIADB"
"""URL of a server on which databases may be made: mysql://root@127.0.0.1:3306"""

DUMPS = {
    "matomo": "fixtures/matomo/matomo.sql.gz",
    "matomo_s": "fixtures/lareferencia/matomo_s.sql.gz",
    "lareferenciastatsdb": "fixtures/lareferencia/lareferenciastatsdb.sql.gz",
}
_UP_SECONDS = 60


@dataclass(frozen=True)
class MariaDB:
    """A server on which the tests may make databases."""

    url: str

    def database(self, name: str) -> str:
        """The URL of a database of it."""
        return f"{self.url}/{name}"

    def connect(self, name: str | None = None) -> pymysql.Connection:
        parts = urlsplit(self.url)
        return pymysql.connect(
            host=parts.hostname, port=parts.port or 3306, user=parts.username, password=parts.password or "",
            database=name, charset="utf8mb4", autocommit=True,
        )  # fmt: skip

    def execute(self, name: str, *statements: str) -> None:
        """Runs statements on a database, which is made if it is not there."""
        with closing(self.connect()) as connection, connection.cursor() as c:
            c.execute(f"CREATE DATABASE IF NOT EXISTS `{name}` CHARACTER SET utf8mb4")
            c.execute(f"USE `{name}`")
            for s in statements:
                c.execute(s)

    def load(self, name: str) -> None:
        """A fixture's dump into the database of that name, unless it is there already."""
        dump = shared(DUMPS[name])
        with closing(self.connect()) as connection, connection.cursor() as c:
            if c.execute("SELECT 1 FROM information_schema.tables WHERE table_schema = %s LIMIT 1", (name,)):
                return
        self.execute(name)
        parts = urlsplit(self.url)
        client = [
            "mariadb",
            "--no-defaults",
            f"-h{parts.hostname}",
            f"-P{parts.port or 3306}",
            f"-u{parts.username}",
            name,
        ]
        env = {**os.environ, "MYSQL_PWD": parts.password or ""}
        with subprocess.Popen(["gzip", "-dc", str(dump)], stdout=subprocess.PIPE) as unpacked:
            subprocess.run(client, stdin=unpacked.stdout, check=True, env=env)


def mariadb_server(folder: Path) -> Iterator[MariaDB]:
    """The server of the environment, else a private one with its data in the folder; skips where there is neither."""
    given = os.environ.get(MARIADB_VARIABLE)
    if given:
        yield MariaDB(given.rstrip("/"))
        return
    server, installer = (
        shutil.which(p, path=f"{os.environ.get('PATH', '')}:/usr/sbin") for p in ("mariadbd", "mariadb-install-db")
    )
    if not server or not installer:
        pytest.skip(f"no MariaDB: set {MARIADB_VARIABLE}, or install Debian's mariadb-server")
    data, port = folder / "data", free_port()
    user = ["--user=root"] if os.geteuid() == 0 else []
    common = ["--no-defaults", *user, f"--datadir={data}"]
    with (folder / "install.log").open("w") as log:
        subprocess.run(
            [installer, *common, "--auth-root-authentication-method=normal", "--skip-test-db"],
            stdout=log, stderr=subprocess.STDOUT, check=True,
        )  # fmt: skip
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(
            [server, *common, f"--socket={folder / 's.sock'}", f"--port={port}", "--bind-address=127.0.0.1",
             f"--pid-file={folder / 'pid'}", "--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=512M"],
            stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        found = MariaDB(f"mysql://root@127.0.0.1:{port}")
        _wait(found, process, folder / "server.log")
        yield found
    finally:
        process.terminate()
        process.wait(timeout=60)


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def _wait(server: MariaDB, process: subprocess.Popen, log: Path) -> None:
    give_up = time.monotonic() + _UP_SECONDS
    while True:
        try:
            server.connect().close()
        except pymysql.MySQLError:
            if process.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError(f"the private MariaDB did not come up:\n{log.read_text()[-2000:]}") from None
            time.sleep(0.2)
        else:
            return
