"""What the deployment files say holds together: commands, variables, ports, versions, modules."""

from __future__ import annotations

import importlib
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import dagster
import pytest
import yaml
from pydantic import BaseModel

from usage_stats_dagster import settings
from usage_stats_dagster.definitions import defs
from usage_stats_dagster.matomo.database import PASSWORD_VARIABLE
from usage_stats_dagster.matomo.http import TOKEN_VARIABLE
from usage_stats_dagster.pipeline.workspace import SECRET_VARIABLE
from usage_stats_dagster.settings import load_settings
from usage_stats_dagster_tests.deploy.files import VARIABLE, compose, dotenv, parsed, text

OURS = ("code", "webserver", "daemon", "api", "bucket")
SECRETS = {settings.CONFIG_VARIABLE, SECRET_VARIABLE, PASSWORD_VARIABLE, TOKEN_VARIABLE}
IN_WORKSPACE = {"USAGE_STATS_CODE_HOST"}


def is_setting(variable: str) -> bool:
    """Whether the settings read it."""
    model: Any = settings.Settings
    for part in variable.removeprefix("USAGE_STATS_").lower().split("__"):
        field = model.model_fields.get(part) if isinstance(model, type) and issubclass(model, BaseModel) else None
        if field is None:
            return False
        model = field.annotation
    return True


def environments() -> dict[str, dict[str, str]]:
    found = {f"compose.yaml: {n}": s.get("environment", {}) for n, s in compose()["services"].items()}
    values = parsed("deploy/values.yaml")
    (deployment,) = values["dagster-user-deployments"]["deployments"]
    return found | {"values.yaml": {e["name"]: e["value"] for e in deployment["env"]}}


def test_every_variable_of_ours_is_read_by_something():
    named = {v for e in environments().values() for v in e if v.startswith("USAGE_STATS_")}
    assert {v for v in named if not is_setting(v)} <= SECRETS | IN_WORKSPACE
    assert {e["env"] for e in [parsed("deploy/workspace.yaml")["load_from"][0]["grpc_server"]["host"]]} >= IN_WORKSPACE


@pytest.mark.parametrize("where", ["compose.yaml: code", "compose.yaml: api", "values.yaml"])
def test_the_settings_take_the_values(where, monkeypatch, tmp_path):
    file = tmp_path / "usage_stats.toml"
    file.write_text(text("deploy/usage_stats.toml"))
    for name, value in environments()[where].items():
        monkeypatch.setenv(name, str(file) if name == settings.CONFIG_VARIABLE else value or "")
    loaded = load_settings()
    assert loaded.index.kind == "opensearch"
    assert (loaded.storage.root, loaded.storage.region) == ("s3://usage-stats/lake", "us-east-1")
    assert loaded.ledger.url.startswith("postgresql+psycopg://")
    assert loaded.sites


def test_the_settings_of_the_cluster_load(monkeypatch, tmp_path):
    (config,) = (m for m in parsed("deploy/values.yaml")["extraManifests"] if m["kind"] == "ConfigMap")
    file = tmp_path / "usage_stats.toml"
    file.write_text(config["data"]["usage_stats.toml"])
    monkeypatch.setenv(settings.CONFIG_VARIABLE, str(file))
    assert load_settings().sites


def test_env_example_names_what_compose_asks_for():
    asked = {m[1]: m[2] for m in VARIABLE.finditer(text("compose.yaml"))}
    given = dotenv()
    assert asked.keys() == given.keys()
    assert {n for n, kind in asked.items() if kind == "?"} <= {n for n, value in given.items() if not value}
    for name, kind, default in VARIABLE.findall(text("compose.yaml")):
        assert kind != "-" or default == given[name]


def test_dagsters_variables_reach_every_service_that_opens_its_instance():
    def named(node: Any) -> set[str]:
        if isinstance(node, dict):
            return {node["env"]} if set(node) == {"env"} else set().union(*map(named, node.values()), set())
        return set()

    wanted = named(parsed("deploy/dagster.yaml"))
    assert wanted
    for service in ("code", "webserver", "daemon"):
        assert wanted <= compose()["services"][service]["environment"].keys()
    for service in ("webserver", "daemon"):
        assert (
            named(parsed("deploy/workspace.yaml")["load_from"][0]["grpc_server"])
            <= compose()["services"][service]["environment"].keys()
        )


def test_commands_and_their_options_exist():
    services = compose()["services"]
    commands = [services[s]["command"] for s in OURS if services[s]["command"][0] != "python"]
    commands += [t[1:] for s in OURS if (t := services[s].get("healthcheck", {}).get("test")) and t[1] != "python"]
    values = parsed("deploy/values.yaml")
    (deployment,) = values["dagster-user-deployments"]["deployments"]
    commands.append(["dagster", "api", "grpc", *deployment["dagsterApiGrpcArgs"]])
    options: dict[tuple[str, ...], set[str]] = {}
    for command in commands:
        words = [w for w in command[1:] if not w.startswith("-")]
        subcommands = {"dagster": 2, "dagster-webserver": 0}.get(command[0], 1)
        program = (str(Path(sys.executable).parent / command[0]), *words[:subcommands])
        options.setdefault(program, set()).update(w for w in command if w.startswith("--"))
    for program, named in options.items():
        described = subprocess.run([*program, "--help"], capture_output=True, text=True, check=True, timeout=120).stdout
        assert {o for o in named if o not in described} == set(), f"{' '.join(program)} has no such option"


def test_ports_are_the_same_everywhere():
    services = compose()["services"]
    workspace = parsed("deploy/workspace.yaml")["load_from"][0]["grpc_server"]
    code = services["code"]
    assert (
        str(workspace["port"])
        == code["command"][code["command"].index("--port") + 1]
        == code["healthcheck"]["test"][-1]
    )
    for service, port in (("webserver", "3000"), ("api", "8099")):
        found = services[service]
        assert found["command"][found["command"].index("--port") + 1] == port
        assert found["ports"][0].endswith(f":{port}")
        assert f"127.0.0.1:{port}/" in found["healthcheck"]["test"][-1]
        assert port in text("Dockerfile").partition("EXPOSE")[2].split("\n")[0]


def test_one_location_one_pool_one_version():
    (configured,) = parsed("workspace.yaml")["load_from"]
    name = configured["python_module"]["location_name"]
    assert parsed("deploy/workspace.yaml")["load_from"][0]["grpc_server"]["location_name"] == name
    assert name in compose()["services"]["code"]["command"]
    (deployment,) = parsed("deploy/values.yaml")["dagster-user-deployments"]["deployments"]
    assert deployment["dagsterApiGrpcArgs"][-1] == name
    pools = {
        pool for node in defs.get_repository_def().get_all_jobs()[0].nodes for pool in [node.definition.pool] if pool
    }
    for path in ("deploy/dagster.yaml", "deploy/values.yaml"):
        assert all(f"pool {pool}" in text(path) for pool in pools)
    assert f"--version {dagster.__version__} " in text("deploy/values.yaml")


def test_modules_that_dagster_is_to_load_are_there():
    def classes(node: Any) -> list[tuple[str, str]]:
        if not isinstance(node, dict):
            return []
        own = [(node["module"], node["class"])] if {"module", "class"} <= node.keys() else []
        return own + [c for child in node.values() for c in classes(child)]

    written = text("deploy/dagster.yaml")
    on_s3 = "\n".join(
        line.removeprefix("# ") for line in written.splitlines() if line.startswith(("# compute_logs", "#   "))
    )
    found = classes(yaml.safe_load(written)) + classes(yaml.safe_load(on_s3))
    assert len(found) == 4
    for module, name in found:
        assert hasattr(importlib.import_module(module), name)


def test_the_image_copies_what_is_there_and_what_the_builder_is_sent():
    sent = {line.removeprefix("!") for line in text(".dockerignore").splitlines() if line.startswith("!")}
    copied = {
        w
        for line in text("Dockerfile").splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for w in line.split()[1:-1]
    }
    assert copied == sent
    root = Path(__file__).parents[2]
    assert all((root / path).exists() for path in copied)
    project = tomllib.loads(text("pyproject.toml"))["project"]
    assert {"postgres", "k8s"} <= project["optional-dependencies"].keys()
