"""The Dagster graph and the sensor's plan with a database as the source: the same assets, every check passed."""

from __future__ import annotations

from datetime import date

import pytest

from usage_stats_dagster.cli.main import main
from usage_stats_dagster.ledger.tables import DayStatus
from usage_stats_dagster.pipeline.account import account
from usage_stats_dagster.pipeline.plan import plan
from usage_stats_dagster.pipeline.workspace import Workspace
from usage_stats_dagster.settings import load_settings

pytestmark = [pytest.mark.services, pytest.mark.slow]

DAY = date(2025, 6, 10)


@pytest.mark.parametrize("grain", ["day", "month"])
def test_the_command_line_runs_the_graph_over_a_database(mariadb, tmp_path, monkeypatch, capsys, grain):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "usage_stats.toml").write_text(
        f'[matomo]\nmode = "database"\ndatabase_url = "{mariadb.database("matomo_s")}"\n'
        f'[[sites]]\nid = 3\ngrain = "{grain}"\ncountry = "AR"\n'
    )
    monkeypatch.setattr("sys.argv", ["usage-stats", "run", "--day", str(DAY)])
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code, capsys.readouterr().err
    ws = Workspace(load_settings())
    assert [(r["day"], r["status"]) for r in ws.ledger.statuses()] == [(DAY, DayStatus.DONE)]
    assert account(ws).closes


def test_the_sensor_asks_for_the_days_that_matomo_has_and_we_do_not(mariadb, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = {"mode": "database", "database_url": mariadb.database("matomo")}
    ws = Workspace(load_settings(matomo=settings, sites=[{"id": 10}]))
    assert list(plan(ws).days) == [date(2025, 3, 1), date(2025, 3, 2), date(2025, 3, 3)]
