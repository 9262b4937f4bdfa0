"""compose.yaml's own commands against a real PostgreSQL: a run asked of the webserver, queued, started, and answered for.

The code location, webserver, daemon and read API start as compose.yaml says, with deploy/dagster.yaml and its health
checks; lake and index are local here, since this is about Dagster's side.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import urllib3

from usage_stats_dagster_tests.deploy.files import compose, text
from usage_stats_dagster_tests.mirror.cluster import cluster, programs
from usage_stats_dagster_tests.services import free_port

pytestmark = [pytest.mark.services, pytest.mark.slow]

DAY = "2025-03-01"
_UP_SECONDS = 240
_LINE = '10.2.3.{n} - - [01/Mar/2025:10:{n:02}:00 +0000] "GET /handle/1/{n} HTTP/1.1" 200 512 "-" "Mozilla/5.0 (X11; Linux) Firefox/120.0"\n'
_LAUNCH = """mutation ($p: ExecutionParams!) { launchPipelineExecution(executionParams: $p) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
_STATUS = "query ($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"


@pytest.fixture(scope="module")
def platform(tmp_path_factory) -> Iterator[Platform]:
    found = programs()
    if found is None:
        pytest.skip("no PostgreSQL: install Debian's postgresql")
    with cluster(found) as url:
        services = compose()
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE ROLE dagster SUPERUSER LOGIN")
            connection.execute("CREATE DATABASE dagster OWNER dagster")
            connection.execute(services["configs"]["ledger"]["content"])
        yield Platform(
            tmp_path_factory.mktemp("deployed"), services["services"], psycopg.conninfo.conninfo_to_dict(url)
        )


class Platform:
    """The services of compose.yaml on this machine: its addresses, ports and folders put in the place of containers'."""

    def __init__(self, folder: Path, services: dict[str, Any], postgres: dict[str, str]) -> None:
        self.folder, self.services = folder, services
        self.ports = {"3000": free_port(), "4000": free_port(), "8099": free_port()}
        home = folder / "home"
        (folder / "logs" / "1").mkdir(parents=True)
        (folder / "logs" / "1" / "access.log").write_text("".join(_LINE.format(n=n) for n in range(50)))
        home.mkdir()
        for name in ("dagster.yaml", "workspace.yaml"):
            (home / name).write_text(self._here(text(f"deploy/{name}")))
        (folder / "usage_stats.toml").write_text(text("deploy/usage_stats.toml"))
        self._changed = {
            "DAGSTER_HOME": str(home),
            "DAGSTER_PG_HOST": postgres["host"],
            "DAGSTER_PG_PORT": postgres["port"],
            "USAGE_STATS_CODE_HOST": "127.0.0.1",
            "USAGE_STATS_CONFIG": str(folder / "usage_stats.toml"),
            "USAGE_STATS_STORAGE__ROOT": "data/lake",
            "USAGE_STATS_INDEX__KIND": "embedded",
            "USAGE_STATS_LEDGER__URL": f"postgresql+psycopg://dagster@{postgres['host']}:{postgres['port']}/ledger",
        }
        self._dropped = ("USAGE_STATS_STORAGE__ENDPOINT", "USAGE_STATS_INDEX__URL")

    def _here(self, words: str) -> str:
        words = words.replace("/opt/dagster", str(self.folder / "home")).replace("/srv/usage-stats", str(self.folder))
        for port, free in self.ports.items():
            words = words.replace(port, str(free))
        return words

    def _command(self, words: list[str]) -> list[str]:
        bin_folder = Path(sys.executable).parent
        program = sys.executable if words[0] == "python" else str(bin_folder / words[0])
        return [program, *map(self._here, words[1:])]

    def environment(self, service: str) -> dict[str, str]:
        given = {k: v or "" for k, v in self.services[service]["environment"].items() if k not in self._dropped}
        changed = {k: v for k, v in self._changed.items() if k in given or k == "DAGSTER_HOME"}
        return {**os.environ, **given, **changed}

    @contextmanager
    def running(self, service: str) -> Iterator[None]:
        """The service by its command, up by its health check."""
        log = self.folder / f"{service}.log"
        about = self.services[service]
        with log.open("wb") as out:
            process = subprocess.Popen(
                self._command(about["command"]), cwd=self.folder, env=self.environment(service), stdout=out, stderr=out
            )
        try:
            give_up = time.monotonic() + _UP_SECONDS
            check = self._command(about["healthcheck"]["test"][1:])
            while subprocess.run(check, env=self.environment(service), capture_output=True, check=False).returncode:
                assert process.poll() is None, f"{service} ended:\n{log.read_text()[-3000:]}"
                assert time.monotonic() < give_up, f"{service} is not healthy:\n{log.read_text()[-3000:]}"
                time.sleep(1)
            yield
        finally:
            process.terminate()
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def ask(self, query: str, **variables: Any) -> Any:
        body = json.dumps({"query": query, "variables": variables})
        url = f"http://127.0.0.1:{self.ports['3000']}/graphql"
        answer = urllib3.request("POST", url, body=body, headers={"Content-Type": "application/json"}, timeout=60)
        content = json.loads(answer.data)
        assert "data" in content, content
        return content["data"]


def test_a_run_goes_through_the_queue_and_its_figures_are_served(platform):
    with ExitStack() as stack:
        for service in ("code", "webserver", "daemon"):
            stack.enter_context(platform.running(service))
        launched = platform.ask(
            _LAUNCH,
            p={
                "selector": {
                    "repositoryLocationName": "usage_stats_dagster",
                    "repositoryName": "__repository__",
                    "pipelineName": "daily_figures",
                },
                "executionMetadata": {"tags": [{"key": "dagster/partition", "value": DAY}]},
                "runConfigData": {},
            },
        )["launchPipelineExecution"]
        if launched["__typename"] != "LaunchRunSuccess":
            pytest.fail(str(launched))
        give_up = time.monotonic() + _UP_SECONDS
        status = "QUEUED"
        while status not in ("SUCCESS", "FAILURE", "CANCELED"):
            assert time.monotonic() < give_up, (
                f"the run is {status}:\n{(platform.folder / 'daemon.log').read_text()[-3000:]}"
            )
            time.sleep(1)
            status = platform.ask(_STATUS, id=launched["run"]["runId"])["runOrError"]["status"]
        assert status == "SUCCESS", (platform.folder / "code.log").read_text()[-3000:]
        stack.enter_context(platform.running("api"))
        url = f"http://127.0.0.1:{platform.ports['8099']}/report/repositoryWidget"
        asked = {"source_id": "siteid::1", "start_date": DAY, "end_date": DAY}
        found = json.loads(urllib3.request("GET", url, fields=asked, timeout=60).data)
        assert found["views"] == {"value": 50.0}
    assert list((platform.folder / "data" / "dagster" / "compute_logs").rglob("*"))
