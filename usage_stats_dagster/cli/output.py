"""What commands print: frames in four formats, bars, errors.

What belongs here: how an answer or an error reaches terminal, pipe or file. What does not: which answer (`reads.py` and
the other commands). Answers go to stdout, everything else to stderr, so that a pipe carries nothing but the answer.
"""

from __future__ import annotations

import errno
import io
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, NoReturn

import polars as pl
import typer

USAGE = 2
FAILURE = 1

PLAIN_NUMBERS = frozenset({"idsite", "year", "month", "day", "line", "http_status", "action_type"})
"""Integer columns that name something: no thousands separator, left as they are."""

_SHORT = {
    "total_item_investigations": "total\ninv.",
    "unique_item_investigations": "unique\ninv.",
    "total_item_requests": "total\nreq.",
    "unique_item_requests": "unique\nreq.",
}
"""Headings of tables, where COUNTER's names are wider than a terminal."""

_GAP = 2  # spaces between columns
_NARROWEST = 16  # characters that a text column keeps
_ISO_TIME = "%Y-%m-%dT%H:%M:%S%.fZ"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_EIGHTHS = " ▏▎▍▌▋▊▉"
_WAYS = {
    errno.ENOSPC: "make room and run again",
    errno.EDQUOT: "make room within your quota and run again",
    errno.EROFS: "make it writable, or name other folders in storage.root, ledger.url and index.path",
}


class Format(StrEnum):
    """The formats of every command that answers with a table."""

    table = "table"
    csv = "csv"
    json = "json"
    parquet = "parquet"


class UsageError(Exception):
    """The command was called wrongly; exit code 2."""


class CommandError(Exception):
    """The command can't answer; exit code 1. `details` goes into machine-readable errors."""

    def __init__(self, message: str, **details: Any) -> None:  # noqa: ANN401
        super().__init__(message)
        self.details = details


def emit(
    frame: pl.DataFrame,
    format: Format | str = Format.table,
    *,
    title: str | None = None,
    out: Path | None = None,
    totals: pl.DataFrame | None = None,
    note: str | None = None,
) -> None:
    """Print the frame, or write it to the file `out`.

    table: numbers to the right with thousands separators, nothing cut off; `totals` are rows under a rule (columns of
    `frame`, missing ones blank), `title` and `note` stand above and below. csv, json (list of objects) and parquet carry
    the frame alone: dates ISO, times UTC in ISO 8601. Raises UsageError for parquet to a terminal, CommandError when `out`
    can't be written.
    """
    format = Format(format)
    if format is Format.table and out is None:
        _print_table(frame, title, totals, note, sys.stdout)
        return
    if format is Format.table:
        text = io.StringIO()
        _print_table(frame, title, totals, note, text)
        data = text.getvalue().encode()
    else:
        data = _encoded(frame, format)
    if out is not None:
        _write(out, data)
    elif format is Format.parquet and sys.stdout.isatty():
        msg = "parquet is not for a terminal: name a file with --output, or redirect"
        raise UsageError(msg)
    else:
        typer.get_binary_stream("stdout").write(data)
        typer.get_binary_stream("stdout").flush()


def total(frame: pl.DataFrame, columns: Sequence[str], label: str = "total") -> pl.DataFrame:
    """One row for emit's `totals`: the sums of `columns`, and the label in the first column."""
    return frame.select(pl.lit(label).alias(frame.columns[0]), *(pl.col(c).sum() for c in columns))


def bars(values: pl.Series, width: int = 40) -> pl.Series:
    """A bar of block characters for each value >= 0, the largest `width` wide; a value above 0 shows at least a sliver."""
    largest = values.max()
    top = float(largest) if isinstance(largest, int | float) and largest > 0 else 1.0

    def bar(value: float) -> str:
        eighths = max(round(value / top * width * 8), int(value > 0))
        return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8]).rstrip()

    return pl.Series("", [bar(v) for v in values.fill_null(0).to_list()], pl.String)


def fail(message: str, code: int = FAILURE, *, as_json: bool = False, **details: Any) -> NoReturn:  # noqa: ANN401
    """Say on stderr what is wrong and leave with `code`: 2 usage, 1 failure.

    As JSON: one object a line, `{"error": {"code", "kind", "message", …details}}`.
    """
    if as_json:
        kind = "usage" if code == USAGE else "failure"
        typer.echo(
            json.dumps({"error": {"code": code, "kind": kind, "message": message, **details}}, ensure_ascii=False),
            err=True,
        )
    else:
        typer.echo(f"{typer.style('error:', fg='red', bold=True)} {message}", err=True)
    raise typer.Exit(code)


@contextmanager
def failing(*expected: type[Exception], as_json: bool = False) -> Iterator[None]:
    """Turn UsageError into `fail` with 2, CommandError and `expected` into `fail` with 1; other exceptions are defects."""
    try:
        yield
    except UsageError as e:
        fail(str(e), USAGE, as_json=as_json)
    except CommandError as e:
        fail(str(e), as_json=as_json, **e.details)
    except expected as e:
        fail(explained(e), as_json=as_json)


def explained(error: Exception) -> str:
    """The error's message; a disk's own with the way out."""
    way = _WAYS.get(error.errno or 0) if isinstance(error, OSError) else None
    return f"{error}: {way}; nothing is half done" if way else str(error)


def run(app: typer.Typer, arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the application and exit; with `--json` (or `--format json`) the parser's own complaints are JSON too."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in words or "--format=json" in words or ("--format", "json") in pairwise(words)
    try:
        code = app(words, standalone_mode=not as_json)
    except BrokenPipeError:  # `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = FAILURE
    except Exception as e:
        if not (as_json and hasattr(e, "format_message")):  # not one of typer's
            raise
        try:
            fail(e.format_message(), getattr(e, "exit_code", FAILURE), as_json=True)
        except typer.Exit as left:
            code = left.exit_code
    sys.exit(code)


def _encoded(frame: pl.DataFrame, format: Format) -> bytes:
    if format is Format.parquet:
        buffer = io.BytesIO()
        frame.write_parquet(buffer)
        return buffer.getvalue()
    times = [
        pl.col(c).dt.convert_time_zone("UTC")
        for c, t in frame.schema.items()
        if isinstance(t, pl.Datetime) and t.time_zone
    ]
    frame = frame.with_columns(times).with_columns(pl.selectors.datetime().dt.strftime(_ISO_TIME))
    if format is Format.json:
        return frame.write_json().encode() + b"\n"
    nested = [c for c, t in frame.schema.items() if t.is_nested()]
    flat = frame.with_columns(
        pl.Series(c, [None if v is None else json.dumps(v, default=str) for v in frame[c].to_list()]) for c in nested
    )
    return flat.write_csv().encode()


def _write(out: Path, data: bytes) -> None:
    beside = out.with_name(f".{out.name}.part")
    try:
        beside.write_bytes(data)
        beside.replace(out)
    except OSError as e:
        beside.unlink(missing_ok=True)
        msg = f"can't write {out}: {e.strerror}"
        raise CommandError(msg) from e


def _print_table(
    frame: pl.DataFrame, title: str | None, totals: pl.DataFrame | None, note: str | None, file: IO[str]
) -> None:
    from rich import box  # noqa: PLC0415  (a tenth of a second that the other formats don't need)
    from rich.cells import cell_len  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(file=file, highlight=False)
    headings = {c: _SHORT.get(c, c).replace("_", " ") for c in frame.columns}
    rows = [[_cell(c, v) for c, v in row.items()] for row in frame.iter_rows(named=True)]
    last = (
        []
        if totals is None
        else [[_cell(c, row.get(c)) for c in frame.columns] for row in totals.iter_rows(named=True)]
    )
    natural = [
        max(map(cell_len, [*headings[c].split("\n"), *(r[i] for r in rows), *(r[i] for r in last)]))
        for i, c in enumerate(frame.columns)
    ]
    widths = _fitted(natural, [t.is_numeric() for t in frame.dtypes], console.width) if console.is_terminal else natural
    # Wider than the terminal rather than with figures cut off; a pipe or file has no width to keep to.
    console.width = max(console.width, sum(widths) + _GAP * len(widths))

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, _GAP - 1, 0, 0))
    for (name, dtype), width in zip(frame.schema.items(), widths, strict=True):
        table.add_column(
            headings[name], justify="right" if dtype.is_numeric() else "left", width=width, overflow="fold"
        )
    for row in rows:
        table.add_row(*map(Text, row))
    if last:
        table.add_section()
    for row in last:
        table.add_row(*map(Text, row), style="bold")
    if title:
        console.print(Text(title, style="bold"), soft_wrap=True)
    console.print(table)
    if note:
        console.print(Text(note, style="dim"), soft_wrap=True)


def _fitted(natural: list[int], numbers: list[bool], width: int) -> list[int]:
    """Column widths for a terminal: the widest text column gives way and goes on in the next line, numbers never."""
    over = sum(natural) + _GAP * (len(natural) - 1) - width
    texts = [i for i, number in enumerate(numbers) if not number]
    if over <= 0 or not texts:
        return natural
    widest = max(texts, key=natural.__getitem__)
    fitted = list(natural)
    fitted[widest] = max(min(_NARROWEST, natural[widest]), natural[widest] - over)
    return fitted


def _cell(name: str, value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool) or name in PLAIN_NUMBERS or not isinstance(value, int | float):
        # What stands in a log may hold escape sequences: a terminal must not obey them.
        return _CONTROL.sub(lambda m: f"\\x{ord(m[0]):02x}", str(value))
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"
