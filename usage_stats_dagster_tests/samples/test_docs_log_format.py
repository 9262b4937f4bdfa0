"""The examples of docs/adding-a-log-format.md work as they stand there."""

import re
import textwrap
from pathlib import Path

import polars as pl
import pytest

from usage_stats_dagster.logs.formats import ALIASES, NAMES, named

PAGE = (Path(__file__).parents[2] / "docs" / "adding-a-log-format.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", PAGE, re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(body) for _, body in found]


def test_own_pattern(tmp_path, monkeypatch):
    (tmp_path / "logs" / "1").mkdir(parents=True)
    (tmp_path / "logs" / "1" / "gateway.log").write_text(blocks("text")[0])
    (tmp_path / "usage_stats.toml").write_text(blocks("toml")[0])
    monkeypatch.chdir(tmp_path)
    scope = {}
    exec(blocks("python")[0], scope)
    rows = scope["parse"](pl.Series(scope["lines"]), scope["log_format"], None, "UTC")
    assert rows["path"].to_list() == ["/handle/123456789/12?mode=full", "/bitstream/handle/123456789/12/thesis.pdf"]
    assert rows["referrer"].to_list() == ["https://www.google.com/", None]
    assert str(rows["time"][0]) == "2025-03-01 10:01:00+00:00"
    assert rows["status"].to_list() == [200, 200]


def test_built_in_format():
    _, definition, check = blocks("python")
    scope = {"lines": pl.Series(blocks("text")[1].splitlines())}
    exec(definition + check, scope)
    assert scope["rows"]["host"].to_list() == ["repository.example.org"] * 2


def test_the_table_names_all_formats_and_no_other():
    table = PAGE.split("## What is built in")[1].split("##")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    told = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    assert told == set(NAMES) | set(ALIASES)
    assert all(named(name) for name in told)


@pytest.mark.parametrize("pattern", ["epoch", "epoch ms"])
def test_epoch_times_in_own_patterns(pattern):
    from usage_stats_dagster.logs.formats.regex import CustomFormat

    seconds = {"epoch": "1740823260.5", "epoch ms": "1740823260500"}[pattern]
    own = CustomFormat(r"^(?P<time>\S+) (?P<path>\S+)", pattern)
    fields = own.fields(pl.Series([f"{seconds} /a"]), None)
    assert str(own.utc(fields["time"])[0]) == "2025-03-01 10:01:00.500000+00:00"
