"""The command line as its users start it: a process of its own, in the folder of a world.

What belongs here: starting it. What does not: what it should answer.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

KEY = "a key for tests"
_LONGEST = 300


def environment() -> dict[str, str]:
    """This process's environment without settings of whoever runs the tests, with one key for visitors."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("USAGE_STATS_", "DAGSTER_"))}
    here = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, (here, kept.get("PYTHONPATH"))))
    return {**kept, "PYTHONPATH": path, "USAGE_STATS_SECRET": KEY}


def start(folder: Path, *arguments: str, **more: str) -> subprocess.Popen[str]:
    """The command, begun."""
    return subprocess.Popen(
        [sys.executable, "-c", "from usage_stats_dagster.cli.start import main; main()", *arguments],
        cwd=folder,
        env=environment() | more,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def usage_stats(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """The command, done."""
    return ended(start(folder, *arguments, **more))


def ended(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    """The command, waited for."""
    out, err = process.communicate(timeout=_LONGEST)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)
