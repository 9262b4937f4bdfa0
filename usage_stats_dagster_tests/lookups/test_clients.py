import json

import polars as pl
import pytest

from usage_stats_dagster.lookups.clients import clients
from usage_stats_dagster_tests.shared import shared

DEVICES = {"desktop": 0, "smartphone": 1, "tablet": 2, "": None}
NAMES = {"UNK": None}


@pytest.mark.parametrize(
    ("agent", "client"),
    [
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:135.0) Gecko/20100101 Firefox/135.0", ("FF", "WIN", 0)),
        ("Mozilla/5.0 (Android 14; Mobile; rv:135.0) Gecko/135.0 Firefox/135.0", ("FM", "AND", 1)),
        (
            "Mozilla/5.0 (Linux; Android 13; SM-X200) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
            ("CM", "AND", 2),
        ),
        ("curl/8.5.0", (None, None, None)),
        (None, (None, None, None)),
    ],
)
def test_clients(agent, client):
    assert clients(pl.Series([agent], dtype=pl.String)).row(0) == client


def test_browser_system_and_device_are_matomos_for_all_its_agents_that_are_no_robots():
    theirs = [a for a in json.loads(shared("fixtures/matomo/user_agents.json").read_text()) if not a["excl_bot"]]
    expected = [
        (NAMES.get(a["browser"], a["browser"]), NAMES.get(a["os"], a["os"]), DEVICES[a["device"]]) for a in theirs
    ]

    ours = clients(pl.Series([a["ua"] for a in theirs])).rows()

    assert {a["ua"]: (o, e) for a, o, e in zip(theirs, ours, expected, strict=True) if o != e} == {}
