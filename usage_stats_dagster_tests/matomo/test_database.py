"""Databases of other versions and shapes, both clients, changes under our hands, days that are open."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from usage_stats_dagster.ledger.tables import DayStatus
from usage_stats_dagster.matomo import queries
from usage_stats_dagster.matomo.columns import Columns, read_columns
from usage_stats_dagster.matomo.database import ClientFailedError, Database, MatomoDatabaseError
from usage_stats_dagster.matomo.zero_dates import safe_time
from usage_stats_dagster.pipeline import extraction, extraction_days
from usage_stats_dagster.pipeline.extraction_days import SiteReading
from usage_stats_dagster.pipeline.run import run
from usage_stats_dagster.schemas import EVENTS, VISITS
from usage_stats_dagster_tests.matomo.old_matomo import BIG, HUGE, build
from usage_stats_dagster_tests.matomo.reading import made, table, workspace

pytestmark = pytest.mark.services

FIRST, LAST = date(2025, 3, 1), date(2025, 3, 2)
OLD = {"table_prefix": "piwik_", "custom_variables": (1,), "custom_dimensions": (3, 4)}
SITES = [{"id": 7, "url": "https://host"}, {"id": 8}]


@pytest.fixture(params=[("latin1", True), ("utf8mb4", False)], ids=["latin1", "utf8mb4, no index"])
def old(request, server) -> str:
    charset, indexed = request.param
    return build(server, f"old_{charset}", charset=charset, indexed=indexed)


def test_an_old_matomo_is_read_by_both_clients_alike(old, tmp_path):
    both = [made(tmp_path / c, old, SITES, FIRST, LAST, client=c, **OLD) for c in ("connectorx", "pymysql")]
    for of in (EVENTS, VISITS):
        for idsite in (7, 8):
            one, other = (table(ws, of, idsite, FIRST, LAST) for ws in both)
            assert_frame_equal(one, other)
    for s in (7, 8):  # to the byte
        for d in (FIRST, LAST):
            one, other = (ws.lake.manifest(EVENTS, s, d).content_hash for ws in both)
            assert one == other
    events = table(both[0], EVENTS, 7, FIRST, LAST)
    assert events.select(
        "idlink_va", "idvisit", "action_type", "action_url", "action_name", "custom_dimension_3"
    ).rows() == [
        (12, 2, 8, None, "água", None),
        (13, 2, 1, None, None, None),
        (HUGE, BIG, 1, "host/café/1", None, "d3"),
        (11, BIG, 3, "https://host/café.pdf?a=1&amp;b=2", None, None),
    ]
    assert "custom_var_v1" not in events.columns
    assert events["time_spent_ref_action"].null_count() == 4


@pytest.mark.parametrize("rows", [1, 2])
def test_days_with_more_rows_than_an_answer_may_have_are_read_page_by_page(old, tmp_path, monkeypatch, rows):
    whole = made(tmp_path / "whole", old, SITES, FIRST, LAST, **OLD)
    monkeypatch.setattr(extraction_days, "PAGE_ROWS", rows)
    monkeypatch.setattr(SiteReading, "_in_one_snapshot", None)  # pymysql has no part in it
    paged = made(tmp_path / "paged", old, SITES, FIRST, LAST, **OLD)
    for of in (EVENTS, VISITS):
        for s in (7, 8):
            for d in (FIRST, LAST):
                one, other = (ws.lake.manifest(of, s, d).content_hash for ws in (whole, paged))
                assert one == other


def test_other_threads_go_on_while_the_server_thinks(mariadb):
    source, moments = Database(mariadb.database("matomo")), []
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(source.columns, "SELECT SLEEP(1) AS slept")
        while not answer.done():
            moments.append(time.monotonic())
            time.sleep(0.01)
    assert answer.result()["slept"].to_list() == [0]
    assert max(later - earlier for earlier, later in pairwise(moments)) < 0.5


def test_a_connection_that_breaks_in_the_middle_of_an_answer_is_no_end_of_it(mariadb):
    slow = "SELECT idvisit, SLEEP(0.01) AS slept FROM matomo_log_visit"
    source = Database(mariadb.database("matomo"))
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(source.columns, slow)
        threads: list[tuple[int]] = []
        while not threads and not answer.done():
            with source.connection() as reader:
                running = "SELECT id FROM information_schema.processlist WHERE info LIKE 'SELECT idvisit, SLEEP%'"
                threads = reader.rows(running)
        mariadb.execute("matomo", *(f"KILL {thread}" for (thread,) in threads))
        with pytest.raises(ClientFailedError, match="could not read"):
            answer.result()


def test_a_visit_stands_on_each_day_of_its_events_and_is_counted_on_its_last(old, tmp_path):
    ws = made(tmp_path, old, SITES, FIRST, LAST, **OLD)
    columns = ("idvisit", "counted_here", "visit_first_action_time", "location_ip", "location_country", "referer_name")
    first = datetime(2025, 3, 1, 23, 50, tzinfo=UTC)
    assert table(ws, VISITS, 7, FIRST, FIRST).select(columns).rows() == [
        (2, True, None, "2001:db8::", None, "café"),
        (BIG, False, first, "192.168.0.0", "br", None),
    ]
    assert table(ws, VISITS, 7, LAST, LAST).select("idvisit", "counted_here").rows() == [(BIG, True)]
    assert table(ws, VISITS, 8, FIRST, LAST)["location_ip"].to_list() == [None]


def test_days_are_the_platforms(old, tmp_path):
    ws = made(tmp_path, old, SITES, FIRST, LAST, platform={"time_zone": "America/Sao_Paulo"}, **OLD)
    assert table(ws, EVENTS, 7, FIRST, FIRST).height == 4
    assert table(ws, EVENTS, 7, LAST, LAST).height == 0


def test_an_unchanged_day_is_not_read_again_and_a_changed_one_is(server, tmp_path):
    url = build(server, "old_changing")
    ws = workspace(tmp_path, url, SITES, **OLD)
    reports = run(ws, first=FIRST, last=LAST).stages
    assert {r.changed for r in reports if r.table == "events"} == {True}
    reports = run(ws, first=FIRST, last=LAST).stages
    assert {r.changed for r in reports} == {False}
    server.execute("old_changing", "UPDATE piwik_log_visit SET visit_total_actions = 5 WHERE idvisit = 2")
    server.execute("old_changing", "DELETE FROM piwik_log_link_visit_action WHERE idlink_va = 11")
    run(ws, first=FIRST, last=LAST)
    assert table(ws, VISITS, 7, FIRST, FIRST)["visit_total_actions"].to_list() == [5, 2]
    assert table(ws, EVENTS, 7, LAST, LAST).height == 0
    assert {r["status"] for r in ws.ledger.statuses()} == {DayStatus.DONE}


def test_what_changes_while_it_is_read_is_read_again(server, tmp_path, monkeypatch):
    """A visit goes on after the day's events were read and before its visits: the tables must be of one moment."""
    url = build(server, "old_moving")
    ws = workspace(tmp_path, url, SITES, **OLD)
    asked, late = SiteReading._asked, [20, 21]

    def visit_goes_on(reading, query):
        if late and reading.site.id == 7 and "FROM `piwik_log_visit`" in query:
            server.execute(
                "old_moving",
                f"INSERT INTO piwik_log_link_visit_action VALUES ({late.pop()}, 7, 'visitor2', 2, 0, 2, NULL, '2025-03-01 10:00:01', NULL)",
                "UPDATE piwik_log_visit SET visit_total_actions = COALESCE(visit_total_actions, 0) + 1 WHERE idvisit = 2",
            )
        return asked(reading, query)

    before = made(tmp_path / "before", url, SITES, FIRST, LAST, **OLD)
    monkeypatch.setattr(SiteReading, "_asked", visit_goes_on)
    run(ws, first=FIRST, last=LAST)
    events, more_events = (table(w, EVENTS, 7, FIRST, FIRST) for w in (before, ws))
    visits, more_visits = (table(w, VISITS, 7, FIRST, FIRST) for w in (before, ws))
    assert more_events.height == events.height + 2
    assert more_visits["visit_total_actions"].sum() == visits["visit_total_actions"].sum() + 2
    assert ws.ledger.status(7, FIRST)["counts"]["matomo_events"] == events.height + 2


def test_a_day_is_open_until_its_visits_can_no_longer_grow(old, tmp_path):
    ws = workspace(tmp_path, old, SITES, settle_minutes=30, **OLD)
    now = datetime.now(UTC)
    settled = now - timedelta(minutes=30)
    extraction.look(ws, [7], (settled.date() - timedelta(1), now.date()))
    rows = {r["day"]: r for r in ws.ledger.statuses([7])}
    assert rows[settled.date() - timedelta(1)]["status"] == DayStatus.LOADED
    assert rows[now.date()]["status"] < DayStatus.LOADED
    assert "open until" in rows[now.date()]["message"]


def test_without_dates_every_day_that_has_events_is_made(old, tmp_path):
    ws = workspace(tmp_path, old, SITES, **OLD)
    run(ws)
    assert [r["day"] for r in ws.ledger.statuses([7])] == [FIRST, LAST]


def test_the_reader_cannot_write(mariadb):
    with (
        Database(mariadb.database("matomo")).connection() as reader,
        pytest.raises(MatomoDatabaseError, match="READ ONLY"),
    ):
        reader.rows("DELETE FROM matomo_log_action")


@pytest.mark.parametrize(
    ("name", "prefix", "says"),
    [
        ("matomo", "piwik_", "matomo.table_prefix to one of 'matomo_'"),
        ("lareferenciastatsdb", "matomo_", "holds no Matomo"),
        ("matomo", "x'", "letters"),
    ],
)
def test_a_database_that_is_not_as_told_says_so(mariadb, tmp_path, name, prefix, says):
    with pytest.raises(MatomoDatabaseError, match=says):
        made(tmp_path, mariadb.database(name), SITES, FIRST, LAST, table_prefix=prefix)


def test_a_server_that_is_away_is_named_without_its_password(tmp_path):
    with pytest.raises(MatomoDatabaseError, match=r"127\.0\.0\.1:1/matomo does not answer") as e:
        made(tmp_path, "mysql://u:secret@127.0.0.1:1/matomo", SITES, FIRST, LAST)
    assert "secret" not in str(e.value)


def test_a_zero_date_is_why_times_leave_the_server_as_null(old, capfd):
    """connectorx panics on one; with `safe_time` both clients give null."""
    source = Database(old)
    bare = "SELECT visit_first_action_time AS t FROM piwik_log_visit WHERE idvisit = 2"
    with pytest.raises(ClientFailedError):
        source.columns(bare)
    capfd.readouterr()  # the panic's own words
    safe = bare.replace("visit_first_action_time AS", f"{safe_time('visit_first_action_time')} AS")
    assert source.columns(safe)["t"].to_list() == [None]
    with source.connection() as reader:
        assert reader.rows(safe) == [(None,)]


def test_where_connectorx_gives_up_pymysql_reads_the_day(old, tmp_path, monkeypatch):
    expected = made(tmp_path / "a", old, SITES, FIRST, LAST, **OLD)
    monkeypatch.setattr(queries, "safe_time", lambda column: column)  # as if a column had been forgotten
    with pytest.raises(ClientFailedError):
        Database(old).columns(queries.visits_of(_columns(old), [2]))
    monkeypatch.undo()
    monkeypatch.setattr(Database, "columns", _gives_up)
    ws = made(tmp_path / "b", old, SITES, FIRST, LAST, **OLD)
    assert_frame_equal(table(ws, EVENTS, 7, FIRST, LAST), table(expected, EVENTS, 7, FIRST, LAST))


def _gives_up(database: Database, query: str) -> pl.DataFrame:
    raise ClientFailedError(f"no answer from {database.label} to {query}")


def _columns(url: str) -> Columns:
    with Database(url).connection() as reader:
        return read_columns(reader, "piwik_")
