"""The ledger as lines: out of one database and into another, every row of every type the same."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from usage_stats_dagster.ledger import dump
from usage_stats_dagster.ledger.ledger import Ledger
from usage_stats_dagster.matomo.positions import Batch, Positions
from usage_stats_dagster_tests.platforms import DAY, Platform, line


def everything(ledger: Ledger) -> dict[str, list[bytes]]:
    """Every row of the ledger."""
    with ledger.snapshot() as c:
        return {t: list(dump.dump(c, t)) for t in dump.table_names()}


def untimed(rows: dict[str, list[bytes]]) -> dict[str, list[bytes]]:
    """Without the moments of writing: MySQL's times have no parts of a second."""
    return {
        t: [re.sub(rb'"(imported|updated|checked)_at":"[^"]*"', b"", r) for r in parts] for t, parts in rows.items()
    }


def full(folder: Path) -> Ledger:
    """A ledger with rows in every table, of every type."""
    platform = Platform.make(folder)
    platform.log("a.log", [line("10:00:00"), "broken"])
    platform.run()
    positions = Positions(platform.ws.ledger)
    batch = Batch.of(1, 7, ['{"a":1}'], [datetime(2025, 3, 1, tzinfo=UTC)], [DAY], {f"{DAY}/x": 3})
    positions.begin(batch)
    positions.acknowledge(
        batch, [], Batch.of(1, 8, ['{"a":2}'], [datetime(2025, 3, 1, tzinfo=UTC)], [DAY], {f"{DAY}/x": 4})
    )
    return platform.ws.ledger


def through(old: Ledger, new: Ledger) -> None:
    """From one database to another and a third row on top."""
    rows = everything(old)
    assert all(rows[t] for t in ("log_file", "date_status", "matomo_site", "matomo_day")), "of every kind"
    counts = dump.load(new, {t: b"".join(parts).splitlines() for t, parts in rows.items()})
    assert counts["log_file_summary"] == 2
    assert untimed(everything(new)) == untimed(rows)
    with new.write() as c:  # numbers of new rows go on where the old ones end
        new.put_log(c, {**_log(old), "identity": "other"}, [], [], supersedes=None)
    assert len(new.logs()) == 2


def _log(ledger: Ledger) -> dict[str, Any]:
    (log,) = ledger.logs()
    return {k: v for k, v in log.items() if k not in ("id", "imported_at")}


def test_a_ledger_goes_from_sqlite_to_sqlite(tmp_path: Path) -> None:
    through(full(tmp_path), Ledger(f"sqlite:///{tmp_path / 'other.db'}"))


@pytest.mark.services
@pytest.mark.parametrize("kind", ["postgres", "mariadb"])
def test_a_ledger_goes_from_sqlite_to_a_server_and_back(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    old, server = full(tmp_path / "old"), Ledger(request.getfixturevalue(kind))
    through(old, server)
    dump.load(server, {t: b"".join(parts).splitlines() for t, parts in everything(old).items()})
    through(server, Ledger(f"sqlite:///{tmp_path / 'again.db'}"))
