"""The oracle's property tests for as long as asked, with fresh seeds: `make soak-worlds` (SECONDS=600).

What belongs here: seeds, progress, keeping what failed as a folder that somebody can read. What does not: worlds and
properties (`oracle/`). Reproduce a failure with `--seed`, or look at its folder: settings, logs and what was wrong.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import HypothesisException

from usage_stats_dagster_tests.oracle import case as cases
from usage_stats_dagster_tests.oracle import properties
from usage_stats_dagster_tests.oracle.worlds import worlds

EXAMPLES = 20
"""Worlds a seed."""
ENOUGH = 5
"""Failures after which it is for a person to look."""

Check = Callable[..., None]
CHECKS: tuple[tuple[Check, tuple[st.SearchStrategy, ...]], ...] = (
    (properties.every_table_is_the_oracles, (worlds(),)),
    (properties.any_delivery_comes_to_the_same, (worlds(), st.data())),
    (properties.any_cut_comes_to_the_same, (worlds(),)),
)


class Tally:
    """How many cases were tried, and which seeds found something."""

    def __init__(self) -> None:
        self.tried = 0
        self.failed: list[int] = []


def main() -> int:
    """Runs until the time is over; 1 if a case failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, help="only this seed, once")
    parser.add_argument("--folder", type=Path, default=Path("soak-failures"), help="where failures are kept")
    given_ = parser.parse_args()
    for name in [n for n in os.environ if n.startswith("USAGE_STATS_")]:
        del os.environ[name]
    tally, start = Tally(), time.monotonic()
    while given_.seed is not None or time.monotonic() - start < given_.seconds:
        number = given_.seed if given_.seed is not None else secrets.randbelow(2**32)
        for check, strategies in CHECKS:
            if not _holds(check, strategies, number, given_.folder, tally):
                tally.failed.append(number)
        spent = time.monotonic() - start
        print(f"{spent:6.0f} s  seed {number:>10}  {tally.tried} cases, {len(tally.failed)} failures", flush=True)
        if given_.seed is not None or len(tally.failed) >= ENOUGH:
            break
    print(f"{tally.tried} cases in {time.monotonic() - start:.0f} s; failing seeds: {tally.failed or 'none'}")
    return 1 if tally.failed else 0


def _holds(check: Check, strategies: tuple[st.SearchStrategy, ...], number: int, folder: Path, tally: Tally) -> bool:
    keep = folder / f"{check.__name__}-{number}"

    @seed(number)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.tuples(*strategies))
    def run(drawn: tuple[object, ...]) -> None:
        tally.tried += 1
        with _kept(keep):
            check(*drawn)

    try:
        run()
    except HypothesisException:
        raise
    except Exception as e:  # whatever the pipeline raises is a finding
        print(f"seed {number}, {check.__name__}: {type(e).__name__}; kept in {keep}\n{str(e)[:2000]}", flush=True)
        return False
    return True


@contextmanager
def _kept(keep: Path) -> Iterator[None]:
    """A failing case's folder stays: hypothesis tries its smallest example last, which then is the one that is kept."""

    def leave(it: cases.Case, error: BaseException) -> None:
        shutil.rmtree(keep, ignore_errors=True)
        keep.mkdir(parents=True)
        shutil.copytree(it.platform.folder / "logs", keep / "logs", dirs_exist_ok=True)
        (keep / "case.txt").write_text(f"{type(error).__name__}: {error}\n\n{it.told()}\n")

    cases.on_failure.append(leave)
    try:
        yield
    finally:
        cases.on_failure.clear()


if __name__ == "__main__":
    sys.exit(main())
