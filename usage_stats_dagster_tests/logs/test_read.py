"""Logs to hits: outcomes, values, time zones, and the reader's account of what it read."""

from __future__ import annotations

from datetime import UTC, date, datetime

import polars as pl
import pytest

from usage_stats_dagster import schemas
from usage_stats_dagster.logs.judge import sample_of
from usage_stats_dagster.logs.outcomes import OUTCOMES
from usage_stats_dagster.logs.sniff import UnknownFormatError
from usage_stats_dagster.settings import PlatformSection, RulesSection, Settings, SettingsError
from usage_stats_dagster_tests.logs.reading import line, read, write
from usage_stats_dagster_tests.shared import shared


def test_the_importer_s_sums():
    """19,990 lines as the upstream importer counts them; its 1,321 robots are hits here, with their reason."""
    logs = [read(p) for p in sorted(shared("fixtures/matomo/logs").glob("*.gz"))]
    total = {o: sum(log.outcomes.get(o, 0) for log in logs) for o in OUTCOMES}
    assert total == {
        "invalid": 28, "http_error": 787, "http_redirect": 414, "excluded": 0, "static": 9536,
        "spam_referrer": 0, "outside_day": 0, "hit": 7904 + 1321,
    }  # fmt: skip
    assert sum(log.summary.lines for log in logs) == 19_990
    assert sum(log.rejects.height for log in logs) == 28


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        (line("/a.css"), "static"),
        (line("/a.CSS?v=1"), "static"),
        (line("/bitstream/1/a.pdf.jpg"), "static"),
        (line("/robots.txt"), "static"),
        (line("/sitemap.xml"), "static"),
        (line("/a.css", 404), "http_error"),
        (line("/x", 500), "http_error"),
        (line("/x", 302), "http_redirect"),
        (line("/x", 304), "hit"),
        (line("/x", 206), "hit"),
        (line("/private/x"), "excluded"),
        (line("/private/a.css", 404), "http_error"),
        (line("/private/a.css"), "excluded"),
        (line("/x", when="31/Feb/2025:10:00:00 +0000"), "invalid"),
        (line("/x", 404, when="31/Feb/2025:10:00:00 +0000"), "http_error"),
        (line("/x", when="01/Mar/1999:10:00:00 +0000"), "outside_day"),
        (line("/x").replace('"-"', '"https://spam.example/"'), "spam_referrer"),
        ("\n", "invalid"),
        ("garbage\n", "invalid"),
    ],
)
def test_one_outcome_a_line(tmp_path, text, outcome):
    log = read(write(tmp_path, line() + text), {"exclude": ["^/private/"]})
    expected = {"hit": 1, outcome: 1} if outcome != "hit" else {"hit": 2}
    assert log.outcomes == expected


def test_a_hit(tmp_path):
    text = line("/bitstream/a%C3%A9.PDF?x=1", ip="2001:db8:1:2::9").replace('"-"', '"https://r.example/"')
    log = read(write(tmp_path, text.replace("Mozilla", "GoodBot")))
    hit = log.hits.row(0, named=True)
    assert hit | {"visitor": 0, "tie": 0} == {
        "time": datetime(2025, 3, 1, 10, tzinfo=UTC), "visitor": 0, "tie": 0, "location_ip": "2001:db8:1::", "location_country": "xz",
        "user_agent": "GoodBot/5.0", "host": None, "url": "/bitstream/a%C3%A9.PDF?x=1", "url_referrer": "https://r.example/",
        "action_type": 3, "http_method": "GET", "http_status": 200, "robot": "test: bot", "line": 1, "day": date(2025, 3, 1),
    }  # fmt: skip
    assert 0 <= hit["visitor"] < 1 << 60
    assert hit["tie"] >= 0
    schemas.HITS.conform(log.hits.drop("day").with_columns(log_identity=pl.lit("x")))


def test_visitor_is_address_and_agent(tmp_path):
    addresses = [
        "192.0.2.1",
        "::ffff:192.0.2.1",
        "192.0.2.1:4711",
        "10.0.0.1, 192.0.2.1",
        "198.51.100.7",
        "unknown.example.org",
    ]
    log = read(write(tmp_path, "".join(line(ip=ip) for ip in addresses)))
    assert log.hits["location_ip"].to_list()[:3] == ["192.0.0.0"] * 3
    assert log.hits["location_ip"].to_list()[4:] == ["198.51.0.0", None]
    assert log.hits["visitor"][:3].n_unique() == 1
    assert log.hits["visitor"].n_unique() >= 3


def test_forwarded_list_gives_the_first_public_address(tmp_path):
    log = read(
        write(tmp_path, line(ip="10.1.2.3, 8.8.4.4, 1.1.1.1") + line(ip="8.8.4.4") + line(ip="10.1.2.3,192.168.0.1"))
    )
    assert log.hits["location_ip"].to_list() == ["8.8.0.0", "8.8.0.0", "10.1.0.0"]
    assert log.hits["visitor"][0] == log.hits["visitor"][1]


def test_store_ips(tmp_path):
    log = read(write(tmp_path, line(ip="[2001:DB8::1]:443")), settings=Settings(rules=RulesSection(store_ips=True)))
    assert log.hits["location_ip"].to_list() == ["2001:db8::1"]


def test_days_of_the_platform_s_zone_over_a_clock_change(tmp_path):
    """Berlin goes to summer time on 2025-03-30 at 01:00 UTC: the log's offset changes, no moment is doubled or lost."""
    moments = [
        "29/Mar/2025:23:30:00 +0100",
        "30/Mar/2025:00:30:00 +0100",
        "30/Mar/2025:01:59:59 +0100",
        "30/Mar/2025:03:00:00 +0200",
    ]
    settings = Settings(platform=PlatformSection(time_zone="Europe/Berlin"))
    log = read(write(tmp_path, "".join(line(when=m) for m in moments)), settings=settings)
    assert log.hits["time"].diff().dt.total_seconds().to_list() == [None, 3600, 5399, 1]
    assert log.hits["day"].to_list() == [date(2025, 3, 29)] + [date(2025, 3, 30)] * 3


def test_lines_of_other_days_and_a_clock_that_jumps_back(tmp_path):
    moments = ["01/Mar/2025:10:00:00 +0000", "01/Mar/2024:10:00:00 +0000", "01/Mar/2025:09:00:00 +0000"]
    log = read(write(tmp_path, "".join(line(when=m) for m in moments)))
    assert log.hits["day"].to_list() == [date(2025, 3, 1), date(2024, 3, 1), date(2025, 3, 1)]
    assert log.hits["line"].to_list() == [1, 2, 3]
    assert (log.summary.first_time, log.summary.last_time) == (
        datetime(2024, 3, 1, 10, tzinfo=UTC),
        datetime(2025, 3, 1, 10, tzinfo=UTC),
    )


def test_w3c_headers_are_counted_but_no_rejects(tmp_path):
    header = "#Version: 1.0\n#Fields: date time c-ip cs-method cs-uri-stem sc-status\n"
    first, second = "2025-03-01 10:00:00 192.0.2.1 GET /a 200\n", "2025-03-01 10:00:01 /b 192.0.2.1 GET 200\n"
    other = "#Fields: date time cs-uri-stem c-ip cs-method sc-status\n"
    for block_bytes in (40, 1 << 20):
        log = read(
            write(tmp_path, header + first + "broken\n" + header + first + other + second), block_bytes=block_bytes
        )
        assert log.hits["url"].to_list() == ["/a", "/a", "/b"]
        assert log.outcomes == {"hit": 3, "invalid": 6}
        assert log.rejects["head"].to_list() == ["broken"]


def test_w3c_log_that_is_all_header(tmp_path):
    log = read(write(tmp_path, "#Version: 1.0\n#Fields: date time c-ip cs-method cs-uri-stem sc-status\n"))
    assert (log.summary.format, log.outcomes, log.rejects.height) == ("w3c_extended", {"invalid": 2}, 0)


def test_sample_tells_a_copy(tmp_path):
    """Small logs are compared by their smallest hashes: a copy's are the same, another log's are not."""
    whole = [line(f"/handle/{i}") for i in range(3000)]
    samples = [
        sample_of([b.sample for b in read(write(tmp_path, "".join(w)), block_bytes=n).blocks])
        for w, n in ((whole, 9999), (whole[::-1], 1 << 20))
    ]
    assert samples[0].equals(samples[1])
    assert len(samples[0]) == 1024


def test_exclude_that_rust_can_t_match(tmp_path):
    with pytest.raises(SettingsError, match="exclude"):
        read(write(tmp_path, line()), {"exclude": ["^/(?=x)"]})


def test_unknown_format(tmp_path):
    with pytest.raises(UnknownFormatError, match="can't tell the log's format"):
        read(write(tmp_path, bytes(range(256)) * 100))
