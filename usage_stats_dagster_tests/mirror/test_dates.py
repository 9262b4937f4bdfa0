"""SocialGouv's rules for the days to mirror."""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from usage_stats_dagster.mirror.dates import days_to_mirror
from usage_stats_dagster.mirror.table import Destination, MirrorError, destination

NOW = datetime(2025, 3, 10, 1, 30, tzinfo=UTC)
LAST = datetime(2025, 3, 8, 0, 10, tzinfo=UTC)
D = date


@pytest.mark.parametrize(
    ("environ", "argument", "last", "first"),
    [
        ({"STARTDATE": "2024-01-01", "FORCE_STARTDATE": "true"}, D(2025, 1, 5), LAST, D(2025, 1, 5)),
        ({"STARTDATE": "2024-01-01", "FORCE_STARTDATE": "true"}, None, LAST, D(2024, 1, 1)),
        ({"STARTDATE": "2024-01-01", "FORCE_STARTDATE": "false"}, None, LAST, D(2025, 3, 6)),
        ({"STARTDATE": "2024-01-01"}, None, LAST, D(2025, 3, 6)),
        ({"FORCE_STARTDATE": "true"}, None, LAST, D(2025, 3, 6)),
        ({"STARTDATE": "2024-01-01T00:00:00Z"}, None, None, D(2024, 1, 1)),
        ({"INITIAL_OFFSET": "10"}, None, None, D(2025, 2, 28)),
        ({}, None, None, D(2025, 3, 7)),
    ],
)
def test_the_first_day(environ, argument, last, first):
    found = days_to_mirror(environ, argument=argument, last=last, now=NOW, zone=ZoneInfo("UTC"))
    assert found == (first, D(2025, 3, 11))


def test_days_are_the_platforms():
    found = days_to_mirror({}, argument=None, last=LAST, now=NOW, zone=ZoneInfo("America/Sao_Paulo"))
    assert found == (D(2025, 3, 5), D(2025, 3, 10))


@pytest.mark.parametrize(
    "environ", [{"STARTDATE": "yesterday"}, {"INITIAL_OFFSET": "-3"}, {"STARTDATE": "2024-01-01", "FORCE_STARTDATE": "si"}]
)  # fmt: skip
def test_a_value_that_is_none_is_named(environ):
    with pytest.raises(MirrorError, match="|".join(environ)):
        days_to_mirror(environ, argument=None, last=None, now=NOW, zone=ZoneInfo("UTC"))


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"PGDATABASE": "stats"}, Destination("stats", "matomo")),
        ({"PGDATABASE": "stats", "MATOMO_TABLE_NAME": "m"}, Destination("stats", "m")),
        ({"PGDATABASE": "s", "DESTINATION_TABLE": "matomo_partitioned"}, Destination("s", "matomo_partitioned", True)),
        (
            {"PGDATABASE": "s", "DESTINATION_TABLE": "p", "PARTITIONED_MATOMO_TABLE_NAME": "p"},
            Destination("s", "p", True),
        ),
    ],
)
def test_the_destination(environ, expected):
    assert destination(environ) == expected
