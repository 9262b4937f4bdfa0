"""From logs to the mirror: the stage, the command and the asset."""

import json
from datetime import UTC, date, datetime, timedelta

import dagster as dg
import polars as pl
import psycopg
import pytest
import typer
from typer.testing import CliRunner

from usage_stats_dagster.mirror.cli import register
from usage_stats_dagster.mirror.stage import mirror_days, mirror_since
from usage_stats_dagster.mirror.table import MirrorError
from usage_stats_dagster.schemas import EVENTS
from usage_stats_dagster_tests.platforms import Platform, line

pytestmark = pytest.mark.services

DAYS = [date(2025, 3, 1), date(2025, 3, 2)]
BOT = "Googlebot/2.1 (+http://www.google.com/bot.html)"


@pytest.fixture
def platform(tmp_path, monkeypatch, database) -> Platform:
    """Two days of two sites, run to the end in a zone west of UTC; the mirror's environment."""
    monkeypatch.setenv("USAGE_STATS_SECRET", "a key for tests")
    monkeypatch.setenv("PGDATABASE", database)
    monkeypatch.delenv("STARTDATE", raising=False)
    sites = [
        {"id": n, "platform": "dspace", "url": f"https://{n}.example.org", "name": f"Repository {n}"} for n in (1, 2)
    ]
    made = Platform.make(tmp_path, sites=sites, platform={"time_zone": "America/Sao_Paulo"})
    for site in (1, 2):
        for day in DAYS:
            start = datetime(day.year, day.month, day.day)
            rows = [
                line(start + timedelta(hours=h, seconds=s), f"/handle/1/{s}", ip=f"192.0.{site}.{h}", zone="-0300")
                for h in (3, 12, 23)
                for s in (0, 40)
            ]
            bot = line(start + timedelta(hours=5), "/handle/1/9", ip="192.0.2.99", agent=BOT, zone="-0300")
            made.log(f"access-{day}.log", [*rows, bot], site=site)
    made.run(DAYS[0], DAYS[-1])
    return made


def table(database: str) -> list[tuple]:
    with psycopg.connect(database) as c:
        query = (
            "SELECT idsite, sitename, action_id, action_timestamp, action_url, visitorid FROM matomo ORDER BY 1, 4, 3"
        )
        return c.execute(query).fetchall()


def test_the_mirror_holds_the_lakes_events_but_robots(platform, database):
    reports = mirror_since(platform.ws, first=DAYS[0])
    assert [(r.idsite, r.day, r.rows, r.counts["robots_left_out"], r.changed) for r in reports] == [
        (s, d, 6, 1, True) for s in (1, 2) for d in DAYS
    ]
    rows = table(database)
    events = platform.ws.lake.scan(EVENTS, [(s, d) for s in (1, 2) for d in DAYS]).collect()
    kept = events.filter(pl.col("robot").is_null()).sort("idsite", "server_time")
    assert [(int(r[0]), r[3], r[5]) for r in rows] == kept.select("idsite", "server_time", "idvisitor").rows()
    assert {r[1] for r in rows} == {"Repository 1", "Repository 2"}
    assert all(r[4].startswith(f"https://{r[0]}.example.org/handle/1/") for r in rows)
    again = mirror_days(platform.ws, DAYS, [1])
    assert [(r.rows, r.changed) for r in again] == [(6, False), (6, False)]
    assert table(database) == rows


def test_it_goes_on_two_days_before_the_last_time(platform, database, monkeypatch):
    monkeypatch.setenv("STARTDATE", "2025-03-02")
    assert [(r.idsite, r.day) for r in mirror_since(platform.ws, sites=[1])] == [(1, DAYS[1])]
    # site 1 has 2 March now, and goes on from 28 February; site 2 has nothing and begins at STARTDATE
    assert [(r.idsite, r.day) for r in mirror_since(platform.ws)] == [(1, DAYS[0]), (1, DAYS[1]), (2, DAYS[1])]


def test_the_command(platform, database, monkeypatch):
    from usage_stats_dagster.mirror import cli

    monkeypatch.setattr(cli, "open_workspace", lambda: platform.ws)
    app = typer.Typer()
    register(app)
    app.command("other")(lambda: None)
    done = CliRunner().invoke(app, ["mirror", "--from", "2025-03-02", "--format", "json", "--site", "2"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == [
        {"day": "2025-03-02", "idsite": 2, "events": 7, "mirrored": 6, "inserted": 6, "removed": 0, "robots_left_out": 1}
    ]  # fmt: skip
    assert len(table(database)) == 6


def test_the_asset(platform, database, monkeypatch):
    from usage_stats_dagster.defs import postgres_mirror
    from usage_stats_dagster.resources.platform import PlatformResource

    monkeypatch.setattr(PlatformResource, "workspace", lambda self: platform.ws)
    result = dg.materialize(
        [postgres_mirror.postgres_mirror], partition_key="2025-03-01", resources={"platform": PlatformResource()}
    )
    made = result.asset_materializations_for_node("postgres_mirror")[0]
    assert made.metadata["dagster/partition_row_count"].value == 12
    assert all(c.passed for c in result.get_asset_check_evaluations())
    assert {r[3].astimezone(UTC).date() for r in table(database)} == {date(2025, 3, 1), date(2025, 3, 2)}


def test_without_a_database_it_says_what_to_set(platform, monkeypatch):
    monkeypatch.delenv("PGDATABASE")
    with pytest.raises(MirrorError, match="PGDATABASE is not set"):
        mirror_since(platform.ws)
