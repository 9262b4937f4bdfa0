"""The command line and Dagster with a lake in a bucket: run, check, look; compute logs beside it by dagster-aws."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from usage_stats_dagster_tests.lake_s3.lakes import Bucket
from usage_stats_dagster_tests.pipeline.test_pure import DAYS, data, world

pytestmark = pytest.mark.services

DAGSTER = """
telemetry: {{enabled: false}}
compute_logs:
  module: dagster_aws.s3.compute_log_manager
  class: S3ComputeLogManager
  config: {{bucket: "{bucket}", prefix: compute-logs, endpoint_url: "{endpoint}", local_dir: "{folder}/compute"}}
"""
USES_S3 = """
import dagster as dg
from usage_stats_dagster.definitions import defs
client = defs.resources["s3"].get_client()
print(*[o["Key"] for o in client.list_objects_v2(Bucket="{bucket}", Prefix="lake/documents/")["Contents"]])
"""


@pytest.fixture
def folder(bucket: Bucket, tmp_path: Path) -> Path:
    """A working folder with a log, and DAGSTER_HOME in it."""
    log = tmp_path / "logs" / "1" / f"access-{DAYS[0]}.log"
    log.parent.mkdir(parents=True)
    log.write_bytes(data(world()[DAYS[0]]))
    (tmp_path / "usage_stats.toml").write_text(
        f'[storage]\nroot = "s3://{bucket.name}/lake"\nendpoint = "{bucket.server.endpoint}"\n'
        '[platform]\ngrace_seconds = 0\n[[sites]]\nid = 1\nplatform = "dspace"\nurl = "https://repo.example.org"\n'
    )
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text(
        DAGSTER.format(bucket=bucket.name, endpoint=bucket.server.endpoint, folder=tmp_path)
    )
    return tmp_path


def python(folder: Path, code: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "DAGSTER_HOME": str(folder / "home"), "COLUMNS": "200", "AWS_DEFAULT_REGION": "us-east-1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def usage_stats(folder: Path, *arguments: str) -> str:
    return python(folder, "from usage_stats_dagster.cli.start import main; main()", *arguments)


def test_the_graph_and_every_command_over_it(bucket: Bucket, folder: Path) -> None:
    assert "1 of 1 site-days done" in usage_stats(folder, "run")
    for command in ("account", "rejects", "unmapped"):
        assert json.loads(usage_stats(folder, command, "--format", "json").splitlines()[-1]) is not None
    findings = json.loads(usage_stats(folder, "doctor", "--format", "json").splitlines()[-1])
    assert {f["state"] for f in findings} == {"ok"}
    assert f"s3://{bucket.name}/lake" in {f["finding"] for f in findings if f["what"] == "lake"}
    logs = [
        k for k in bucket.server.objects(bucket.name) if k.startswith("compute-logs/") and k.endswith((".out", ".err"))
    ]
    assert logs
    assert "part-0.parquet" in python(folder, USES_S3.format(bucket=bucket.name))


def test_dagster_aws_and_boto3_are_imported_only_where_the_lake_is_a_bucket(tmp_path: Path) -> None:
    code = """
import sys
import usage_stats_dagster.definitions
from usage_stats_dagster.pipeline.workspace import Workspace
from usage_stats_dagster.settings import current_settings
Workspace(current_settings()).lake
print(*[m for m in ("dagster_aws", "boto3") if m in sys.modules])
"""
    (tmp_path / "home").mkdir()
    assert python(tmp_path, code).split() == []
