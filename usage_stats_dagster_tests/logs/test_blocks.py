"""Blocks of a file: every line once, under its own number, however long lines are and wherever blocks end."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import xxhash
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from usage_stats_dagster.logs import blocks

LONGEST, PIECE = 50, 16


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(lengths=[3, 200, 1, 2, 3], ends=True, block=40, whole=True)  # a long line, then lines up to the end
@given(
    lengths=st.lists(st.one_of(st.integers(0, 20), st.integers(0, 300)), max_size=12),
    ends=st.booleans(),
    block=st.integers(17, 200),
    whole=st.booleans(),
)
def test_every_line_once(
    lengths: list[int], ends: bool, block: int, whole: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "LONGEST_LINE", LONGEST)
    monkeypatch.setattr(blocks, "_PIECE", PIECE)
    content = b"\n".join(bytes([97 + k % 26]) * n for k, n in enumerate(lengths)) + (b"\n" if ends else b"")
    path = tmp_path / "access.log"
    path.write_bytes(content)

    reader = blocks.read_blocks(path, whole_lines_only=whole, block_bytes=block)
    found: list[bytes | int] = []
    for b in reader:
        assert b.first_line == len(found) + 1
        found += [b.long_line.length] if b.long_line else b.text().cast(pl.Binary).to_list()

    taken = content[: content.rfind(b"\n") + 1] if whole else content
    lines = taken.split(b"\n")
    lines = lines if lines[-1] else lines[:-1]
    assert [f if isinstance(f, int) else len(f) for f in found] == [len(line) for line in lines]
    assert all(f == line for f, line in zip(found, lines, strict=True) if not isinstance(f, int))
    assert all(f > LONGEST for f in found if isinstance(f, int))
    assert (reader.lines, reader.bytes) == (len(lines), len(taken))
    assert reader.content_hash == xxhash.xxh3_128_hexdigest(taken)
    assert reader.unterminated == (not content.endswith(b"\n") and bool(content))
