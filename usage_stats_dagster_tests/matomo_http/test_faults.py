"""A thousand batches while the server fails at random, and server and sender are killed: each hit is stored once."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from usage_stats_dagster.matomo.positions import Positions
from usage_stats_dagster.pipeline.imports import import_logs
from usage_stats_dagster_tests.matomo_http.platforms import DROPPED, lines, paths
from usage_stats_dagster_tests.matomo_http.store import Store
from usage_stats_dagster_tests.platforms import DAY, HOST, Platform
from usage_stats_dagster_tests.services import MariaDB

SITES = (1, 2, 3, 4)
HITS, UNWANTED, BATCH = 2_480, 60, 10
"""A site: hits, those of them that Matomo drops, hits a batch: 1,016 batches in all (each log's end makes a short one)."""

SEED = 20250301
SHARE_OF_FAULTS = 0.12
KILLS = 12
LONGEST = 240

CONFIG = """
[storage]
root = "{folder}/lake"
[ledger]
url = "sqlite:///{folder}/ledger.db"
[matomo]
url = "http://127.0.0.1:{port}"
send = true
send_batch = {batch}
request_seconds = 1.2
timeout_seconds = 0.4
patience_seconds = 60
{database}
"""
TABLES = ("log_visit", "log_link_visit_action", "log_action")


@pytest.fixture(params=["sqlite", pytest.param("mariadb", marks=pytest.mark.services)])
def places(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """Where Matomo's tables are: the store's URL, and the line of our settings that names the database.

    SQLite: none, so that the sender asks the Live API. MariaDB: with the tables of a real Matomo.
    """
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'matomo.db'}", ""
    server: MariaDB = request.getfixturevalue("mariadb")
    server.load("matomo")
    name = "matomo_faults"
    copies = (f"CREATE TABLE matomo_{t} LIKE matomo.matomo_{t}" for t in TABLES)
    server.execute(name, *(f"DROP TABLE IF EXISTS matomo_{t}" for t in TABLES), *copies)
    url = server.database(name)
    return url.replace("mysql://", "mysql+pymysql://"), f'database_url = "{url}"'


def start(*arguments: str, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", *arguments], env={**os.environ, **environment})


def kill(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.slow
def test_a_thousand_batches_through_random_faults_and_kills(tmp_path: Path, places: tuple[str, str]) -> None:
    store_url, database = places
    store = Store(store_url)
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    platform = Platform.make(
        tmp_path,
        sites=[{"id": s, "platform": "dspace", "url": f"https://{HOST}"} for s in SITES],
    )
    for site in SITES:
        wanted = lines(HITS, site=site)
        unwanted = lines(UNWANTED, start=50_000, site=site, agent=DROPPED)
        dice = random.Random(site)
        platform.log("a.log", sorted(wanted + unwanted, key=lambda _: dice.random()), site=site)
    import_logs(platform.ws)
    sites = "".join(f'[[sites]]\nid = {s}\nplatform = "dspace"\nurl = "https://{HOST}"\n' for s in SITES)
    config = tmp_path / "usage_stats.toml"
    config.write_text(CONFIG.format(folder=tmp_path, port=port, batch=BATCH, database=database) + sites)

    dice = random.Random(SEED)
    package = "usage_stats_dagster_tests.matomo_http"

    def server() -> subprocess.Popen[bytes]:
        seed = str(dice.randrange(1_000_000))
        return start(f"{package}.server", str(port), store_url, seed, str(SHARE_OF_FAULTS))

    def sender() -> subprocess.Popen[bytes]:
        return start(f"{package}.send_process", ",".join(map(str, SITES)), USAGE_STATS_CONFIG=str(config))

    running = {"server": server(), "sender": sender()}
    begun, kills = time.monotonic(), {"server": 0, "sender": 0}
    try:
        while running["sender"].poll() != 0:
            assert time.monotonic() - begun < LONGEST, "it does not come to an end"
            if running["sender"].poll() is not None:
                running["sender"] = sender()
            time.sleep(dice.uniform(0.3, 4.0))
            which = min(kills, key=lambda name: kills[name])
            if sum(kills.values()) < KILLS and running["sender"].poll() is None:
                kill(running[which])
                kills[which] += 1
                running[which] = {"server": server, "sender": sender}[which]()
    finally:
        for process in running.values():
            kill(process)
    days = {s: Positions(platform.ws.ledger).day(s, DAY) for s in SITES}
    for site in SITES:
        found = {url.removeprefix(HOST): n for url, n in store.urls(site)}
        assert found == dict(paths(HITS, site=site))
        assert days[site]["sent"] == HITS + UNWANTED
        assert (days[site]["stored"], days[site]["twice"]) == (HITS, 0)
    batches = sum(-(-(HITS + UNWANTED) // BATCH) for _ in SITES)
    print(f"{batches} batches, killed {kills}, {time.monotonic() - begun:.0f} s")
