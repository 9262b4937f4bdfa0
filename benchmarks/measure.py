"""Runs a command to its end and says what it cost: wall and CPU seconds, peak memory.

What belongs here: the stopwatch, the table, how our command line is called. What does not: what is compared (each benchmark's
own module). Kept light on purpose: a child's peak memory is never reported below what its parent held when it forked.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {"rg": "ripgrep", "goaccess": "goaccess"}


class MissingToolError(RuntimeError):
    """A tool to compare with is not installed; the message names the Debian package."""


class FailedRunError(RuntimeError):
    """A measured command failed; the message has its last lines."""


@dataclass(frozen=True)
class Cost:
    """What a command cost: seconds of wall and of CPU, peak resident bytes of its largest process, what it printed."""

    wall: float
    cpu: float
    rss: int
    out: str = ""
    stages: dict[str, float] = field(default_factory=dict)


def tool(name: str) -> str:
    """Where the tool is; raises MissingToolError that says how to get it."""
    found = shutil.which(name)
    if found is None:
        msg = f"{name} is not installed: on Debian, apt-get install {PACKAGES[name]}"
        raise MissingToolError(msg)
    return found


def measure(
    command: Sequence[str], *, cwd: Path | None = None, env: dict[str, str] | None = None, ok: Sequence[int] = (0,)
) -> Cost:
    """Runs the command once. `os.wait4` gives the CPU and peak memory of this child and of those that it waited for."""
    with tempfile.TemporaryFile() as out:
        started = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        text = out.read().decode(errors="replace")
    if process.returncode not in ok:
        msg = f"{' '.join(command)} ended with {process.returncode}:\n{text[-3000:]}"
        raise FailedRunError(msg)
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, text)


def best(command: Sequence[str], *, repeat: int, **options) -> Cost:
    """The run of least wall time out of `repeat`: on a shared machine the least is nearest to the truth."""
    return min((measure(command, **options) for _ in range(repeat)), key=lambda c: c.wall)


@contextmanager
def workspace(settings: str, keep: Path | None = None) -> Iterator[Path]:
    """A working folder for our command line with these settings (TOML); removed at the end unless `keep` names it."""
    folder = keep or Path(tempfile.mkdtemp(prefix="usage-stats-bench-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        (folder / "usage_stats.toml").write_text(settings, encoding="utf-8")
        yield folder
    finally:
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)


def environment() -> dict[str, str]:
    """The environment of measured Python processes: no settings from outside, and compiled modules kept.

    Where PYTHONDONTWRITEBYTECODE is set, as in many containers, each start would compile two thousand modules: 5 s of CPU.
    """
    drop = ("USAGE_STATS_", "DAGSTER_", "PYTHONDONTWRITEBYTECODE")
    env = {k: v for k, v in os.environ.items() if not k.startswith(drop)}
    return env | {"PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": str(ROOT / "benchmarks" / "data" / "bytecode")}


def warm_code(settings: str) -> None:
    """One run over a short log, so that the measured ones find their modules compiled and in the page cache."""
    logs = generate(1_000) / "logs"
    with workspace(settings) as folder:
        usage_stats(folder, "run", "--logs", str(logs))


def usage_stats(folder: Path, *arguments: str) -> Cost:
    """`usage-stats …` in the working folder, as a user runs it; stages from the timings file when the run wrote one."""
    timings = folder / "timings.json"
    timings.unlink(missing_ok=True)
    env = environment() | {"USAGE_STATS_TIMINGS": str(timings)}
    command = [sys.executable, "-c", "from usage_stats_dagster.cli.start import main; main()", *arguments]
    cost = measure(command, cwd=folder, env=env)
    if not timings.is_file():
        return cost
    stages = {str(k): float(v) for k, v in json.loads(timings.read_text()).items()}
    return Cost(cost.wall, cost.cpu, cost.rss, cost.out, stages)


def check_lines(folder: Path, expected: int) -> None:
    """Raises FailedRunError when the account of the working folder does not hold that many lines: a run that did nothing is fast."""
    account = json.loads(usage_stats(folder, "account", "--format", "json").out.splitlines()[-1])
    read = sum(row["count"] for row in account if (row["stage"], row["what"]) == ("lines", "read"))
    if read != expected:
        msg = f"the run read {read:,} lines and not {expected:,}"
        raise FailedRunError(msg)


def generate(lines: int, days: int = 1, *, packed: bool = False, seed: int = 1) -> Path:
    """The benchmark's log, made in a process of its own; returns the folder that holds `logs/1/`."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.generate",
        "--lines",
        str(lines),
        "--days",
        str(days),
        "--seed",
        str(seed),
    ]
    cost = measure([*command, *(["--gzip"] if packed else [])], cwd=ROOT)
    return Path(cost.out.splitlines()[0])


def warm(folder: Path) -> None:
    """Reads every file once, so that all programs find them in the page cache."""
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            with file.open("rb", buffering=0) as f:
                while f.read(1 << 24):
                    pass


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, its first column to the left, the others to the right."""
    widths = [max(len(r[i]) for r in (head, *rows)) for i in range(len(head))]
    cells = [
        [c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(r, widths, strict=True))]
        for r in (head, *rows)
    ]
    rule = ["-" * w if i == 0 else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    return "\n".join("| " + " | ".join(r) + " |" for r in (cells[0], rule, *cells[1:]))


def megabytes(size: float) -> str:
    """Bytes as whole megabytes."""
    return f"{size / 1e6:,.0f} MB"


def machine() -> str:
    """What the figures were taken on: processors, and the load at the start, which spoils wall times."""
    return f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}"
