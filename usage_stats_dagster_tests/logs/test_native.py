"""What is compiled and what stands in for it give the same, to the byte."""

import os

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usage_stats_dagster.logs.formats.apache import APACHE, OVH
from usage_stats_dagster.logs.lines import PADDING, Lines, count_lines
from usage_stats_dagster.lookups.distinct import numbered, numbered64
from usage_stats_dagster.native import scan

_HEAD = [
    "203.0.113.7 - - ",
    "2001:db8::1 - - ",
    "h.org 203.0.113.7 - - ",
    "- - - ",
    "a,b - - ",
    "203.0.113.7 - joe ",
    " 1 - - ",
    "x" * 70 + " - - ",
    "203.0.113.7 h.org - ",
    "",
]
_TIME = [
    "[01/Mar/2025:00:00:00 +0000] ",
    "[01/Mar/2025:00:00:01 +0000] ",
    "[31/Feb/2025:00:00:00 +0000] ",
    "[x] ",
    "[01/Mar/2025:00:00:00 +0000]",
]
_REQUEST = [
    '"GET /a HTTP/1.1"',
    '"HEAD /a b HTTP/2"',
    '"GET  HTTP/1.1"',
    '"BREW /a HTTP/1.1"',
    '"GET /é HTTP/1.0"',
    '"GET / HTTP/9.9"',
    '"-"',
    '"GET /a\\"b HTTP/1.1"',
    '"GET \t HTTP/1.1"',
    '"',
]
_STATUS = [" 200 12", " 404 -", " 2x0 1", " 200 ", " 200 1 2", " 999 " + "9" * 70]
_TAIL = [
    ' "-" "Mozilla/5.0"',
    ' "https://e.org/é" ""',
    ' "-" "a" "203.0.113.9, 10.0.0.1"',
    ' "-" "a" "-" more',
    ' "-""a"',
    "",
    " ",
]
_LINE = st.tuples(*(st.sampled_from(part) for part in (_HEAD, _TIME, _REQUEST, _STATUS, _TAIL))).map("".join)
_ENDS = st.sampled_from(["\n", "\r\n", "\n\n"])
_TEXT = st.lists(st.tuples(_LINE | st.text(max_size=30), _ENDS).map("".join), max_size=20).map("".join)

compiled = pytest.mark.skipif(
    scan.library() is None and os.environ.get("USAGE_STATS_REQUIRE_SERVICES") != "1",
    reason="nothing was compiled here: no C compiler when the package was installed",
)


@compiled
@settings(max_examples=200, deadline=None)
@given(_TEXT, st.sampled_from([*APACHE, OVH]))
def test_records(text, log_format):
    """Whatever a line looks like, both ways to cut it say what the pattern says."""
    data = text.encode()
    with pytest.MonkeyPatch.context() as m:
        quick = log_format.records(Lines.of_bytes(data), None)
        m.setattr(scan, "library", lambda: None)
        lines = Lines.of_bytes(data)
        slow = log_format.records(lines, None)
        pattern = log_format.parsed(log_format.fields(lines.text, None))
    assert quick.equals(slow, null_equal=True)
    assert quick.equals(pattern.select(quick.columns), null_equal=True)


@compiled
@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400) | _TEXT.map(str.encode))
def test_lines(data):
    with pytest.MonkeyPatch.context() as m:
        quick, counted = Lines.of_bytes(data), count_lines(np.frombuffer(data, np.uint8))
        m.setattr(scan, "library", lambda: None)
        slow, counted_slowly = Lines.of_bytes(data), count_lines(np.frombuffer(data, np.uint8))
    assert counted == counted_slowly == (data.count(b"\n"), data.isascii())
    assert (quick.starts.tolist(), quick.ends.tolist()) == (slow.starts.tolist(), slow.ends.tolist())
    assert quick.codes.tobytes() == slow.codes.tobytes()
    assert quick.codes.tobytes().endswith(PADDING)


@compiled
@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.none() | st.sampled_from(["", "a", "b" * 12, "b" * 13, "b" * 12 + "c", "é" * 9]) | st.text(), max_size=90),
    st.integers(0, 5), st.booleans(),
)  # fmt: skip
def test_numbers(values, start, twice):
    """Equal strings have one number, null none; whatever chunks and offsets the column has."""
    column = pl.Series("c", values, pl.String)
    column = (pl.concat([column, column], rechunk=False) if twice else column)[start:]
    with pytest.MonkeyPatch.context() as m:
        for quick in (True, False):
            if not quick:
                m.setattr(scan, "library", lambda: None)
            numbers, strings = numbered(column)
            assert strings.gather(numbers).to_list() == column.to_list()
            assert strings.n_unique() == len(strings) == column.drop_nulls().n_unique()


@compiled
@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 5) | st.integers(0, 2**64 - 1), max_size=90))
def test_numbers_of_numbers(values):
    array = np.array(values, np.uint64)
    with pytest.MonkeyPatch.context() as m:
        for quick in (True, False):
            if not quick:
                m.setattr(scan, "library", lambda: None)
            numbers, firsts = numbered64(array)
            assert array[firsts.to_numpy()][numbers.to_numpy()].tolist() == values
            assert len(firsts) == len(set(values))
