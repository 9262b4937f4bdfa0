"""Reading visits and events from the Live API: every visit once, every action as the database has it."""

from __future__ import annotations

import gzip
import itertools
import json
import random
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from usage_stats_dagster.matomo.http import MatomoAwayError, MatomoError, MatomoHttp
from usage_stats_dagster.matomo.live_api import LiveApi
from usage_stats_dagster.pipeline.account import account
from usage_stats_dagster.pipeline.api_extraction import IncompleteDayError, look, make_visits_events_from_api
from usage_stats_dagster_tests.matomo_http.platforms import lines, platform_for, send, store_in
from usage_stats_dagster_tests.matomo_http.server import TOKEN, Matomo
from usage_stats_dagster_tests.platforms import DAY, HOST, PDF, Platform, line
from usage_stats_dagster_tests.shared import shared

START = datetime(2025, 3, 1, tzinfo=UTC)
END = START + timedelta(days=1)


def visit(ident: int, last: int, actions: int = 1, first: int | None = None) -> dict[str, Any]:
    """A visit that ends `last` seconds after START, as the API gives it."""
    begin = last - actions + 1 if first is None else first
    times = [begin] if actions == 1 else [begin + (last - begin) * k // (actions - 1) for k in range(actions)]
    at = int(START.timestamp())
    return {
        "idSite": 1, "idVisit": ident, "visitorId": f"{ident:016x}", "visitIp": "192.0.2.7", "actions": actions, "visitDuration": 0,
        "firstActionTimestamp": at + begin, "lastActionTimestamp": at + last, "countryCode": "es", "referrerType": "direct",
        "referrerName": "", "browserCode": "FF", "operatingSystemCode": "LIN", "deviceType": "Desktop",
        "actionDetails": [
            {"type": "action", "url": f"https://www.a.example/{ident}/{k}", "pageId": ident * 1000 + k, "timestamp": at + t, "customVariables": []}
            for k, t in enumerate(times)
        ],
    }  # fmt: skip


def reading(folder: Path, matomo: Matomo, **section: Any) -> Platform:
    return platform_for(folder, matomo, matomo={"mode": "api", "send": False, **section})


def tables(platform: Platform, site: int = 1, day: date = DAY) -> tuple[pl.DataFrame, pl.DataFrame]:
    make_visits_events_from_api(platform.ws, site, day)
    lake = platform.folder / "lake"
    rest = f"idsite={site}/year={day.year}/month={day.month}/day={day.day}"
    visits, events = (next((lake / t / rest).glob("*.parquet")) for t in ("visits", "events"))
    return pl.read_parquet(visits, hive_partitioning=False), pl.read_parquet(events, hive_partitioning=False)


@pytest.mark.parametrize(("site", "page"), [(5, 50), (8, 20_000), (8, 37)])
def test_the_fixture_s_answers_give_the_tables_of_its_database(tmp_path: Path, site: int, page: int) -> None:
    answer = shared(f"fixtures/matomo/api/site{site}_2025-03-01_Live.getLastVisitsDetails.json.gz")
    with Matomo(visits=json.loads(gzip.decompress(answer.read_bytes()))) as matomo:
        platform = platform_for(
            tmp_path,
            matomo,
            sites=[site],
            matomo={"mode": "api", "send": False, "live_page": page, "timeout_seconds": 20},
        )
        visits, events = tables(platform, site)
    theirs = pl.read_parquet(shared(f"fixtures/matomo/tables/site{site}_events.parquet"))
    theirs = theirs.filter(pl.col("server_time").dt.date() == DAY).select(
        "idlink_va", "idvisit", "server_time", "action_url", pl.col("action_url_prefix").cast(pl.Int8), "time_spent_ref_action",
        pl.col("action_type").fill_null(pl.when(pl.col("action_title_type") == 8).then(8).otherwise(1)).cast(pl.Int8),
        action_name=pl.when(pl.col("action_title_type") == 8).then("action_title"),
    ).sort("idlink_va")  # fmt: skip
    ours = events.with_columns(
        pl.col("server_time").dt.replace_time_zone(None), pl.col("time_spent_ref_action").cast(pl.Int64)
    )
    assert ours.select(theirs.columns).sort("idlink_va").equals(theirs)
    known = pl.read_parquet(shared(f"fixtures/matomo/tables/site{site}_visits.parquet"))
    known = known.filter(pl.col("visit_last_action_time").dt.date() == DAY).sort("idvisit")
    same = [c for c in visits.columns if c in known.columns]
    assert set(visits.columns) - set(same) == {"user_agent", "robot", "counted_here"}
    schema = {c: t if isinstance(t, pl.DataType) else t() for c, t in visits.schema.items() if c in same}
    times = [
        pl.col(c).dt.replace_time_zone("UTC") for c in same if c.endswith("_time") and known[c].dtype == pl.Datetime
    ]
    assert visits.select(same).equals(known.with_columns(times).select(same).cast(schema))
    assert visits["counted_here"].all()


def test_a_visit_over_midnight_stands_on_both_days_and_counts_on_its_last(tmp_path: Path) -> None:
    over = visit(1, 86_400 + 60, actions=4, first=86_400 - 120)
    with Matomo(visits=[over, visit(2, 100), visit(3, 90_000)]) as matomo:
        platform = reading(tmp_path, matomo)
        visits, events = tables(platform)
        assert dict(visits.select("idvisit", "counted_here").iter_rows()) == {1: False, 2: True}
        assert events.filter(idvisit=1)["time_spent_ref_action"].to_list() == [0, 60]
        visits, events = tables(platform, day=DAY + timedelta(1))
        assert dict(visits.select("idvisit", "counted_here").iter_rows()) == {1: True, 3: True}
        assert events.filter(idvisit=1)["time_spent_ref_action"].to_list() == [60, 60]


@pytest.mark.parametrize("seed", range(12))
def test_visits_that_come_or_grow_between_pages_are_neither_lost_nor_doubled(seed: int) -> None:
    dice = random.Random(seed)
    with Matomo(visits=[visit(k, dice.randrange(0, 400)) for k in range(1, 120)]) as matomo:
        newest, now = itertools.count(1000), itertools.count(400)

        def meanwhile(page: list[dict[str, Any]]) -> list[dict[str, Any]]:
            for v in dice.sample(matomo.visits, 3):  # the same visit, with one action more, now
                matomo.visits[matomo.visits.index(v)] = visit(v["idVisit"], next(now), v["actions"] + 1)
            if dice.random() < 0.5:
                matomo.visits.append(visit(next(newest), next(now)))
            return page

        before = {v["idVisit"] for v in matomo.visits}
        calls = itertools.count()
        matomo.lose = lambda page: meanwhile(page) if next(calls) < 40 else page
        api = LiveApi(MatomoHttp(matomo.url, TOKEN), page=dice.choice([2, 7, 25]))
        read: dict[int, int] = {}
        for page in api.pages(1, START, END):
            read |= {v["idVisit"]: v["actions"] for v in page}
        assert before <= read.keys()
        assert read == {v["idVisit"]: v["actions"] for v in matomo.visits}


def test_what_matomo_loses_within_pages_is_noticed(tmp_path: Path) -> None:
    with Matomo(visits=[visit(k, 10 * k) for k in range(1, 60)]) as matomo:
        platform = reading(tmp_path, matomo, live_page=10)
        calls = itertools.count()
        matomo.lose = lambda page: [v for v in page if v["idVisit"] != 33] if next(calls) < 8 else page
        visits, _ = tables(platform)  # the second reading has it
        assert visits.height == 59
        matomo.visits.append(visit(61, 700))
        matomo.lose = lambda page: [v for v in page if v["idVisit"] != 33]
        with pytest.raises(IncompleteDayError, match=r"59 visits .* counts 60"):
            make_visits_events_from_api(platform.ws, 1, DAY)


def test_many_visits_in_one_second_are_all_read() -> None:
    with Matomo(visits=[visit(k, 50) for k in range(1, 40)] + [visit(99, 51)]) as matomo:
        pages = LiveApi(MatomoHttp(matomo.url, TOKEN), page=4).pages(1, START, END)
        assert {v["idVisit"] for page in pages for v in page} == {*range(1, 40), 99}


def test_actions_that_the_api_leaves_out_are_said(tmp_path: Path) -> None:
    with Matomo(visits=[visit(1, 500, actions=120), visit(2, 600, actions=3)]) as matomo:
        matomo.cap = 99
        platform = reading(tmp_path, matomo)
        look(platform.ws, [1], (DAY, DAY))
        _, events = make_visits_events_from_api(platform.ws, 1, DAY)
        assert (events.rows, events.counts["left_out_by_api"]) == (102, 21)
        row = platform.ws.ledger.status(1, DAY)
        assert row is not None
        assert "left out 21 actions" in row["message"]


def test_a_day_is_read_again_only_when_matomo_counts_something_else(tmp_path: Path) -> None:
    with Matomo(visits=[visit(1, 500)]) as matomo:
        platform = reading(tmp_path, matomo)
        tables(platform)
        assert not any(r.changed for r in make_visits_events_from_api(platform.ws, 1, DAY))
        matomo.visits.append(visit(2, 900))
        assert all(r.changed for r in make_visits_events_from_api(platform.ws, 1, DAY))


def test_what_is_sent_is_what_is_read_back(tmp_path: Path) -> None:
    with Matomo(store_in(tmp_path)) as matomo:
        platform = platform_for(tmp_path, matomo, matomo={"mode": "api", "timeout_seconds": 20})
        platform.log("a.log", [*lines(30), line("12:00:00", PDF)])
        send(platform)
        visits, events = tables(platform)
        assert (events.height, visits["visit_total_actions"].sum()) == (31, 31)
        assert events.filter(action_type=3).select("action_url", "identifier", "item_action").row(0) == (
            f"https://{HOST}{PDF}", "oai:repo.example.org:1/1", "request",
        )  # fmt: skip
        platform.log("b.log", lines(3, start=50_000))
        send(platform)
        assert tables(platform)[1].height == 34


def test_the_whole_run_sends_reads_back_and_counts(tmp_path: Path) -> None:
    with Matomo(store_in(tmp_path)) as matomo:
        platform = platform_for(tmp_path, matomo, matomo={"mode": "api", "timeout_seconds": 20})
        platform.log("a.log", [line(f"10:{n:02}:00", f"/handle/1/{n % 3}") for n in range(9)] + [line("12:00:00", PDF)])
        report = platform.run()
        assert {s.table for s in report.stages} >= {"matomo_sent", "visits", "events", "metrics", "indexed_documents"}
        assert platform.figures("views", "downloads")[DAY] == (3, 1)
        assert [r["status"] for r in platform.ws.ledger.statuses()] == [5]
        assert not any(s.changed for s in platform.run(DAY).stages)


def test_the_api_alone_is_a_source(tmp_path: Path) -> None:
    with Matomo(visits=[visit(1, 500), visit(2, 900)]) as matomo:
        platform = reading(tmp_path, matomo)
        report = platform.run(DAY)
        assert [s.rows for s in report.stages if s.table == "visits"] == [2]
        assert [r["status"] for r in platform.ws.ledger.statuses(None, DAY, DAY)] == [5]


def test_errors_that_come_with_status_200_are_errors() -> None:
    with Matomo(visits=[visit(1, 500)]) as matomo:
        bad = MatomoHttp(matomo.url, "another token")
        with pytest.raises(MatomoError, match="view"):
            LiveApi(bad).call("Live.getLastVisitsDetails", idSite=1)
        assert len(matomo.api_calls) == 1  # asking again would not help
        passing = iter(["SQLSTATE[HY000]: server has gone away", "503", "gone", None, *["500"] * 3])
        matomo.api_fault = lambda: next(passing)
        api = LiveApi(MatomoHttp(matomo.url, TOKEN), tries=4, first_wait=0.01)
        assert api.summary(1, DAY) == (1, 1)
        with pytest.raises(MatomoAwayError, match="HTTP 500"):
            LiveApi(MatomoHttp(matomo.url, TOKEN), tries=3, first_wait=0.01).summary(1, DAY)


def test_the_token_is_in_the_body_only() -> None:
    with Matomo(visits=[visit(1, 500)]) as matomo:
        LiveApi(MatomoHttp(f"{matomo.url}/index.php", TOKEN)).summary(1, DAY)
        assert matomo.api_calls[0]["token_auth"] == TOKEN  # the server reads bodies alone


def test_the_accounting_closes_and_counts_from_the_api_on(tmp_path: Path) -> None:
    with Matomo(visits=[visit(k, 100 * k, actions=k) for k in range(1, 5)]) as matomo:
        platform = reading(tmp_path, matomo)
        platform.run(DAY)
        result = account(platform.ws)
    assert result.closes, result.open_sums
    rows = {(s, w): n for s, w, n in result.table.select("stage", "what", "count").iter_rows()}
    assert rows["matomo", "read from the API"] == rows["events", "human"] + rows["events", "robot"] == 10
    assert rows["documents", "in the lake"] == rows["documents", "in the index"]
