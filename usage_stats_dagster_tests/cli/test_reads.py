"""The commands that read figures, over a real index."""

import io
import json
import subprocess
import sys
from datetime import date

import polars as pl
import pytest
import typer
from typer.testing import CliRunner

from usage_stats_dagster.cli.reads import register
from usage_stats_dagster.index.embedded import EmbeddedIndex
from usage_stats_dagster.schemas import METRICS
from usage_stats_dagster_tests.index.documents import IDENTIFIERS, document, frame

DAYS = (date(2025, 2, 28), date(2025, 3, 1), date(2025, 3, 2))
VOLUMES = pl.DataFrame(
    {
        "idsite": [1, 1, 2, 1],
        "day": [date(2024, 12, 31), date(2025, 3, 1), date(2025, 3, 1), date(2025, 3, 2)],
        "hits": [10, 2000, 30, 40],
        "events": [9, 1500, 20, 30],
    }
)


def volumes_frame(settings, sites, start, end) -> pl.DataFrame:
    days = VOLUMES if sites is None else VOLUMES.filter(pl.col("idsite").is_in(sites))
    return days.filter(pl.col("day").is_between(start, end)) if start else days


@pytest.fixture
def usage_stats(tmp_path, monkeypatch):
    """Runs a command in a folder whose index has sites 1 and 2, three days each, 14 items a day."""
    monkeypatch.chdir(tmp_path)
    with EmbeddedIndex("data/index.db") as index:
        for site in (1, 2):
            rows = [document(site, d, i, {"br": n + 1, "ar": site}) for d in DAYS for n, i in enumerate(IDENTIFIERS)]
            index.replace(site, DAYS[0], DAYS[-1], frame(*rows))
    app = typer.Typer()
    register(app, volumes_frame)

    def invoke(*words: str, code: int = 0):
        result = CliRunner().invoke(app, list(words))
        assert result.exit_code == code, (result.output, result.exception)
        return result

    return invoke


def rows(result) -> list[dict]:
    return json.loads(result.stdout)


def test_items_by_month(usage_stats):
    got = rows(usage_stats("items", "--by", "month", "--top", "1", "--site", "2", "--format", "json"))
    assert [(r["idsite"], r["identifier"], r["period"], r["views"]) for r in got] == [
        (2, IDENTIFIERS[-1], "2025-02-01", 16),
        (2, IDENTIFIERS[-1], "2025-03-01", 32),
    ]
    assert list(got[0]) == ["idsite", "identifier", "period", *METRICS]


def test_items_of_a_range_by_country(usage_stats):
    words = (
        "items",
        "--from",
        "2025-03",
        "--to",
        "2025-03-01",
        "--countries",
        "--metric",
        "downloads",
        "--format",
        "csv",
    )
    got = pl.read_csv(io.StringIO(usage_stats(*words).stdout))
    assert got.height == 2 * 2 * len(IDENTIFIERS)
    assert got.group_by("idsite", "country").agg(pl.col("views").sum()).sort(pl.all()).rows() == [
        (1, "ar", 14), (1, "br", 105), (2, "ar", 28), (2, "br", 105)
    ]  # fmt: skip


def test_a_table_shows_twenty_items_and_the_sum_of_all(usage_stats):
    said = usage_stats("items").stdout
    assert sum(IDENTIFIERS[n] in said for n in range(len(IDENTIFIERS))) >= 10
    assert "all items" in said
    assert "the first 20 by views" in said
    assert "all items" not in usage_stats("items", "--top", "99").stdout
    assert len(rows(usage_stats("items", "--json"))) == 2 * len(IDENTIFIERS)


def test_one_item(usage_stats):
    for n, identifier in enumerate(IDENTIFIERS):
        got = rows(usage_stats("item", "--json", "--", identifier))
        assert [(r["idsite"], r["identifier"], r["views"]) for r in got] == [
            (s, identifier, 3 * (n + 1 + s)) for s in (1, 2)
        ]
    got = rows(usage_stats("item", IDENTIFIERS[0], "--by", "day", "--site", "1", "--countries", "--json"))
    assert [(r["period"], r["country"]) for r in got] == [(str(d), c) for d in DAYS for c in ("ar", "br")]
    assert "oai:host:1" in usage_stats("item", "oai:host:1").stdout


def test_an_item_that_is_not_there(usage_stats):
    error = usage_stats("item", "OAI:host:123/46", code=1)
    assert error.stdout == ""
    assert "'oai:host:123/4'" in error.stderr
    error = json.loads(usage_stats("item", "OAI:host:123/46", "--json", code=1).stderr)["error"]
    assert "oai:host:123/45" in error["nearest"]
    elsewhere = usage_stats("item", "oai:host:1", "--from", "2026-01", code=1).stderr
    assert "2025-02-28 to 2025-03-02" in elsewhere
    assert "nearest" not in elsewhere


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--from", "2025-03-02", "--to", "2025-03-01"), "--from 2025-03-02 is after --to 2025-03-01"),
        (("--from", "2025-13"), "month must be in 1..12"),
        (("--to", "2025-02-30"), "no date (day"),
        (("--to", "yesterday"), "write YYYY-MM-DD"),
        (("--from", "2025-3-1"), "write YYYY-MM-DD"),
        (("--site", "1,x"), "'x' is no site id"),
        (("--metric", "hits"), "there are views, outlinks"),
        (("--by", "week"), "week"),
        (("--top", "0"), "Invalid value for '--top'"),
    ],
)
def test_wrong_calls(usage_stats, words, says):
    for command in (("items",), ("item", "oai:host:1")):
        if not (words[0] == "--top" and command[0] == "item"):
            error = usage_stats(*command, *words, code=2)
            assert says in error.stderr
            assert error.stdout == ""


def test_no_index_and_bad_settings(usage_stats, monkeypatch):
    monkeypatch.setenv("USAGE_STATS_INDEX__PATH", "elsewhere.db")
    assert "no index at elsewhere.db" in usage_stats("items", code=1).stderr
    monkeypatch.setenv("USAGE_STATS_INDEX__KIND", "paper")
    assert "index.kind" in json.loads(usage_stats("items", "--json", code=2).stderr)["error"]["message"]


def test_volumes(usage_stats, tmp_path):
    table = usage_stats("volumes", "--png", "volumes.png").stdout.splitlines()
    bars = {line.split()[0]: line.count("█") for line in table if line.split()[:1] and line.split()[0].startswith("20")}
    assert bars == {"2024-12": 0, "2025-03": 40}
    assert (tmp_path / "volumes.png").read_bytes().startswith(b"\x89PNG")
    got = rows(usage_stats("volumes", "--year", "2025", "--by", "day", "--site", "1", "--json"))
    assert [(r["period"], r["events"]) for r in got] == [("2025-03-01", 1500), ("2025-03-02", 30)]
    assert "can't write" in usage_stats("volumes", "--png", "no/folder.png", code=1).stderr
    usage_stats("volumes", "--site", "9")


@pytest.mark.parametrize("command", [("items",), ("item", "oai:host:1"), ("volumes",)])
def test_every_format(usage_stats, command):
    answers = {f: usage_stats(*command, "--format", f).stdout_bytes for f in ("csv", "json", "parquet")}
    parquet = pl.read_parquet(io.BytesIO(answers["parquet"]))
    dates = parquet.with_columns(pl.selectors.date().cast(pl.String))
    assert dates.rows(named=True) == json.loads(answers["json"])
    assert pl.read_csv(answers["csv"]).rows() == dates.rows()
    assert parquet.height > 0
    usage_stats(*command, "--format", "xml", code=2)


def test_reading_imports_nothing_heavy():
    heavy = ("dagster", "sqlalchemy", "matplotlib", "pandas", "pyarrow", "opensearchpy")
    code = f"import usage_stats_dagster.cli.reads, sys; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
