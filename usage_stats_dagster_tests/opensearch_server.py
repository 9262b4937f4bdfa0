"""A real OpenSearch for tests: the one of the environment, or a private one that may be stopped, killed and started.

What belongs here: finding, unpacking, starting and stopping it. What does not: what is tested against it.

The engine is Maven's `integ-test-zip`: complete but for modules (no `_reindex`, no scripts, no security). `.ci/run` lays it
into `.services/opensearch/`; OpenSearch refuses to run as root, so root starts it as `nobody`, in a folder of its own.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from usage_stats_dagster.settings import IndexSection
from usage_stats_dagster_tests.services import free_port

URL_VARIABLE = "USAGE_STATS_TEST_OPENSEARCH"
"""URL of a server on which indices may be made: http://127.0.0.1:9200"""
ZIP_VARIABLE = "USAGE_STATS_TEST_OPENSEARCH_ZIP"
"""The distribution to start a private server from; by default the newest zip in `.services/opensearch/`."""
JDK_VARIABLE = "USAGE_STATS_TEST_JDK"
"""The oldest JDK to start it with: 21; 17 with JAVA_HOME at such a one for OpenSearch 2, which does not start on 24 and later."""
ZIPS = Path(__file__).parents[1] / ".services" / "opensearch"

_UP_SECONDS = 300
_DOWN_SECONDS = 20
_QUICK = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-AlwaysPreTouch")
"""Not compiled twice, no collector's threads, memory taken when needed."""
_JAVAS = ("/usr/lib/jvm", "/opt/java", "/Library/Java/JavaVirtualMachines")


@dataclass
class OpenSearchServer:
    """A private server on a port of its own; its data survive a stop and a kill."""

    program: Path
    java: Path
    folder: Path
    port: int = field(default_factory=free_port)
    heap: str = "1g"
    quick: bool = True
    """Up in half the time, on a busy machine in a tenth, and slower at work afterwards: not for benchmarks."""
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Starts it and waits until it answers."""
        config = self.folder / "config"
        if not config.exists():
            self._prepare(config)
        env = {k: v for k, v in os.environ.items() if not k.startswith("OPENSEARCH_")}
        env |= {"OPENSEARCH_JAVA_HOME": str(self.java), "OPENSEARCH_PATH_CONF": str(config), "HOME": str(self.folder)}
        env |= {"OPENSEARCH_TMPDIR": str(self.folder / "tmp")}
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.program / "bin" / "opensearch"], cwd=self.program, env=env, stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True, **_other_user(),
            )  # fmt: skip
        give_up = time.monotonic() + _UP_SECONDS
        while not answers(self.url, "/_cluster/health?wait_for_status=yellow&timeout=5s"):
            if self.process.poll() is not None or time.monotonic() > give_up:
                text = (self.folder / "server.log").read_text(errors="replace")
                raise RuntimeError(f"the private OpenSearch did not come up:\n{text[-3000:]}")
            time.sleep(0.1)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Ends it, by SIGKILL as a power cut would; one that takes its time to end is killed, as by whoever runs servers."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, number)
            try:
                self.process.wait(timeout=_DOWN_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait(timeout=60)
        self.process = None

    def _prepare(self, config: Path) -> None:
        shutil.copytree(self.program / "config", config)
        (config / "opensearch.yml").write_text(
            f"cluster.name: usage-stats-tests\nnode.name: one\nhttp.port: {self.port}\ntransport.port: {free_port()}\n"
            f"network.host: 127.0.0.1\ndiscovery.type: single-node\nbootstrap.memory_lock: false\n"
            f"path.data: {self.folder / 'data'}\npath.logs: {self.folder / 'logs'}\n"
            "cluster.routing.allocation.disk.threshold_enabled: false\n"
        )
        options = (config / "jvm.options").read_text()
        options = re.sub(r"-Xm([sx])\S+", rf"-Xm\g<1>{self.heap}", options)
        kept = [o for o in options.splitlines() if not re.search(r"gc\.log|HeapDump|ErrorFile", o)]
        if self.quick:
            kept = [o for o in kept if "G1" not in o] + list(_QUICK)
        (config / "jvm.options").write_text("\n".join(kept))
        for name in ("data", "logs", "tmp"):
            (self.folder / name).mkdir()
        if os.geteuid() == 0:
            for path in (self.folder, *self.folder.rglob("*")):
                shutil.chown(path, "nobody")


def answers(url: str, path: str = "/") -> bool:
    """Whether the server answers at all."""
    try:
        with urllib.request.urlopen(url + path, timeout=10) as r:
            return bool(json.loads(r.read()))
    except (urllib.error.URLError, OSError, ValueError):
        return False


@contextmanager
def private_server(**options: Any) -> Iterator[OpenSearchServer]:
    """A server of one's own that may be killed; skips where there is no distribution or no JDK for it.

    It ends with this process, also when that is terminated: it has a session of its own, which a terminal does not reach.
    """
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    program, java = _program(), _java()
    folder = Path(tempfile.mkdtemp(prefix="usage-stats-opensearch-"))  # pytest's own folders are closed to `nobody`
    folder.chmod(0o755)
    server = OpenSearchServer(program, java, folder, **options)
    try:
        server.start()
        yield server
    finally:
        server.stop(signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def opensearch_url(**options: Any) -> Iterator[str]:
    """The server of the environment, else a private one (OpenSearchServer's options)."""
    given = os.environ.get(URL_VARIABLE)
    if given:
        yield given.rstrip("/")
        return
    with private_server(**options) as server:
        yield server.url


def section(url: str, prefix: str | None = None, **options: Any) -> IndexSection:
    """Settings of an index on that server, by default under a prefix that nobody has."""
    return IndexSection(kind="opensearch", url=url, prefix=prefix or f"t{secrets.token_hex(5)}", replicas=0, **options)


def call(url: str, method: str, path: str, body: Any = None) -> Any:
    """A plain request, as any other program makes it: JSON in (text as it is), JSON out."""
    data = None if body is None else (body if isinstance(body, str) else json.dumps(body)).encode()
    request = urllib.request.Request(url + path, data, {"content-type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())


def removed(options: IndexSection) -> None:
    """Remove all that an index of these settings left on the server."""
    for name in call(str(options.url), "GET", f"/{options.prefix}.*"):
        call(str(options.url), "DELETE", f"/{name}")
    with suppress(urllib.error.HTTPError):  # nothing was ever written
        call(str(options.url), "DELETE", f"/_index_template/{options.prefix}.documents")


def _other_user() -> dict[str, object]:
    return {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}


def _program() -> Path:
    """The unpacked distribution; unpacked once a machine, where every user can read it."""
    named = os.environ.get(ZIP_VARIABLE)
    found = [Path(named)] if named else sorted(ZIPS.glob("*.zip"))
    if not found or not found[-1].is_file():
        pytest.skip(f"no OpenSearch: set {URL_VARIABLE} or {ZIP_VARIABLE}, or lay the zip into {ZIPS} (see .ci/run)")
    zipped = found[-1]
    home = Path(tempfile.gettempdir()) / f"usage-stats-{zipped.stem}-{zipped.stat().st_size}-{os.geteuid()}"
    if not home.exists():
        unpacked = Path(tempfile.mkdtemp(dir=home.parent, prefix=f"{home.name}-"))
        with zipfile.ZipFile(zipped) as archive:
            archive.extractall(unpacked)
        for path in unpacked.rglob("*"):
            path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
        unpacked.chmod(0o755)
        try:
            unpacked.rename(home)
        except OSError:  # another session was faster
            shutil.rmtree(unpacked)
    return next(p.parents[1] for p in home.glob("*/bin/opensearch"))


def _java() -> Path:
    """A JDK that runs it: 21 or later for OpenSearch 3, JAVA_HOME first."""
    homes = [Path(os.environ["JAVA_HOME"])] if os.environ.get("JAVA_HOME") else []
    homes += sorted((p for d in _JAVAS if Path(d).is_dir() for p in Path(d).iterdir()), reverse=True)
    for home in homes:
        release = home / "release"
        version = re.search(r'JAVA_VERSION="(\d+)', release.read_text()) if release.is_file() else None
        if version and int(version[1]) >= int(os.environ.get(JDK_VARIABLE, "21")):
            return home
    pytest.skip("no JDK 21 or later for OpenSearch: set JAVA_HOME")
