"""The mirror's rows against what Matomo's Live API answered for the same day, and rules of their own."""

import gzip
import json
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from usage_stats_dagster.mirror.day import day_rows
from usage_stats_dagster.mirror.load import csv_of
from usage_stats_dagster.mirror.rows import SCHEMA
from usage_stats_dagster.mirror.table import MirrorError
from usage_stats_dagster.schemas import EVENTS, VISITS
from usage_stats_dagster_tests.mirror.lakes import at, event, lake_day, visits_of
from usage_stats_dagster_tests.shared import shared

DAY = date(2025, 3, 1)
WINDOW = (datetime(2025, 3, 1, tzinfo=UTC), datetime(2025, 3, 2, tzinfo=UTC))
ZONE = ZoneInfo("UTC")

# What the lake has no column for, and usercustomproperties, which SocialGouv's program always leaves empty.
NOT_IN_THE_LAKE = {
    "action_title",
    "devicebrand",
    "devicemodel",
    "visitortype",
    "dayssincefirstvisit",
    "userid",
    "resolution",
    "sitename",
    "usercustomproperties",
}


def as_socialgouv(visit: dict[str, Any]) -> list[dict[str, Any]]:
    """A visit of the API as rows, by the rules of SocialGouv's program."""
    rows = []
    for n, action in enumerate(visit["actionDetails"]):
        rows.append(
            {
                "action_id": f"{visit['idVisit']}_{n}",
                "action_timestamp": datetime.fromtimestamp(action["timestamp"], UTC),
                "idsite": str(visit["idSite"]),
                "idvisit": str(visit["idVisit"]),
                "actions": str(visit["actions"]),
                "country": visit["country"],
                "operatingsystemname": visit["operatingSystemName"],
                "visitduration": str(visit["visitDuration"]),
                "serverdateprettyfirstaction": datetime.fromtimestamp(visit["firstActionTimestamp"], UTC).date(),
                "action_type": action["type"],
                "action_eventcategory": "",
                "action_eventaction": "",
                "action_eventname": "",
                "action_eventvalue": 0,
                "action_timespent": str(action.get("timeSpent", "0")),
                "usercustomdimensions": "{}",
                "action_url": action["url"],
                "sitesearchkeyword": action.get("siteSearchKeyword"),
                "visitorid": visit["visitorId"],
                "referrertype": visit["referrerType"],
                "referrername": visit["referrerName"],
            }
        )
    return rows


def matomo_day(idsite: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The day's events and visits of Matomo's tables, as the lake has them."""
    events = pl.read_parquet(shared(f"fixtures/matomo/tables/site{idsite}_events.parquet"))
    visits = pl.read_parquet(shared(f"fixtures/matomo/tables/site{idsite}_visits.parquet"))
    time = pl.col("server_time").dt.cast_time_unit("us").dt.replace_time_zone("UTC")
    e = events.with_columns(
        server_time=time,
        action_name=pl.when(pl.col("action_title_type") == 8).then(pl.col("action_title")),
        # a search has no URL, from which the fixture takes the type
        action_type=pl.coalesce("action_type", pl.when(pl.col("action_title_type") == 8).then(8.0)),
    ).filter(pl.col("server_time").is_between(*WINDOW, closed="left"))
    times = [
        pl.col(c).dt.cast_time_unit("us").dt.replace_time_zone("UTC")
        for c in ("visit_first_action_time", "visit_last_action_time")
    ]
    v = visits.with_columns(times).filter(pl.col("idvisit").is_in(e["idvisit"].implode()))
    integers = {c: t for c, t in {**EVENTS.columns, **VISITS.columns}.items() if t in (pl.Int8, pl.Int16, pl.Int32)}
    return (
        [*e.select(_kept(e, EVENTS, integers)).iter_rows(named=True)],
        [*v.select(_kept(v, VISITS, integers)).iter_rows(named=True)],
    )


def _kept(frame: pl.DataFrame, table: Any, integers: dict[str, Any]) -> list[pl.Expr]:
    """The table's columns that the frame has, numbers as whole numbers."""
    names = [c for c in table.columns if c in frame.columns]
    return [pl.col(c).cast(integers[c]) if c in integers else pl.col(c) for c in names]


@pytest.mark.parametrize("idsite", [5, 8])
def test_rows_are_those_of_the_live_api(tmp_path, idsite):
    events, visits = matomo_day(idsite)
    lake = lake_day(tmp_path, idsite, DAY, events, visits)
    rows = pl.concat(day_rows(lake, idsite, DAY, WINDOW, ZONE, "tracker"))
    answer = json.loads(
        gzip.decompress(
            shared(f"fixtures/matomo/api/site{idsite}_{DAY}_Live.getLastVisitsDetails.json.gz").read_bytes()
        )
    )
    expected = {r["action_id"]: r for v in answer for r in as_socialgouv(v)}
    # The API shows visits whose last action is on the day; the lake's day has all events of the day.
    have = {r["action_id"]: r for r in rows.iter_rows(named=True) if r["action_id"] in expected}
    assert have.keys() == {k for k, r in expected.items() if WINDOW[0] <= r["action_timestamp"] < WINDOW[1]}
    compared = set(SCHEMA) - NOT_IN_THE_LAKE
    different = [
        (key, c, row[c], expected[key].get(c))
        for key, row in have.items()
        for c in compared
        if row[c] != expected[key].get(c)
    ]
    assert different == []


def test_a_visit_over_midnight_has_places_and_times_of_the_whole_visit(tmp_path):
    night = [event(7, "2025-02-28 23:50:00"), event(7, "2025-02-28 23:58:00", 3)]
    day = [event(7, "2025-03-01 00:05:00"), event(7, "2025-03-01 23:59:00")]
    after = [event(7, "2025-03-02 00:01:00"), event(7, "2025-03-02 00:02:00", 2)]
    visits = visits_of(night + day + after)
    for d, events in ((date(2025, 2, 28), night), (DAY, day), (date(2025, 3, 2), after)):
        lake = lake_day(tmp_path, 1, d, events, visits)
    rows = pl.concat(day_rows(lake, 1, DAY, WINDOW, ZONE, "s"))
    assert rows.select("action_id", "action_timespent", "actions").rows() == [
        ("7_2", str(23 * 3600 + 54 * 60), "6"),
        ("7_3", "120", "6"),
    ]


def test_events_of_another_day_are_refused(tmp_path):
    lake = lake_day(tmp_path, 1, DAY, [event(1, "2025-03-01 23:30:00")])
    zone = ZoneInfo("America/Sao_Paulo")
    window = at("2025-02-28 03:00:00"), at("2025-03-01 03:00:00")
    with pytest.raises(MirrorError, match="1 events of the lake are not of this day"):
        list(day_rows(lake, 1, DAY, window, zone, "s"))


def test_custom_variables_and_dimensions(tmp_path):
    events = [
        event(
            1,
            "2025-03-01 10:00:00",
            custom_var_k1='na"me\\',
            custom_var_v1="ç\x00\n",
            custom_var_k2=None,
            custom_var_v2="no name",
            custom_dimension_1=None,
            custom_dimension_3="own",
        ),
        event(2, "2025-03-01 10:00:00"),
    ]
    visits = visits_of(events, custom_dimension_1="of the visit", custom_dimension_3="hidden")
    rows = pl.concat(day_rows(lake_day(tmp_path, 1, DAY, events, visits), 1, DAY, WINDOW, ZONE, "s"))
    first = rows.row(0, named=True)
    assert json.loads(first["usercustomproperties"]) == {'na"me\\': "ç\ufffd\n"}
    assert json.loads(first["usercustomdimensions"]) == {"dimension1": "of the visit", "dimension3": "own"}
    assert (first["dimension1"], first["dimension2"], first["dimension3"]) == ("of the visit", None, "own")
    assert rows.row(1, named=True)["usercustomproperties"] == "{}"


def test_a_day_in_buckets_is_the_same_day(tmp_path, monkeypatch):
    events = [event(v, f"2025-03-01 {v % 24:02}:{m:02}:00") for v in range(1, 60) for m in range(3)]
    lake = lake_day(tmp_path, 1, DAY, events)
    whole = list(day_rows(lake, 1, DAY, WINDOW, ZONE, "s"))
    monkeypatch.setattr("usage_stats_dagster.mirror.day.SAMPLE", 1)
    monkeypatch.setattr("usage_stats_dagster.mirror.day.BUCKET_EVENTS", 20)
    parts = list(day_rows(lake, 1, DAY, WINDOW, ZONE, "s"))
    assert len(whole) == 1
    assert len(parts) > 5
    assert csv_of(pl.concat(parts)) == csv_of(whole[0])
    assert list(day_rows(lake_day(tmp_path / "none", 1, DAY, []), 1, DAY, WINDOW, ZONE, "s")) == []
