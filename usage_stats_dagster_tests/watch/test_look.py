"""Every warning on a small world that went through the whole pipeline: once where it should be told, once where not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from usage_stats_dagster.pipeline import status
from usage_stats_dagster.watch.findings import KINDS, Kind
from usage_stats_dagster.watch.look import look
from usage_stats_dagster_tests.platforms import DAY, FIREFOX, HOST, Platform, line

SITE = {"id": 1, "platform": "dspace", "url": f"https://{HOST}"}
SERVERS = {**SITE, "path_pattern": r"(?P<server>web\d)-(?P<date>\d{4}-\d\d-\d\d)"}
DAYS = [DAY + timedelta(k) for k in range(10)]
AFTER = DAYS[-1] + timedelta(1)


def hits(
    day: date,
    count: int,
    *,
    hours: Sequence[int] = range(24),
    url: str = "/handle/1/1",
    agent: str = FIREFOX,
    ip: int = 0,
) -> list[str]:
    """So many hits of the day, each by a visitor of its own, spread over the hours given."""
    rows = []
    for k in range(count):
        hour = hours[k * len(hours) // count]
        at = datetime(day.year, day.month, day.day, hour) + timedelta(seconds=37 * k % 3600)
        rows.append(line(at, url, ip=f"10.{ip}.{k // 250}.{k % 250}", agent=agent))
    return sorted(rows, key=lambda r: r.split("[")[1])


def told(platform: Platform, kind: Kind, days: Iterable[date] | None = None, **options: Any) -> list[tuple[date, str]]:
    """Day and message of the warnings of one kind; they are the same when only that kind is asked for."""
    days = None if days is None else list(days)
    options = {"today": AFTER, **options}
    seen = look(platform.ws, days, **options)
    assert look(platform.ws, days, kinds=[kind], **options).findings.equals(seen.of(kind))
    return seen.of(kind).select("day", "message").rows()


def made(folder: Path, logs: dict[str, list[str]], **sections: Any) -> Platform:
    platform = Platform.make(folder, **sections)
    for name, rows in logs.items():
        platform.log(name, rows)
    platform.run()
    return platform


def test_nothing_is_said_of_an_empty_platform(tmp_path: Path) -> None:
    assert not look(Platform.make(tmp_path).ws).findings.height


def test_quiet_days_are_quiet(tmp_path: Path) -> None:
    platform = made(tmp_path, {f"{d}.log": hits(d, 720) for d in DAYS})
    assert look(platform.ws, today=AFTER).findings.rows() == []


# --- a missing hour -----------------------------------------------------------------------------------------------------

ALL_BUT = [h for h in range(24) if h not in (11, 12)]


def test_a_missing_hour_between_busy_ones(tmp_path: Path) -> None:
    platform = made(
        tmp_path, {f"{d}.log": hits(d, 720) if d != DAYS[1] else hits(d, 660, hours=ALL_BUT) for d in DAYS[:3]}
    )
    ((day, message),) = told(platform, "missing_hour", DAYS[:3])
    assert day == DAYS[1]
    assert message == (
        "no server has a hit from 2025-03-02 11:00 to 13:00, between hours of 30 and 30 hits: is part of a log missing?"
    )
    assert told(platform, "missing_hour", [DAYS[0], DAYS[2]]) == []


@pytest.mark.parametrize(
    ("zone", "days", "per_hour"),
    [
        ("UTC", {DAYS[0]: ALL_BUT, DAYS[1]: ALL_BUT}, 30),  # every day's quiet time
        ("UTC", {DAYS[0]: range(24), DAYS[1]: ALL_BUT}, 10),  # not busy enough to be sure
        ("UTC", {DAYS[0]: range(24), DAYS[1]: range(14)}, 30),  # nothing is known of what comes after
    ],
)
def test_hours_that_are_no_gap(tmp_path: Path, zone: str, days: dict[date, Sequence[int]], per_hour: int) -> None:
    platform = made(tmp_path, {f"{d}.log": hits(d, per_hour * len(h), hours=h) for d, h in days.items()})
    assert told(platform, "missing_hour", [DAYS[1]]) == []


def test_a_gap_over_midnight_is_told_when_its_end_is_there(tmp_path: Path) -> None:
    first = DAYS[0]
    platform = made(
        tmp_path, {f"{d}.log": hits(d, 720) for d in (first,)} | {"b.log": hits(DAYS[1], 600, hours=range(20))}
    )
    assert told(platform, "missing_hour", [DAYS[1]]) == []
    platform.log("c.log", hits(DAYS[2], 720, hours=range(2, 24)))
    platform.run()
    for days in ([DAYS[1]], [DAYS[2]], DAYS[:3]):
        ((_, message),) = told(platform, "missing_hour", days)
        assert "from 2025-03-02 20:00 to 2025-03-03 02:00" in message


def test_a_clock_that_is_put_forward_makes_no_gap(tmp_path: Path) -> None:
    day = date(2025, 3, 30)
    lines = [
        line(datetime(2025, 3, 30) + timedelta(minutes=2 * k), ip=f"10.0.{k // 250}.{k % 250}") for k in range(700)
    ]
    platform = made(tmp_path, {"a.log": lines}, platform={"time_zone": "Europe/Lisbon"})
    assert told(platform, "missing_hour", [day], today=day + timedelta(1)) == []


# --- a silent server ----------------------------------------------------------------------------------------------------


def two_servers(folder: Path, second: dict[date, int]) -> Platform:
    logs = {f"web1-{d}.log": hits(d, 240) for d in DAYS[:4]}
    logs |= {f"web2-{d}.log": hits(d, n, ip=1) for d, n in second.items()}
    return made(folder, logs, sites=[SERVERS])


def test_one_of_two_servers_is_silent(tmp_path: Path) -> None:
    platform = two_servers(tmp_path, {DAYS[0]: 240, DAYS[1]: 200})
    found = told(platform, "silent_server", DAYS[:4])
    assert found == [
        (d, "server web2 has 0 lines, usually 220, while web1 goes on: is its log missing?") for d in DAYS[2:4]
    ]
    platform.log(f"web2-{DAYS[2]}.log", hits(DAYS[2], 60, ip=1))
    platform.run()
    assert [d for d, _ in told(platform, "silent_server", DAYS[:4])] == [DAYS[3]]


def test_two_servers_that_both_work_or_both_don_t(tmp_path: Path) -> None:
    platform = two_servers(tmp_path, dict.fromkeys(DAYS[:4], 240))
    assert told(platform, "silent_server", DAYS) == []


def test_a_server_that_stops_for_hours_is_seen_though_another_covers_it(tmp_path: Path) -> None:
    logs = {f"web1-{DAY}.log": hits(DAY, 720), f"web2-{DAY}.log": hits(DAY, 720, hours=ALL_BUT, ip=1)}
    platform = made(tmp_path, logs, sites=[SERVERS])
    ((_, message),) = told(platform, "missing_hour", [DAY])
    assert message.startswith("server web2 sent nothing from 2025-03-01 11:00 to 13:00")


# --- a day missing or late ----------------------------------------------------------------------------------------------


def test_a_day_missing_between_others_and_one_that_is_late(tmp_path: Path) -> None:
    days = [DAYS[0], DAYS[1], DAYS[3], DAYS[4]]
    logs = {f"web1-{d}.log": hits(d, 30) for d in days} | {f"web2-{d}.log": hits(d, 30, ip=1) for d in days[:3]}
    platform = made(tmp_path, logs, sites=[{**SERVERS, "files_per_day": 2}])
    today = DAYS[4] + timedelta(1)
    missing = (DAYS[2], "3 days ago, no log of the day: put it into the folder, or say `usage-stats day lost`")
    assert told(platform, "day_missing_or_late", today=today) == [missing]  # the 5th has a day's time
    today += timedelta(2)
    late = told(platform, "day_missing_or_late", today=today)
    assert [d for d, _ in late] == [DAYS[2], DAYS[4], DAYS[5]]
    assert late[1][1] == "3 days ago, only 1 of 2 logs: `usage-stats logs` says which"
    for day in (DAYS[2], DAYS[4], DAYS[5]):
        status.decide(platform.ws, 1, day, "lost", "the disk died")
    assert told(platform, "day_missing_or_late", today=today) == []


def test_nothing_of_an_archive_is_late(tmp_path: Path) -> None:
    platform = made(tmp_path, {f"{d}.log": hits(d, 30) for d in DAYS[:3]})
    assert told(platform, "day_missing_or_late", today=DAYS[0] + timedelta(400)) == []
    assert len(told(platform, "day_missing_or_late", today=DAYS[2] + timedelta(5))) == 3


def test_no_log_is_expected_on_some_days(tmp_path: Path) -> None:
    expected = [{"files": 0, "since": DAYS[1], "until": DAYS[2]}, {"files": 1}]
    logs = {f"{d}.log": hits(d, 30) for d in (DAYS[0], DAYS[3])}
    platform = made(tmp_path, logs, sites=[{**SITE, "files_per_day": expected}])
    assert told(platform, "day_missing_or_late", today=DAYS[4]) == []


# --- a spike ------------------------------------------------------------------------------------------------------------

MONTHS = [date(2024, 11, 1), date(2024, 12, 1), date(2025, 1, 1)]


@pytest.mark.parametrize(("count", "spike"), [(3 * 40 + 100, True), (3 * 40 + 99, False)])
def test_a_spike_by_counters_rule(tmp_path: Path, count: int, spike: bool) -> None:
    logs = {f"{m}.log": hits(m, n) for m, n in zip(MONTHS, (30, 40, 50), strict=True)}
    platform = made(tmp_path, {**logs, "spike.log": hits(date(2025, 2, 5), count)})
    found = told(platform, "usage_spike", [date(2025, 2, 5)])
    names = ["total item investigations", "unique item investigations"] if spike else []
    assert found == [
        (date(2025, 2, 1), f"2025-02 has 220 {n}, 5.5 times the mean of the 3 months before") for n in names
    ]
    assert told(platform, "usage_spike", [date(2025, 1, 1)]) == []  # two months are no past


@pytest.mark.parametrize(
    ("last", "url", "drop"), [(28, "/contact", True), (27, "/contact", False), (28, "/handle/1/1", False)]
)
def test_a_drop_is_told_when_the_month_is_whole(tmp_path: Path, last: int, url: str, drop: bool) -> None:
    logs = {f"{m}.log": hits(m, 120) for m in MONTHS} | {"feb.log": hits(date(2025, 2, 1), 28, url=url)}
    platform = made(tmp_path, logs)
    for k in range(2, last + 1):
        status.decide(platform.ws, 1, date(2025, 2, k), "lost", "the site was closed")
    found = told(platform, "usage_spike", [date(2025, 2, 1)], today=date(2025, 3, 1))
    names = ["total item investigations", "unique item investigations"] if drop else []
    assert [m for _, m in found] == [f"2025-02 has 0 {n}, the 3 months before 120 in the mean" for n in names]


# --- shares -------------------------------------------------------------------------------------------------------------


def mixed(folder: Path, last: int, *, usual: int, days: int = 9, **other: str) -> Platform:
    """Days of 250 hits, `usual` of them other than the rest, and a last one with `last` of them."""
    logs = {
        f"{d}.log": [*hits(d, 250 - n), *hits(d, n, ip=9, **other)]
        for d in DAYS[:days]
        for n in [last if d == DAYS[days - 1] else usual]
    }
    return made(folder, logs)


@pytest.mark.parametrize(
    ("usual", "last", "message"),
    [
        (25, 150, "60% of 250 events are robots', usually 10%: a new robot, or one that hides no longer?"),
        (150, 25, "10% of 250 events are robots', usually 60%: do robots pass for people now?"),
        (25, 50, None),
    ],
)
def test_the_robots_share(tmp_path: Path, usual: int, last: int, message: str | None) -> None:
    platform = mixed(tmp_path, last, usual=usual, agent="Googlebot/2.1")
    assert told(platform, "robots_share", DAYS[:9]) == ([(DAYS[8], message)] if message else [])


@pytest.mark.parametrize(("usual", "last", "said"), [(10, 60, "24% of 250"), (10, 20, None), (10, 200, "80% of 250")])
def test_content_without_an_item(tmp_path: Path, usual: int, last: int, said: str | None) -> None:
    platform = mixed(tmp_path, last, usual=usual, url="/contact")
    found = told(platform, "unmapped_share", DAYS[:9])
    assert [(d, m[:10]) for d, m in found] == ([(DAYS[8], said)] if said else [])


def test_shares_of_a_few_days_are_compared_with_nothing_but_half_is_too_much_at_once(tmp_path: Path) -> None:
    platform = mixed(tmp_path, 130, usual=10, days=3, url="/contact")
    assert [d for d, _ in told(platform, "unmapped_share", DAYS)] == [DAYS[2]]
    assert told(platform, "robots_share", DAYS) == []


def test_each_kind_has_been_asked_for() -> None:
    assert set(KINDS) == {
        "missing_hour",
        "silent_server",
        "day_missing_or_late",
        "usage_spike",
        "unmapped_share",
        "robots_share",
    }
