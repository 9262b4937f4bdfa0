"""`usage-stats serve` as a process, and what any server of the application does: CORS, health, description."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import pytest
import urllib3

from usage_stats_dagster.api.app import make_app
from usage_stats_dagster.index.embedded import EmbeddedIndex
from usage_stats_dagster.index.open import open_index
from usage_stats_dagster.settings import SettingsError, load_settings
from usage_stats_dagster_tests.api.server import Client, serving
from usage_stats_dagster_tests.index.documents import document, frame
from usage_stats_dagster_tests.services import free_port

COMMAND = [sys.executable, "-c", "from usage_stats_dagster.cli.start import main; main()", "serve"]
DAY = date(2025, 6, 1)


def fill(path: Path) -> None:
    with EmbeddedIndex(path) as index:
        index.replace(1, DAY, DAY, frame(document(1, DAY, "oai:host:1", {"br": 3})))


def test_the_command_serves_what_the_settings_name(tmp_path):
    fill(tmp_path / "my.db")
    (tmp_path / "usage_stats.toml").write_text('[index]\npath = "my.db"\n[api]\nbase_path = ""\n[[sites]]\nid = 1\n')
    port = free_port()
    environment = {**os.environ, "USAGE_STATS_API__PORT": str(port)}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(COMMAND, cwd=tmp_path, env=environment, stdout=log, stderr=log)
    try:
        client, give_up = Client(f"http://127.0.0.1:{port}"), time.monotonic() + 60
        while True:
            try:
                assert client.ok("/health") == {"status": "ok"}
                break
            except urllib3.exceptions.HTTPError:
                if process.poll() is not None or time.monotonic() > give_up:
                    pytest.fail((tmp_path / "log").read_text())
                time.sleep(0.1)
        found = client.ok("/report/repositoryWidget", source_id="siteid::1", start_date="2025-06", end_date="2025-06")
        assert found["views"] == {"value": 3.0}
    finally:
        process.terminate()
        assert process.wait(timeout=30) in (0, -15)


def test_a_wrong_setting_is_said_and_nothing_is_served(tmp_path):
    environment = {**os.environ, "USAGE_STATS_API__BUCKETS": "hours"}
    done = subprocess.run(
        [*COMMAND, "--json"], cwd=tmp_path, env=environment, capture_output=True, check=False, timeout=60
    )
    assert done.returncode == 2
    error = json.loads(done.stderr)["error"]
    assert (error["kind"], "api.buckets" in error["message"]) == ("usage", True)


def test_a_collections_file_that_is_not_there_is_named(tmp_path):
    settings = load_settings(collections=[{"id": "c", "identifiers_file": str(tmp_path / "none.txt")}])
    with pytest.raises(SettingsError, match=r"collections: 'c': identifiers_file .*none.txt can't be read"):
        make_app(settings, lambda: open_index(settings))


def test_a_server_started_before_the_index_exists_answers_once_it_does(tmp_path):
    settings = load_settings(index={"path": str(tmp_path / "index.db")}, sites=[{"id": 1}])
    asked = {"source_id": "1", "start_date": "2025-01-01", "end_date": "2025-12-31"}
    with serving(make_app(settings, lambda: open_index(settings))) as client:
        assert client.get("/health")[0] == 503
        status, content = client.get("/report/repositoryWidget", **asked)
        assert (status, "there is no index at" in content["detail"]) == (404, True)
        assert client.get("/v2/summary/stats/search")[0] == 503
        fill(tmp_path / "index.db")
        assert client.ok("/health") == {"status": "ok"}
        assert client.ok("/report/repositoryWidget", **asked)["views"] == {"value": 3.0}


def test_pages_of_the_origins_named_may_ask(tmp_path):
    origin = "https://repository.example.org"
    preflight = {"Origin": origin, "Access_Control_Request_Method": "GET"}
    for origins, allowed in ((["*"], "*"), ([origin], origin), (["https://other.example.org"], None)):
        settings = load_settings(index={"path": str(tmp_path / "index.db")}, api={"cors_origins": origins})
        with serving(make_app(settings, lambda settings=settings: open_index(settings, create=True))) as client:
            for found in (
                client.headers("GET", "/report/repositoryWidget?source_id=1", Origin=origin),  # a 404 too
                client.headers("OPTIONS", "/report/itemWidget", **preflight),
            ):
                assert found.get("access-control-allow-origin") == allowed


def test_the_description_names_every_endpoint(client):
    paths = client.ok("/openapi.json")["paths"]
    base = "/api/usage_stats/v2/report"
    reports = {f"{base}/{w}{c}" for w in ("itemWidget", "repositoryWidget") for c in ("", "ByCountry")}
    assert set(paths) == reports | {"/v2/summary/stats/{kind}", "/health"}
