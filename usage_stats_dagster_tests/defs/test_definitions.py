"""The code location loads as Dagster's server loads it, and names what people and other programs rely on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
import yaml

from usage_stats_dagster.definitions import defs
from usage_stats_dagster.defs.warnings import STALE_CHECK
from usage_stats_dagster.partitions import daily_partitions
from usage_stats_dagster.watch.findings import KINDS
from usage_stats_dagster_tests.counter_cases import CASES
from usage_stats_dagster_tests.platforms import DAY, PDF, Platform, line, settings

ROOT = Path(__file__).resolve().parents[2]
ASSETS = {"imported_logs", "day_status", "visits", "events", "filtered_metrics", "documents", "indexed_documents"}


def test_assets_and_what_each_says_of_itself() -> None:
    graph = defs.resolve_asset_graph()
    assert {k.to_user_string() for k in graph.get_all_asset_keys()} == ASSETS
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert node.owners, key
        assert node.kinds, key
        assert node.group_name != "default", key
        assert node.description, key
        assert isinstance(node.partitions_def, dg.DailyPartitionsDefinition), key


def test_data_flows_one_way() -> None:
    graph = defs.resolve_asset_graph()
    parents = {
        k.to_user_string(): {p.to_user_string() for p in graph.get(k).parent_keys} for k in graph.get_all_asset_keys()
    }
    assert parents == {
        "imported_logs": set(),
        "day_status": {"imported_logs"},
        "visits": {"day_status"},
        "events": {"day_status"},
        "filtered_metrics": {"visits", "events"},
        "documents": {"filtered_metrics"},
        "indexed_documents": {"documents"},
    }


def test_checks_at_every_stage_block_where_sums_do_not_close() -> None:
    graph = defs.resolve_asset_graph()
    checks = {(k.asset_key.to_user_string(), k.name): graph.get_check_spec(k).blocking for k in graph.asset_check_keys}
    warnings = {*KINDS, STALE_CHECK}
    assert {check: blocks for (_, check), blocks in checks.items() if blocks == (check in warnings)} == {}
    assert {asset for (asset, check) in checks if check not in warnings} == ASSETS - {"day_status"}


def test_sensor_schedule_and_jobs() -> None:
    repository = defs.get_repository_def()
    assert repository.get_sensor_def("log_folder_sensor").default_status == dg.DefaultSensorStatus.RUNNING
    assert repository.get_schedule_def("stragglers_schedule").default_status == dg.DefaultScheduleStatus.RUNNING
    assert {"daily_figures", "figures_from_events"} <= {j.name for j in repository.get_all_jobs()}


def test_partitions_follow_the_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USAGE_STATS_PLATFORM__TIME_ZONE", "America/Sao_Paulo")
    monkeypatch.setenv("USAGE_STATS_PLATFORM__START_DATE", "2020-02-01")
    made = daily_partitions()
    assert made.get_first_partition_key() == "2020-02-01"
    assert made.timezone == "America/Sao_Paulo"


def test_workspace_and_project_agree_on_the_name() -> None:
    workspace = yaml.safe_load((ROOT / "workspace.yaml").read_text())
    (entry,) = workspace["load_from"]
    assert entry["python_module"]["module_name"] == "usage_stats_dagster.definitions"
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["dg"]["project"]
    assert entry["python_module"]["location_name"] == project["code_location_name"]


def test_the_domain_imports_no_dagster() -> None:
    code = (
        "import sys, usage_stats_dagster.pipeline.run, usage_stats_dagster.cli.main; sys.exit('dagster' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_day_and_a_range_in_one_run_show_their_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    platform = Platform.make(tmp_path)
    case = next(c for c in CASES if c.name == "I")
    for day in case.expected:
        platform.log(f"access-{day}.log", [c.line() for c in case.clicks_of(day)])
    monkeypatch.setattr("usage_stats_dagster.resources.platform.current_settings", lambda: platform.settings)
    days = sorted(case.expected)
    ends = {"dagster/asset_partition_range_start": str(days[0]), "dagster/asset_partition_range_end": str(days[1])}
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    with dg.DagsterInstance.ephemeral() as instance:
        result = defs.resolve_job_def("daily_figures").execute_in_process(
            instance=instance, tags=ends, run_config=quiet
        )
        assert result.success
        evaluations = result.get_asset_check_evaluations()
        assert all(c.passed for c in evaluations)
        (accounting,) = (c for c in evaluations if c.check_name == "accounting_closes")
        table = str(accounting.metadata["accounting"].value)
        assert f"| 1 | {days[0]} | lines | read |" in table
        assert f"| 1 | {days[1]} | documents | in the index |" in table
        shown = {
            m.asset_key.to_user_string(): m.metadata
            for m in (e.materialization for e in result.get_asset_materialization_events())
        }
        assert set(shown) == ASSETS
        assert shown["events"]["rows_of_the_range"].value == 2
        observed = instance.get_event_records(
            dg.EventRecordsFilter(dg.DagsterEventType.ASSET_OBSERVATION, dg.AssetKey("events"))
        )
        assert {
            (o.partition_key, o.asset_observation.metadata["dagster/partition_row_count"].value) for o in observed
        } == {(str(d), 1) for d in days}
        assert "| hit | 2 |" in shown["imported_logs"]["outcomes"].value
        assert "double_click" in shown["filtered_metrics"]["steps"].value
        assert "data:image/png;base64," in shown["documents"]["top_items_plot"].value
        for day in days:
            assert str(day) in shown["filtered_metrics"]["by_day_and_site"].value
    assert platform.figures().get(days[0], (0, 0, 0, 0)) == (0, 0, 0, 0)
    assert platform.figures()[days[1]] == (1, 1, 1, 1)


def test_a_sum_that_does_not_close_stops_the_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    platform = Platform.make(tmp_path)
    case = next(c for c in CASES if c.name == "J")
    platform.log("access.log", [c.line() for c in case.clicks])
    monkeypatch.setattr("usage_stats_dagster.resources.platform.current_settings", lambda: platform.settings)
    platform.run()
    import sqlalchemy as sa

    from usage_stats_dagster.ledger.tables import log_file_summary

    with platform.ws.ledger.write() as c:  # a line is lost
        c.execute(sa.update(log_file_summary).values(lines=log_file_summary.c.lines - 1))
    (day,) = case.expected
    with dg.DagsterInstance.ephemeral() as instance:
        quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        job = defs.resolve_job_def("daily_figures")
        result = job.execute_in_process(
            instance=instance, partition_key=str(day), run_config=quiet, raise_on_error=False
        )
    assert not result.success
    failed = {c.check_name for c in result.get_asset_check_evaluations() if not c.passed}
    assert "every_line_has_one_outcome" in failed
    assert {
        e.asset_key.to_user_string() for e in (x.materialization for x in result.get_asset_materialization_events())
    } == {"imported_logs"}


def test_the_tables_page_is_that_of_the_schemas() -> None:
    from usage_stats_dagster.tables_page import page

    assert (ROOT / "docs" / "tables.md").read_text() == page(), (
        "python -m usage_stats_dagster.tables_page > docs/tables.md"
    )


def test_every_table_documents_every_column() -> None:
    from usage_stats_dagster.schemas import TABLES

    for table in TABLES.values():
        assert set(table.docs) == set(table.columns), table.name
        assert isinstance(table.empty(), pl.DataFrame)


def test_warnings_are_told_and_stop_nothing_and_come_alone_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hours are missing in a day: its run succeeds, its check warns; changed rules are seen without a run of a day."""
    platform = Platform.make(tmp_path)
    busy = [line(f"{h}:{m:02d}:00", ip=f"192.0.2.{m}") for h in (9, 10, 13, 14) for m in range(30)]
    platform.log("access.log", busy)
    monkeypatch.setattr("usage_stats_dagster.resources.platform.current_settings", lambda: platform.settings)
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    with dg.DagsterInstance.ephemeral() as instance:
        day = defs.resolve_job_def("daily_figures").execute_in_process(
            instance=instance, partition_key=str(DAY), run_config=quiet
        )
        assert day.success
        told = {c.check_name: c for c in day.get_asset_check_evaluations() if not c.passed}
        assert set(told) == {"missing_hour"}
        assert told["missing_hour"].severity == dg.AssetCheckSeverity.WARN
        assert "from 2025-03-01 11:00 to 13:00" in told["missing_hour"].metadata["findings"].value
        assert "data:image/png;base64," in told["missing_hour"].metadata["plot"].value

        platform.settings = settings(tmp_path, rules={"double_click_seconds": 10})
        alone = defs.resolve_job_def("early_warnings").execute_in_process(instance=instance, run_config=quiet)
        assert alone.success
        assert not alone.get_asset_materialization_events()
        told = {c.check_name: c for c in alone.get_asset_check_evaluations() if not c.passed}
        assert set(told) == {"missing_hour", STALE_CHECK}
        assert told[STALE_CHECK].description == "1 site-day is stale: 1 by rules.double_click_seconds: 30 → 10"


def test_stale_days_are_run_as_the_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from usage_stats_dagster.defs.run import run_stale_graph

    platform = Platform.make(tmp_path)
    platform.log("access.log", [line("10:00:00", PDF), line("10:00:20", PDF)])
    monkeypatch.setattr("usage_stats_dagster.resources.platform.current_settings", lambda: platform.settings)
    platform.run()
    assert platform.figures()[DAY] == (1, 1, 1, 1)
    platform.settings = settings(tmp_path, rules={"double_click_seconds": 10})
    assert run_stale_graph(platform.ws, first=None, last=None, sites=None) == [DAY]
    assert platform.figures()[DAY] == (2, 1, 2, 1)
    assert run_stale_graph(platform.ws, first=None, last=None, sites=None) == []
