"""A PostgreSQL of the tests' own: its folder, port and socket are nobody else's.

What belongs here: making, starting and stopping it. What does not: any test.
"""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

USER = "postgres"


def programs() -> Path | None:
    """The folder of initdb and pg_ctl: on the path, else the newest that Debian has."""
    found = shutil.which("initdb")
    if found:
        return Path(found).parent
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    return debian[-1].parent if debian else None


@contextmanager
def cluster(bin_folder: Path) -> Iterator[str]:
    """Starts a cluster and gives the URL of its database; stops and removes it in the end."""
    folder = Path(tempfile.mkdtemp(prefix="mirror-pg-"))
    as_root = os.geteuid() == 0
    if as_root:  # PostgreSQL refuses root
        folder.chmod(0o755)
        shutil.chown(folder, USER)

    def run(program: str, *arguments: str) -> None:
        command = [str(bin_folder / program), *arguments]
        command = ["runuser", "-u", USER, "--", *command] if as_root else command
        log = folder.with_suffix(".log")
        with log.open("a") as out:  # a pipe would be held open by the server
            done = subprocess.run(command, stdout=out, stderr=out, cwd="/", timeout=120, check=False)
        if done.returncode:
            raise RuntimeError(f"{program} failed: {log.read_text()[-2000:]}")

    data = folder / "data"
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    try:
        run("initdb", "-D", str(data), "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        options = (
            f"-c port={port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c timezone=UTC "
            "-c synchronous_commit=off -c shared_buffers=128MB"
        )
        run("pg_ctl", "-D", str(data), "-w", "-o", options, "-l", str(folder / "server.log"), "start")
        try:
            yield f"postgresql://{USER}@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "-D", str(data), "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        folder.with_suffix(".log").unlink(missing_ok=True)
