"""Sending hits: each is stored once, in order, whatever goes wrong once."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from pathlib import Path

import orjson
import polars as pl
import pytest

from usage_stats_dagster.matomo.http import TOKEN_VARIABLE, Answer, MatomoAwayError, MatomoError
from usage_stats_dagster.matomo.positions import Positions
from usage_stats_dagster.matomo.sender import judge
from usage_stats_dagster.matomo.tracking_request import MARKS, marks
from usage_stats_dagster.pipeline.imports import import_logs
from usage_stats_dagster.pipeline.sending import day_batches
from usage_stats_dagster.pipeline.stage import StageError, StageReport
from usage_stats_dagster_tests.matomo_http.platforms import (
    DROPPED,
    ROBOT,
    first_then,
    lines,
    paths,
    platform_for,
    send,
    store_in,
    stored,
)
from usage_stats_dagster_tests.matomo_http.server import FAULTS, Matomo
from usage_stats_dagster_tests.platforms import DAY, FIREFOX, line

ALL_DAY = [(datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC))]


def nobody(agents: pl.Series) -> pl.Series:
    """No agent is a robot."""
    return pl.repeat(None, len(agents), dtype=pl.String, eager=True)


def only(reports: list[StageReport | MatomoError]) -> StageReport:
    (report,) = reports
    assert isinstance(report, StageReport), report
    return report


@pytest.mark.parametrize("fault", FAULTS)
def test_each_hit_is_stored_once_whatever_befalls_one_batch(tmp_path: Path, fault: str) -> None:
    with Matomo(store_in(tmp_path)) as matomo:
        matomo.fault = first_then(fault)
        platform = platform_for(tmp_path, matomo)
        platform.log("a.log", [*lines(24), *lines(3, start=24, agent=DROPPED)])
        report = only(send(platform))
        assert stored(matomo) == paths(24)
        assert (report.counts["sent"], report.counts["dropped"], report.counts["twice"]) == (27, 3, 0)
        assert only(send(platform)).changed is False


def test_a_request_is_what_matomo_s_importer_sends_plus_the_mark(tmp_path: Path) -> None:
    pdf = "/bitstream/1/2/caf%C3%A9.pdf?sequence=1&x=\u00e9"
    logged = [line("00:00:01", "/handle/1/2", referrer="https://a.example/?q=1"), line("00:00:02", pdf, status=206)]
    with Matomo(store_in(tmp_path)) as matomo:
        for store_ips in (True, False):
            platform = platform_for(tmp_path / str(store_ips), matomo, rules={"store_ips": store_ips})
            platform.log("a.log", logged)
            only(send(platform))
        (view, download), (masked, _) = matomo.bulk_requests
    common = {"rec": 1, "apiv": 1, "idsite": 1, "ua": FIREFOX, "dp": 1, "queuedtracking": 0}
    first = {
        "url": "https://repo.example.org/handle/1/2",
        "urlref": "https://a.example/?q=1",
        "cdt": "2025-03-01 00:00:01",
    }
    assert view == common | first | {"cip": "192.0.2.7", "cvar": '{"1":["HTTP-code","200"]}', "pv_id": view["pv_id"]}
    assert download["url"] == download["download"] == f"https://repo.example.org{pdf}"
    assert (download["urlref"], download["cvar"]) == ("", '{"1":["HTTP-code","206"]}')
    # Without raw addresses: the network, the visitor's hash and the country in the place of the address.
    assert masked["cip"] == "192.0.0.0"
    assert len(masked["cid"]) == 16
    assert masked.keys() - view.keys() == {"cid", "country"}


def test_marks_are_six_letters_and_digits_and_start_again_after_the_last() -> None:
    assert marks(MARKS - 1, 3) == ["zzzzzz", "000000", "000001"]
    assert len(set(marks(123_456_789, 100_000))) == 100_000


def test_hits_of_two_servers_go_in_the_order_of_time_and_a_late_log_follows(tmp_path: Path) -> None:
    with Matomo(store_in(tmp_path)) as matomo:
        platform = platform_for(tmp_path, matomo)
        platform.log("even.log", lines(30, every=2))
        platform.log("odd.log", lines(30, start=1, every=2))
        only(send(platform))
        times = [r["cdt"] for batch in matomo.bulk_requests for r in batch]
        assert len(times) == 60
        assert times == sorted(times)
        platform.log("late.log", lines(5, start=20_000))
        assert only(send(platform)).counts["sent"] == 65
        assert stored(matomo) == paths(60) + paths(5, start=20_000)


def test_a_log_that_grows_is_sent_from_where_it_was(tmp_path: Path) -> None:
    with Matomo(store_in(tmp_path)) as matomo:
        platform = platform_for(tmp_path, matomo)
        for n in (2, 17, 40):  # 2 lines: less than 1 KiB, so that the log takes another identity when it grows
            platform.log("a.log", lines(n))
            assert only(send(platform)).counts["sent"] == n
        assert stored(matomo) == paths(40)


def test_robots_are_kept_back_and_counted(tmp_path: Path) -> None:
    with Matomo(store_in(tmp_path)) as matomo:
        platform = platform_for(tmp_path, matomo)
        platform.log("a.log", [*lines(5, agent=ROBOT), *lines(5, start=5), *lines(25, start=10, agent=ROBOT)])
        counts = only(send(platform)).counts
        assert (counts["sent"], counts["kept_back"], counts["stored"], counts["dropped"]) == (5, 30, 5, 0)
        assert (counts["hits"], counts["changed_since"]) == (35, 0)
        assert only(send(platform)).changed is False


def test_other_days_than_those_that_were_sent_are_refused(tmp_path: Path) -> None:
    with Matomo(store_in(tmp_path)) as matomo:
        platform = platform_for(tmp_path, matomo)
        platform.log("a.log", lines(5))
        only(send(platform))
        elsewhere = platform_for(tmp_path, matomo, platform={"time_zone": "America/Sao_Paulo"})
        with pytest.raises(StageError, match=r"days of UTC.*sent twice"):
            send(elsewhere)


def test_in_maintenance_the_place_is_kept_and_said(tmp_path: Path) -> None:
    with Matomo(store_in(tmp_path)) as matomo:
        platform = platform_for(tmp_path, matomo, matomo={"patience_seconds": 1.0})
        platform.log("a.log", lines(20))
        matomo.maintenance = True
        (error,) = send(platform)
        assert isinstance(error, MatomoAwayError)
        assert "maintenance" in Positions(platform.ws.ledger).messages()[1]
        matomo.maintenance = False
        assert only(send(platform)).counts["sent"] == 20
        assert Positions(platform.ws.ledger).messages() == {}
        assert stored(matomo) == paths(20)


@pytest.mark.parametrize("arrived", [0, 4, 10])
def test_what_was_on_its_way_at_a_crash_is_looked_up_even_if_the_lake_has_changed(tmp_path: Path, arrived: int) -> None:
    with Matomo(store_in(tmp_path)) as matomo:
        assert matomo.store is not None
        platform = platform_for(tmp_path, matomo)
        platform.log("a.log", lines(25))
        import_logs(platform.ws)
        # A process that is killed after the first batch was written down, when Matomo had some of it.
        positions, site = Positions(platform.ws.ledger), platform.settings.site(1)
        hits = pl.scan_parquet(platform.folder / "lake/hits/**/*.parquet", hive_partitioning=False)
        first = next(day_batches(hits, site, DAY, positions, nobody, size=10, windows=ALL_DAY))
        positions.begin(first)
        matomo.store.track([orjson.loads(r) for r in first.requests[:arrived]])
        # Before the next run the operator excludes URLs: what went out, or was about to, is not the lake's any more.
        excluding = platform_for(tmp_path, matomo, excluded=["/1-[0-4]$"])
        report = only(send(excluding))
        assert (report.counts["resolved"], report.counts["resent"], report.counts["twice"]) == (1, 10 - arrived, 0)
        assert stored(matomo) == paths(25)


def test_a_batch_that_is_too_large_goes_in_parts(tmp_path: Path) -> None:
    with Matomo(store_in(tmp_path)) as matomo:
        too_large = itertools.chain(["too large", "too large"], itertools.repeat(None))
        matomo.fault = lambda: next(too_large)
        platform = platform_for(tmp_path, matomo)
        platform.log("a.log", lines(25))
        only(send(platform))
        assert [len(b) for b in matomo.bulk_requests] == [2] * 5 + [10, 5]
        assert stored(matomo) == paths(25)


def test_where_the_api_hides_actions_nothing_is_guessed(tmp_path: Path) -> None:
    with Matomo(store_in(tmp_path)) as matomo:
        platform = platform_for(tmp_path, matomo)
        platform.log("a.log", [line(f"00:00:{k:02}", f"/handle/1/1-{k}") for k in range(20)])  # one visit
        matomo.cap = 3
        matomo.fault = first_then("lost after", at=0)
        (error,) = send(platform)
        assert isinstance(error, MatomoError)
        assert "database_url" in str(error)
        matomo.cap = None
        only(send(platform))
        assert stored(matomo) == paths(20)


@pytest.mark.parametrize(("status", "body", "said"), [
    (401, b'{"status":"error"}', "MATOMO_TOKEN"),
    (200, b'{"status":"success","tracked":0,"invalid":5}', "is there a site 7"),
])  # fmt: skip
def test_what_waiting_can_t_mend_is_said_at_once(status: int, body: bytes, said: str) -> None:
    with pytest.raises(MatomoError, match=said):
        judge(Answer(status, body), 5, 7, known=False)


def test_the_token_is_asked_for_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Matomo(store_in(tmp_path)) as matomo:
        platform = platform_for(tmp_path, matomo)
        platform.log("a.log", lines(1))
        monkeypatch.delenv(TOKEN_VARIABLE)
        with pytest.raises(MatomoError, match=TOKEN_VARIABLE):
            send(platform)
