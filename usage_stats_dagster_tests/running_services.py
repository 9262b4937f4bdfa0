"""`make services`: a MariaDB, an S3 server and an OpenSearch that run until Ctrl-C, for tests and for trying things out.

What belongs here: starting all three and saying how to use them. What does not: how each is started.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from usage_stats_dagster_tests.opensearch_server import URL_VARIABLE, opensearch_url
from usage_stats_dagster_tests.s3_server import S3_VARIABLE, s3_server
from usage_stats_dagster_tests.services import MARIADB_VARIABLE, mariadb_server


def main() -> None:
    """Starts what this machine has the programs for; data go away with it."""
    with ExitStack() as stack, suppress(KeyboardInterrupt):
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="usage-stats-services-")))
        lines = []
        for name, variable, opened in (
            ("MariaDB", MARIADB_VARIABLE, lambda: _address(folder / "mariadb", mariadb_server)),
            ("S3", S3_VARIABLE, lambda: _address(folder / "s3", s3_server)),
            ("OpenSearch", URL_VARIABLE, opensearch_url),
        ):
            try:
                lines.append(f"export {variable}={stack.enter_context(opened())}")
                print(f"{name} is up", flush=True)
            except pytest.skip.Exception as e:
                print(f"{name} is left out: {e.msg}", flush=True)
        print("\nIn another shell, for `make test` and friends:\n" + "\n".join(lines), flush=True)
        print("\nCtrl-C stops them, and their data are gone.", flush=True)
        while True:
            time.sleep(3600)


@contextmanager
def _address(folder: Path, started: Callable[[Path], Iterator]) -> Iterator[str]:
    folder.mkdir()
    with contextmanager(started)(folder) as server:
        if hasattr(server, "endpoint"):
            yield server.endpoint.replace("://", f"://{server.key}:{server.secret}@")
        else:
            yield server.url


if __name__ == "__main__":
    main()
