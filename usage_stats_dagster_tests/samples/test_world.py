"""The sample is the same for a seed, is what it says it is, and can be read by the formats it names."""

import gzip
import tomllib
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from usage_stats_dagster.logs.blocks import LONGEST_LINE, BlockReader
from usage_stats_dagster.logs.formats import named
from usage_stats_dagster.logs.parse import parse
from usage_stats_dagster.logs.sniff import detect
from usage_stats_dagster.samples.addresses import BLOCKS, BLOCKS_V6
from usage_stats_dagster.samples.world import SITES, SampleFile, SampleReport, make_sample
from usage_stats_dagster.settings import Settings

FIRST = date(2025, 3, 1)


@pytest.fixture(scope="module")
def week(tmp_path_factory) -> SampleReport:
    return make_sample(tmp_path_factory.mktemp("week"), days=7, seed=1, first_day=FIRST)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def read(week) -> list[tuple[SampleFile, pl.DataFrame]]:
    """All lines of each log, as the reader and the format that the sample names see them."""
    out = []
    for file in week.logs:
        lines = pl.concat([b.text() for b in BlockReader(file.path, whole_lines_only=False) if b.long_line is None])
        fields = parse(lines, named(file.format), None, "UTC").with_columns(line=lines, site=pl.lit(file.idsite))
        out.append((file, fields))
    return out


def test_a_seed_decides_every_byte(tmp_path):
    for folder, seed in (("a", 5), ("b", 5), ("c", 6)):
        make_sample(tmp_path / folder, days=2, seed=seed, first_day=FIRST)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert contents(tmp_path / "a") != contents(tmp_path / "c")


def test_sizes_are_those_of_a_demo(week):
    assert 60_000 <= week.lines <= 120_000
    assert week.bytes < 40_000_000
    assert all(f.lines > 50 for f in week.logs)


def test_the_settings_are_valid_and_expect_the_files_that_there_are(week):
    settings = Settings(**tomllib.loads(week.settings.read_text()))
    for site in SITES:
        for k in range(7):
            day = FIRST + timedelta(k)
            there = [f for f in week.logs if f.idsite == site.id and f.day == day]
            assert settings.site(site.id).expected_files(day) == len(there)


def test_every_file_parses_as_its_format(read):
    spilled = 0
    for file, fields in read:
        good = fields.filter(pl.col("matched") & pl.col("time").is_not_null())
        assert file.lines - file.broken <= good.height <= file.lines, file.path
        assert good["status"].is_between(200, 599).all()
        # A log opens with what was asked for before midnight and answered after it, never with more.
        assert set(good["day"]) <= {file.day, file.day - timedelta(1)}
        assert good.filter(pl.col("day") == file.day).height > 0.9 * good.height
        spilled += good.filter(pl.col("day") != file.day).height
    assert spilled > 0


def test_the_format_is_told_from_the_lines(read):
    for site in SITES:
        file, fields = next(r for r in read if r[0].idsite == site.id)
        assert detect(fields["line"].head(300).to_list()).name == named(file.format).name


def test_the_logs_hold_what_real_ones_do(read):
    lines = pl.concat([fields for _, fields in read])
    share = lines.select(
        static=pl.col("path").str.contains(r"\.(css|js|png|svg|ico|woff2|jpg)(\?|$)").mean(),
        errors=(pl.col("status") >= 400).mean(),
        redirects=(pl.col("status").is_between(300, 399) & (pl.col("status") != 304)).mean(),
        robots=pl.col("user_agent").str.contains("(?i)bot|agent|crawl|python|curl").mean(),
        ipv6=pl.col("ip").str.contains(":").mean(),
    ).row(0, named=True)
    assert 0.2 < share["static"] < 0.6
    assert 0.005 < share["errors"] < 0.1
    assert 0.003 < share["redirects"] < 0.1
    assert 0.05 < share["robots"] < 0.4
    assert 0.01 < share["ipv6"] < 0.2
    for text in (r"\"kiosk\"", "utm_campaign", "free-traffic-offers", r"\xe9", "HEAD /", r"\x16\x03"):
        assert lines["line"].str.contains(text, literal=True).any(), text
    # Double clicks on both sides of the thirty seconds.
    again = lines.sort("site", "ip", "user_agent", "path", "time").select(
        gap=(pl.col("time").diff().over("site", "ip", "user_agent", "path").dt.total_seconds())
    )["gap"]
    assert {29, 30, 31} <= set(again.drop_nulls())


def test_some_visits_go_on_past_midnight(read):
    people = pl.concat([fields for file, fields in read if file.idsite == 1]).filter(
        pl.col("user_agent").str.starts_with("Mozilla")
    )
    before_and_after = (
        people.filter(
            pl.col("time").dt.time().is_between(pl.time(23, 40), pl.time(23, 59, 59)) | (pl.col("time").dt.hour() == 0)
        )
        .group_by("ip", "user_agent")
        .agg(days=pl.col("day").n_unique(), span=pl.col("time").max() - pl.col("time").min())
    )
    assert before_and_after.filter(pl.col("days") == 2, pl.col("span") < timedelta(hours=1)).height > 0


def test_one_line_is_longer_than_any_real_one(week):
    first = gzip.decompress(week.logs[0].path.read_bytes())
    assert [len(line) > LONGEST_LINE for line in first.splitlines()].count(True) == 1


def test_logs_look_closed_at_the_end_of_their_part_of_the_day(week):
    for file in week.logs:
        changed = datetime.fromtimestamp(file.path.stat().st_mtime, UTC)
        assert file.day <= changed.date() <= file.day + timedelta(1)


def test_addresses_are_of_the_country_they_stand_for():
    iptocc = pytest.importorskip("iptocc")
    for country, blocks in BLOCKS.items():
        for block in blocks:
            assert {iptocc.country_code(f"{block}.{c}.{d}") for c in (0, 99, 201, 255) for d in (1, 200)} == {
                country.upper()
            }
    for country, prefix in BLOCKS_V6.items():
        assert {iptocc.country_code(f"{prefix}:{a:x}::1") for a in (1, 0x7FFF)} == {country.upper()}


def test_no_days_make_no_sample(tmp_path):
    with pytest.raises(ValueError, match="at least one day"):
        make_sample(tmp_path, days=0, seed=1, first_day=FIRST)
