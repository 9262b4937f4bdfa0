"""A platform whose ledger is in a database server: the stages, several sites' logs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from usage_stats_dagster.ledger.tables import DayStatus
from usage_stats_dagster_tests.platforms import DAY, HOST, Platform, line

SITES = range(1, 9)
TABLES = ("hits", "visits", "events", "metrics", "documents")


def many_sites(folder: Path, **sections: Any) -> Platform:
    """Eight sites with two small logs each, imported and counted."""
    sites = [{"id": s, "platform": "dspace", "url": f"https://{HOST}"} for s in SITES]
    platform = Platform.make(folder, sites=sites, **sections)
    for site in SITES:
        platform.log("a.log", [line(f"10:00:{site:02}"), line("10:30:00"), "broken"], site)
        platform.log("b.log", [line(f"11:00:{site:02}"), line("12:30:00")], site)
    platform.run(DAY)
    return platform


@pytest.mark.services
@pytest.mark.parametrize("kind", ["postgres", "mariadb"])
def test_sites_side_by_side_come_to_what_they_do_in_sqlite(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USAGE_STATS_SECRET", "a key for tests")
    want = many_sites(tmp_path / "sqlite")
    have = many_sites(tmp_path / kind, ledger={"url": request.getfixturevalue(kind)})
    assert have.files(*TABLES) == want.files(*TABLES)
    rows = have.ws.ledger.statuses()
    assert [(r["idsite"], r["day"], r["status"], r["files_loaded"]) for r in rows] == [
        (s, DAY, DayStatus.DONE, 2) for s in SITES
    ]
