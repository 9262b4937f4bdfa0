"""The accounting: every count under its name, by day, whatever the source; what does not close is said; no address shown."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path

import polars as pl
import pytest

from usage_stats_dagster.ledger.tables import matomo_day
from usage_stats_dagster.matomo.http import TOKEN_VARIABLE
from usage_stats_dagster.pipeline.account import Account, account
from usage_stats_dagster.pipeline.account.examples import examples
from usage_stats_dagster.pipeline.doctor import examine
from usage_stats_dagster.pipeline.rejects import Wanted, rejects
from usage_stats_dagster.schemas import DOCUMENTS, METRICS_TABLE
from usage_stats_dagster_tests.matomo_http.platforms import DROPPED, ROBOT, lines, platform_for, send, store_in
from usage_stats_dagster_tests.matomo_http.server import Matomo
from usage_stats_dagster_tests.platforms import DAY, HOST, PDF, Platform, line

NEXT = date(2025, 3, 2)
IP = "203.0.113.77"
EVERY_OUTCOME = [
    line("10:00:00", ip=IP),
    line("10:00:10", ip=IP),  # a double click
    line("10:01:00", PDF, ip=IP, method="HEAD"),
    line("10:01:30", f"/contact?from={IP}", ip=IP),
    line("10:02:00", ip=IP, agent="Googlebot/2.1"),
    line("10:02:01", ip=IP, agent="Wget/1.21"),
    line("10:02:02", ip=IP, agent="Wget/1.21"),
    line("10:03:00", f"/gone/{IP}", ip=IP, status=404),
    line("10:03:01", "/moved", ip=IP, status=301),
    line("10:03:02", "/style.css", ip=IP),
    line("10:03:03", "/private/x", ip=IP),
    line("10:03:04", ip=IP, referrer="http://semalt.com/"),
    line(datetime(1999, 1, 1), ip=IP),
    f"{IP} is no log line",
    line(datetime(2025, 3, 2, 0, 0, 1), ip=IP),
]


def counts(result: Account, day: date | None = None) -> dict[tuple[str, str], int]:
    """(stage, what) to count, of a day where the table is by day."""
    table = result.table if day is None else result.table.filter(day=day)
    return {(s, w): n for s, w, n in table.select("stage", "what", "count").iter_rows()}


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    """A day with a line of every outcome, robot and step."""
    site = {"id": 1, "platform": "dspace", "url": f"https://{HOST}", "exclude": ["^/private"]}
    made = Platform.make(tmp_path, sites=[site], platform={"start_date": "2000-01-01"})
    made.log("a.log", EVERY_OUTCOME)
    made.run()
    return made


def test_every_line_has_its_place_on_its_day(platform: Platform) -> None:
    result = account(platform.ws, by="day")
    assert result.closes, result.open_sums
    day = counts(result, DAY)
    outcomes = {"read": 13, "invalid": 1, "http_error": 1, "http_redirect": 1, "static": 1, "excluded": 1, "spam_referrer": 1, "hit": 7}  # fmt: skip
    assert {w: n for (s, w), n in day.items() if s == "lines"} == outcomes
    before = {k: n for k, n in counts(result, date(1999, 1, 1)).items() if n}
    assert before == {("lines", "read"): 1, ("lines", "outside_day"): 1}
    assert (day["events", "human"], day["events", "robot"]) == (4, 3)
    robots = result.table.filter(day=DAY, stage="robots").select("what", "count").rows()
    assert robots == [("counter: Wget", 2), ("counter: bot", 1)]
    steps = {w: n for (s, w), n in day.items() if s == "steps: counter"}
    assert steps == {"kept": 1, "robots": 3, "behaviour": 0, "assets": 0, "unidentified": 1, "not_delivered": 1, "double_click": 1}  # fmt: skip
    assert day["figures", "total_item_investigations"] == 1
    assert day["documents", "in the lake"] == day["documents", "in the index"] == 1
    assert counts(result, NEXT)["lines", "hit"] == 1
    whole = counts(account(platform.ws))
    assert whole["lines", "read"] == len(EVERY_OUTCOME)
    assert counts(account(platform.ws, first=DAY, last=DAY)) == day
    dropped = result.table.filter(stage="lines").filter(~pl.col("what").is_in(["read", "hit"]))
    assert not dropped["reason"].null_count()


def test_each_drop_has_examples_and_none_has_an_address(platform: Platform) -> None:
    table = account(platform.ws, by="day").table
    found = examples(platform.ws, table, DAY, DAY, by_day=True)
    said = {(s, w): t for s, w, t in found.select("stage", "what", "text").iter_rows()}
    assert said["lines", "http_error"] == "404 GET /gone/x.x.x.x"
    assert said["lines", "spam_referrer"].startswith("http://semalt.com/: 200 GET")
    assert said["lines", "invalid"] == "x.x.x.x is no log line"
    assert said["steps: counter", "unidentified"].endswith("/contact?from=x.x.x.x")
    assert said["steps: counter", "not_delivered"].startswith("200 HEAD")
    assert {("robots", "counter: Wget"), ("steps: counter", "double_click")} <= set(said)
    assert found.filter(stage="steps: counter", what="double_click")["line"].to_list() == [1]
    assert not any(IP in t for t in found["text"])
    side = [p for kind in ("imports", "rejects", "samples") for p in (platform.folder / "lake" / kind).rglob("*.*")]
    assert len(side) == 3
    assert not any(IP.encode() in p.read_bytes() for p in side)
    assert not any(
        IP in t for p in side if p.suffix == ".parquet" and "rejects" in str(p) for t in pl.read_parquet(p)["head"]
    )


@pytest.mark.parametrize("outcome", ["invalid", "http_error", "http_redirect", "excluded", "static", "spam_referrer", "outside_day"])  # fmt: skip
def test_lines_of_any_outcome_are_read_back(outcome: str, platform: Platform) -> None:
    found = rejects(platform.ws, Wanted(outcome=outcome))
    assert (found.total, found.lines.height, found.notes) == (1, 1, [])
    (row,) = found.lines.iter_rows(named=True)
    assert (row["log"], row["outcome"]) == (str(platform.folder / "logs/1/a.log"), outcome)
    assert row["line"] == {"http_error": 8, "http_redirect": 9, "static": 10, "excluded": 11, "spam_referrer": 12, "outside_day": 13, "invalid": 14}[outcome]  # fmt: skip
    assert IP not in row["head"]
    assert rejects(platform.ws, Wanted(outcome=outcome, first=date(2025, 4, 1))).lines.is_empty()
    assert rejects(platform.ws, Wanted(outcome=outcome, log="other")).total == 0


def test_a_log_that_is_gone_is_said_and_one_that_was_rotated_is_found(platform: Platform) -> None:
    log = platform.folder / "logs/1/a.log"
    log.rename(log.with_name("a.log.1"))
    assert rejects(platform.ws, Wanted(outcome="static")).notes
    platform.run()
    found = rejects(platform.ws, Wanted(outcome="static"))
    assert (found.lines.height, found.notes) == (1, [])
    assert rejects(platform.ws, Wanted()).lines.height == 1, "those that no format could read are stored"


def test_a_late_log_is_a_row_of_its_own_until_the_day_is_made_again(platform: Platform) -> None:
    from usage_stats_dagster.pipeline.imports import import_logs

    platform.log("late.log", [line("12:00:00", f"/handle/1/{n}") for n in range(4)])
    import_logs(platform.ws)
    result = account(platform.ws)
    assert result.closes
    assert counts(result)["hits", "of logs that came or changed since the day was made"] == 4
    assert any("4 hits of 2025-03-01" in n for n in result.notes)
    platform.run()
    assert ("hits", "of logs that came or changed since the day was made") not in counts(account(platform.ws))


def test_what_does_not_close_is_said(platform: Platform) -> None:
    ws = platform.ws
    ws.index.replace(1, DAY, DAY, DOCUMENTS.empty())
    result = account(ws)
    assert "site 1, 2025-03-01: documents in the lake (1) are not documents in the index (0)" in result.open_sums
    platform.run(DAY)
    assert account(platform.ws).closes
    manifest = platform.ws.lake.folder(METRICS_TABLE, 1, DAY) / "_manifest.json"
    manifest.write_text(manifest.read_text().replace('"unidentified": 1', '"unidentified": 2'))
    assert any("events under a step of counter (8)" in s for s in account(platform.ws).open_sums)


@pytest.mark.parametrize("table", ["visits", "events", "metrics", "documents"])
def test_a_table_that_was_changed_by_hand_is_named(table: str, platform: Platform) -> None:
    (part,) = (platform.folder / "lake" / table / "idsite=1/year=2025/month=3/day=1").glob("*.parquet")
    pl.read_parquet(part, hive_partitioning=False).clear().write_parquet(part)
    result = account(platform.ws)
    damage = f"site 1, 2025-03-01: the ledger says done, but {table} in the lake are missing or not what was written"
    assert any(s.startswith(damage) for s in result.open_sums)
    assert not any("not loaded yet" in n or "wait" in n for n in result.notes)
    assert "is missing or changed; `usage-stats run --day 2025-03-01 --sites 1`" in str(
        examine(platform.ws)["finding"].to_list()
    )
    platform.run(DAY)
    assert account(platform.ws).closes


def test_a_month_s_documents_are_there_whichever_of_its_days_is_asked_for(tmp_path: Path) -> None:
    platform = Platform.make(tmp_path, sites=[{"id": 1, "platform": "dspace", "grain": "month"}])
    for day in (5, 20):
        platform.log(f"{day}.log", [line(datetime(2025, 3, day, 10), f"/handle/1/{day}", ip=f"192.0.2.{day}")])
    platform.run()
    result = account(platform.ws, first=date(2025, 3, 20), last=date(2025, 3, 20), by="day")
    assert result.closes, result.open_sums
    assert counts(result, date(2025, 3, 1)) == {("documents", "in the lake"): 2, ("documents", "in the index"): 2}
    assert counts(account(platform.ws))["documents", "in the index"] == 2


def test_what_was_sent_closes_with_the_hits_and_what_matomo_has_twice_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "0123456789abcdef0123456789abcdef")
    with Matomo(store_in(tmp_path)) as matomo:
        platform = platform_for(tmp_path, matomo)
        platform.log("a.log", [*lines(20), *lines(3, start=20, agent=DROPPED), *lines(4, start=30, agent=ROBOT)])
        send(platform)
        platform.log("late.log", lines(5, start=100, site=2))
        from usage_stats_dagster.pipeline.imports import import_logs

        import_logs(platform.ws)
        result = account(platform.ws)
        sent = {w: n for (s, w), n in counts(result).items() if s == "matomo"}
        assert sent == {"sent": 23, "kept back": 4, "wait to be sent": 5, "stored": 20, "dropped": 3}
        assert result.closes, result.open_sums
        send(platform)
        sent = {w: n for (s, w), n in counts(account(platform.ws)).items() if s == "matomo"}
        assert sent == {"sent": 28, "kept back": 4, "stored": 25, "dropped": 3}
        with platform.ws.ledger.write() as c:
            c.execute(matomo_day.update().values(twice=2))
        assert account(platform.ws).open_sums == ["site 1, 2025-03-01: hits that Matomo has twice (2) are not none (0)"]
