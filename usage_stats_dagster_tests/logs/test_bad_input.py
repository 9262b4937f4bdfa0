"""Broken, half and strange logs: what is good is read, what is not is counted and named."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random

import pytest
import xxhash
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from usage_stats_dagster.logs.blocks import LONGEST_LINE, read_blocks
from usage_stats_dagster.logs.compression import DamagedLog, open_log
from usage_stats_dagster.logs.lines import Lines
from usage_stats_dagster_tests.logs.reading import line, read, write

LINES = [line(f"/handle/{i}", ip=f"192.0.2.{i % 250}") for i in range(400)]
PLAIN = "".join(LINES).encode()
PACKINGS = {
    "plain": lambda b: b,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "zstd": zstandard.compress,
    "xz": lzma.compress,
}


@pytest.mark.parametrize("packing", PACKINGS)
def test_compression_does_not_matter(tmp_path, packing):
    """Nor does the name, nor whether the log was packed in two parts."""
    pack = PACKINGS[packing]
    log = read(write(tmp_path, pack(PLAIN[:5000]) + pack(PLAIN[5000:]), "holiday.jpg"))
    assert log.summary.compression == packing
    assert log.hits.equals(read(write(tmp_path, PLAIN)).hits)
    assert log.summary.content_hash == xxhash.xxh3_128_hexdigest(PLAIN)
    assert log.summary.damaged is None


@pytest.mark.parametrize("packing", [p for p in PACKINGS if p != "plain"])
def test_truncated_keeps_the_good_head(tmp_path, packing):
    noise = random.Random(1)
    whole = "".join(line(f"/handle/{noise.random()}") for _ in range(20_000)).encode()
    packed = PACKINGS[packing](whole)
    log = read(write(tmp_path, packed[: len(packed) * 3 // 4]))
    assert log.summary.damaged == "truncated"
    assert 5_000 < log.hits.height == log.summary.lines < 20_000
    assert log.summary.content_hash == xxhash.xxh3_128_hexdigest(whole[: log.summary.bytes])
    assert whole[: log.summary.bytes].endswith(b"\n")
    completed = read(write(tmp_path, packed), prefix_at=log.summary.bytes)
    assert completed.summary.prefix_hash == log.summary.content_hash


def test_junk_behind_gzip(tmp_path):
    log = read(write(tmp_path, gzip.compress(PLAIN) + b"junk"))
    assert log.summary.damaged == "junk after the gzip stream"
    assert log.hits.height == 400
    assert read(write(tmp_path, gzip.compress(PLAIN) + bytes(512))).summary.damaged is None


def test_damage_is_raised_behind_the_good_bytes(tmp_path):
    path = write(tmp_path, gzip.compress(PLAIN)[:-8])
    with open_log(path) as log:
        assert log.read(1 << 20) == PLAIN
        with pytest.raises(DamagedLog, match="truncated"):
            log.read(1)


@pytest.mark.parametrize("content", [b"", gzip.compress(b"", mtime=0)], ids=["no bytes", "packed"])
def test_empty(tmp_path, content):
    log = read(write(tmp_path, content))
    assert (log.blocks, log.summary.lines, log.summary.format, log.summary.damaged) == ([], 0, None, None)


def test_blank_lines_only(tmp_path):
    log = read(write(tmp_path, "\n \n\n"))
    assert log.outcomes == {"invalid": 3}
    assert log.rejects["reason"].to_list() == ["empty"] * 3


def test_directory_is_no_log(tmp_path):
    (tmp_path / "access.log").mkdir()
    with pytest.raises(IsADirectoryError):
        read(tmp_path / "access.log")


def test_bytes_that_are_no_text(tmp_path):
    """Invalid UTF-8 and NULs stay in their line, which is a line like any other; the next line is untouched."""
    bad = line("/caf\xe9").encode("latin-1") + line("/caf\xe9").encode() + line("/n\0l").encode()
    log = read(write(tmp_path, b"\xef\xbb\xbf" + bad.replace(b"\n", b"\r\n")))
    assert log.hits["url"].to_list() == ["/caf\\xe9", "/caf\xe9", "/n\0l"]


def test_lines_that_look_packed(tmp_path):
    """A block that begins like a zlib stream is text all the same."""
    for start in ("x^", "x\x01", "(\n", "\x1f"):
        log = read(write(tmp_path, start + "\n" + line()))
        assert log.hits.height == 1


def test_a_line_of_50_mb(tmp_path):
    path = tmp_path / "access.log"
    with path.open("wb") as file:
        file.write(line().encode())
        for _ in range(50):
            file.write(b"a" * (1 << 20))
        file.write(b"\n" + (line("/after") + line("/and/after")).encode())
    log = read(path)
    assert log.hits["line"].to_list() == [1, 3, 4]
    assert log.rejects.select("line", "reason", "length").rows() == [(2, "too_long", 50 << 20)]
    assert log.summary.lines == 4
    assert not log.summary.unterminated
    assert log.summary.content_hash == xxhash.xxh3_128_hexdigest(path.read_bytes())


def test_long_lines_are_the_same_in_blocks_of_any_size(tmp_path):
    text = line() + "a" * (LONGEST_LINE + 5) + "\n" + line("/after")
    logs = [read(write(tmp_path, text), block_bytes=n) for n in (1000, 64 << 10, 8 << 20)]
    assert all(log.rejects.equals(logs[0].rejects) and log.hits.equals(logs[0].hits) for log in logs)


def test_never_a_half_line(tmp_path):
    """A log still being written is read to its last whole line; the hash covers just that."""
    path = write(tmp_path, PLAIN + b'192.0.2.1 - - [01/Mar/2025:10:00:00 +0000] "GET /half HTTP/1.1" 200 5 "-" "M"')
    live, closed = read(path, whole_lines_only=True), read(path)
    assert (live.summary.lines, live.summary.bytes, live.summary.unterminated) == (400, len(PLAIN), True)
    assert live.summary.content_hash == xxhash.xxh3_128_hexdigest(PLAIN)
    assert (closed.summary.lines, closed.hits["url"][-1]) == (401, "/half")


def test_prefix_longer_than_the_log(tmp_path):
    assert read(write(tmp_path, PLAIN), prefix_at=len(PLAIN) + 1).summary.prefix_hash is None
    assert read(write(tmp_path, PLAIN), prefix_at=len(PLAIN)).summary.prefix_hash == xxhash.xxh3_128_hexdigest(PLAIN)


ODD = st.sampled_from(
    [line(), line("/caf\u00e9"), "\n", "\r\n", "garbage\r\n", line().replace("\n", "\r\n"), line(status=404), "x^\n"]
)


@settings(max_examples=20, deadline=None)
@given(st.lists(ODD, min_size=1, max_size=12), st.integers(1, 400), st.booleans(), st.integers(0, 300))
def test_blocks_of_any_size_give_the_same(tmp_path_factory, lines, block_bytes, whole, prefix_at):
    content = (line("/first") + "".join(lines) + "unended").encode()
    path = write(tmp_path_factory.mktemp("log"), content)
    how = {"whole_lines_only": whole, "prefix_at": prefix_at}
    small, large = read(path, block_bytes=block_bytes, **how), read(path, **how)
    assert small.hits.equals(large.hits)
    assert small.rejects.equals(large.rejects)
    assert small.outcomes == large.outcomes
    assert small.summary == large.summary
    assert sum(large.outcomes.values()) == large.summary.lines == content.count(b"\n") + (not whole)
    assert large.summary.prefix_hash == (
        xxhash.xxh3_128_hexdigest(content[:prefix_at]) if prefix_at <= large.summary.bytes else None
    )


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from([b"\n", b"\r", b"a", b'"', "é".encode(), b"\xe9", b"\0", b"x" * 13, b" "]), max_size=30
    ).map(b"".join)
)
def test_lines_of_bytes(data):
    """Lines end with LF or CRLF; what is no UTF-8 is written out; quotes are told line by line."""
    lines = Lines.of_bytes(data)
    pieces = data.decode("utf-8", "backslashreplace").split("\n")
    expected = [p.removesuffix("\r") for p in pieces[:-1]] + pieces[-1:] * bool(pieces[-1])
    assert lines.whole.to_list() == expected
    assert lines.quotes[2].tolist() == [text.count('"') for text in expected]
    assert lines.holding(b" ").tolist() == [" " in text for text in expected]


def test_blocks_know_their_first_line(tmp_path):
    reader = read_blocks(write(tmp_path, PLAIN), whole_lines_only=False, block_bytes=1000)
    firsts = [(b.first_line, b.lines, b.text()[0] + "\n") for b in reader]
    assert all(text == LINES[first - 1] for first, _, text in firsts)
    assert sum(n for _, n, _ in firsts) == 400
