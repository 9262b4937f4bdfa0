"""`make services`: a MariaDB, an S3 server and an OpenSearch that run until Ctrl-C, for tests and for trying things out.

What belongs here: starting all three and saying how to use them. What does not: how each is started.
"""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from usage_stats_dagster_tests.opensearch_server import URL_VARIABLE, opensearch_url
from usage_stats_dagster_tests.s3_server import S3_VARIABLE, S3Server, s3_server
from usage_stats_dagster_tests.services import MARIADB_VARIABLE, MariaDB, mariadb_server


def main() -> None:
    """Starts what this machine has the programs for; data go away with it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that the servers end with this process
    with ExitStack() as stack, suppress(KeyboardInterrupt):
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="usage-stats-services-")))

        def started(name: str, opened: Callable[[], Any]) -> Any:
            try:
                print(f"{name} …", end=" ", flush=True)
                server = stack.enter_context(opened())
                print("is up", flush=True)
            except pytest.skip.Exception as e:
                print(f"is left out: {e.msg}", flush=True)
                return None
            return server

        _say(
            started("MariaDB", lambda: _in(folder / "mariadb", mariadb_server)),
            started("S3", lambda: _in(folder / "s3", s3_server)),
            started("OpenSearch", lambda: opensearch_url(quick=False)),
        )
        signal.pause()


def _say(mariadb: MariaDB | None, s3: S3Server | None, opensearch: str | None) -> None:
    tests, tries = {}, {}
    if mariadb is not None:
        tests[MARIADB_VARIABLE] = mariadb.url
    if s3 is not None:
        tests[S3_VARIABLE] = s3.endpoint.replace("://", f"://{s3.key}:{s3.secret}@")
        tries |= {"USAGE_STATS_STORAGE__ROOT": f"s3://{s3.bucket()}/lake", "USAGE_STATS_STORAGE__ENDPOINT": s3.endpoint}
        tries |= {k: v for k, v in s3.environment.items() if "METADATA" not in k}
    if opensearch is not None:
        tests[URL_VARIABLE] = opensearch
        tries |= {"USAGE_STATS_INDEX__KIND": "opensearch", "USAGE_STATS_INDEX__URL": opensearch}
        tries |= {"USAGE_STATS_INDEX__REPLICAS": "0"}
    for purpose, variables in (
        ("for `make test` and friends, to use these servers", tests),
        ("in a new folder with logs/, for `usage-stats run`: the lake in a bucket, the index in OpenSearch", tries),
    ):
        print(f"\nIn another shell, {purpose}:\n" + "\n".join(f"export {k}={v}" for k, v in variables.items()))
    print("\nCtrl-C stops them, and their data are gone.", flush=True)


@contextmanager
def _in(folder: Path, started: Callable[[Path], Iterator[Any]]) -> Iterator[Any]:
    folder.mkdir()
    with contextmanager(started)(folder) as server:
        yield server


if __name__ == "__main__":
    main()
