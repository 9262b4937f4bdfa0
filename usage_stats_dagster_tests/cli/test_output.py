"""What commands print, in each format."""

import io
import json
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest
import typer

from usage_stats_dagster.cli.output import CommandError, Format, UsageError, bars, emit, fail, failing, run, total

FRAME = pl.DataFrame(
    {
        "idsite": [1000, 2],
        "identifier": ["oai:host:1", 'é "quoted", \\ \x1b[31mred'],
        "day": [date(2025, 3, 1), None],
        "at": [datetime(2025, 3, 1, 12, 30, 0, 250_000, tzinfo=UTC)] * 2,
        "views": [1234567, None],
        "share": [0.5, 1234.5],
    }
)


def test_csv_and_json_can_be_read_back(capsysbinary):
    emit(FRAME, "csv")
    back = pl.read_csv(io.BytesIO(capsysbinary.readouterr().out), try_parse_dates=True)
    assert back.drop("at").rows() == FRAME.drop("at").rows()
    emit(FRAME, "json")
    rows = json.loads(capsysbinary.readouterr().out)
    assert rows[0]["day"] == "2025-03-01"
    assert datetime.fromisoformat(rows[0]["at"]) == FRAME["at"][0]
    assert rows[1] == {**rows[1], "identifier": FRAME["identifier"][1], "day": None, "views": None}


def test_parquet_bytes_and_files(capsysbinary, tmp_path):
    emit(FRAME, "parquet")
    assert pl.read_parquet(io.BytesIO(capsysbinary.readouterr().out)).equals(FRAME)
    for format in Format:
        emit(FRAME, format, out=tmp_path / f"answer.{format}")
    assert capsysbinary.readouterr().out == b""
    assert pl.read_parquet(tmp_path / "answer.parquet").equals(FRAME)
    assert "1,234,567" in (tmp_path / "answer.table").read_text()
    assert len(list(tmp_path.iterdir())) == 4
    with pytest.raises(CommandError, match="can't write"):
        emit(FRAME, "csv", out=tmp_path / "no" / "folder.csv")


def test_nested_columns_stand_as_json_in_csv(capsysbinary):
    emit(pl.DataFrame({"id": ["a", "b"], "by": [[{"country": "br", "views": 1}], None]}), "csv")
    assert capsysbinary.readouterr().out == b'id,by\na,"[{""country"": ""br"", ""views"": 1}]"\nb,\n'


def test_parquet_is_not_for_a_terminal(monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    with pytest.raises(UsageError, match="--output"):
        emit(FRAME, "parquet")


def test_a_table_in_a_pipe_is_whole(capsys):
    long = "oai:host:" + "x" * 300
    frame = pl.DataFrame({"identifier": [long, "b"], "idsite": [1000, 2000], "views": [1234, 5]})
    emit(frame, title="Items", totals=total(frame, ["views"]), note="a note")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].strip() == "Items"
    assert lines[-1] == "a note"
    rows = [line.split() for line in lines]
    assert [long, "1000", "1,234"] in rows
    assert ["total", "1,239"] in rows
    ends = {len(line.rstrip()) for line in lines if line.rstrip().endswith(("1,234", " 5", "1,239"))}
    assert len(ends) == 1  # numbers to the right


def test_a_terminal_is_not_made_to_obey_what_logs_hold(capsys):
    emit(FRAME)
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\\x1b[31mred" in out


def test_bars():
    assert bars(pl.Series([0, 1, 50, 100, None]), width=10).to_list() == ["", "▏", "█████", "██████████", ""]
    assert bars(pl.Series([0, 0])).to_list() == ["", ""]


def test_errors_have_codes(capsys):
    for error, code in ((UsageError("bad"), 2), (CommandError("gone", nearest=["a"]), 1), (KeyError("k"), 1)):
        for as_json in (False, True):
            with pytest.raises(typer.Exit) as left, failing(KeyError, as_json=as_json):
                raise error
            assert left.value.exit_code == code
    said = capsys.readouterr()
    assert said.out == ""
    lines = said.err.splitlines()
    assert lines[0] == "error: bad"
    assert json.loads(lines[1]) == {"error": {"code": 2, "kind": "usage", "message": "bad"}}
    assert json.loads(lines[3])["error"]["nearest"] == ["a"]
    with pytest.raises(ZeroDivisionError), failing():
        raise ZeroDivisionError


def application() -> typer.Typer:
    app = typer.Typer()

    @app.command()
    def answer(n: int = 1, format: str = "table", as_json: bool = typer.Option(False, "--json")) -> None:
        if n == 0:
            fail("none", as_json=as_json)
        emit(pl.DataFrame({"n": range(n)}), "csv")

    @app.command()
    def other() -> None: ...

    return app


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["answer"], 0),
        (["answer", "--n", "x"], 2),
        (["answer", "--n", "0"], 1),
        (["nothing"], 2),
        (["answer", "--what"], 2),
    ],
)
@pytest.mark.parametrize("as_json", [["--json"], []])
def test_the_parser_s_errors_too(words, code, as_json, capsys):
    with pytest.raises(SystemExit) as left:
        run(application(), words + as_json)
    assert (left.value.code or 0) == code
    err = capsys.readouterr().err
    if code and as_json:
        assert json.loads(err)["error"]["code"] == code
    assert bool(err) == bool(code)


def test_a_reader_that_stops_early_is_no_error():
    code = "from usage_stats_dagster_tests.cli.test_output import *; run(application(), ['answer', '--n', '300000', '--json'])"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert process.stdout.readline() == b"n\n"
    process.stdout.close()
    assert process.stderr.read() == b""
    process.wait()
