"""Lines of the Apache family cut into fields by arithmetic on the places of their quotes, a block at a time.

What belongs here: where the fields of a line lie that is just as servers usually write it. What does not: all other
lines, which the pattern reads (`apache.py`); a line is left to it as soon as anything about it is out of the ordinary.

A line is as usual when it has no tab and no backslash, single blanks, no log-in name, a time of Apache's length, a common method,
`HTTP/…`, and nothing but blanks between its quoted fields. For such a line each field can end in one place only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from usage_stats_dagster.logs.lines import Lines, Places, words
from usage_stats_dagster.native import scan

METHODS = ("GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH")
TIME_LENGTH = len("01/Mar/2025:00:00:00 +0000")
_TIME = len("[] ") + TIME_LENGTH
_BLANK, _MINUS, _OPEN = b" -["
_LONGEST_WORD = 64
Flags = npt.NDArray[np.bool_]


def _word(text: bytes) -> int:
    return int.from_bytes(text, "little")


_METHODS = tuple((_word(b"%s " % m.encode()), (1 << 8 * (len(m) + 1)) - 1) for m in METHODS)
_METHOD_LENGTHS = np.array([len(m) for m in METHODS], np.int64)
_LONG_PROTOCOLS = np.array([_word(p) for p in (b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/3.0")], np.uint64)
_SHORT_PROTOCOLS = (_word(b" HTTP/2"), _word(b" HTTP/3"))
_ALL = (1 << 64) // 255
_HIGH, _PLAIN_FROM, _FILL = 0x80 * _ALL, (0x80 - _MINUS) * _ALL, 0x30 * _ALL


@dataclass(frozen=True)
class Cut:
    """The lines that are as usual: their `rows`, and a value of each in every column.

    `texts` are the words before `- -` or `-` (host, address), the path, and the further quoted fields. `method` is an index in
    METHODS. `times` are the places where a time begins that the usual line before did not have; `seconds` says which is a line's.
    """

    rows: Places
    texts: list[pl.Series]
    method: npt.NDArray[np.integer]
    status: npt.NDArray[np.int16]
    seconds: npt.NDArray[np.integer]
    times: Places


def cut(lines: Lines, *, named: int, dashes: int, quotes: int) -> Cut:
    """Lines of `named` words, `dashes` times `-`, time, request, status, size, and further quoted fields up to `quotes` quotes."""
    compiled = scan.library()
    if compiled is None:
        return cut_by_columns(lines, named=named, dashes=dashes, quotes=quotes)
    rows, texts, method, status, seconds, times = scan.apache(
        compiled, lines.codes, lines.starts, lines.ends, named=named, dashes=dashes, quotes=quotes
    )
    return Cut(rows, [lines.viewed("text", t) for t in texts], method, status, seconds, times)


def cut_by_columns(lines: Lines, *, named: int, dashes: int, quotes: int) -> Cut:
    """The same as `cut` over whole columns in numpy, where nothing was compiled."""
    odd = lines.holding(b"\t") | lines.holding(b"\\") | lines.too_long
    places, first_quote, quote_count = lines.quotes
    rows = np.flatnonzero((quote_count >= quotes) & ~odd)
    codes, words8 = lines.codes, lines.words8
    starts, ends, first = lines.starts[rows], lines.ends[rows], first_quote[rows]
    q = [places[first + i] for i in range(quotes)]

    time = q[0] - _TIME
    dashed = b" -" * dashes + b" "
    head_end = time - len(dashed)
    usual = (codes[time] == _OPEN) & (words(codes, 2)[q[0] - 2] == _word(b"] ")) & (head_end > starts)
    usual &= words(codes, 2)[time - 2] == _word(b"- ")
    usual &= words(codes, len(dashed) - 1 if dashes == 1 else 4)[head_end] == _word(
        dashed[:4] if dashes == 2 else b" -"
    )
    named_words, fine = _split(lines, starts, head_end, named)
    usual &= fine

    method, at = _method(words8[q[0] + 1])
    protocol = words8[q[1] - 8]
    long = np.isin(protocol, _LONG_PROTOCOLS) & (codes[q[1] - 9] == _BLANK)
    short = np.isin(protocol >> np.uint64(8), _SHORT_PROTOCOLS)
    path = q[0] + 2 + at, q[1] - np.where(long, 9, 7)
    usual &= (method >= 0) & (long | short) & (path[1] > path[0])
    usual &= (codes[path[0]] != _BLANK) & (codes[path[1] - 1] != _BLANK)

    behind = words8[q[1] + 1]  # ` 200 1234`
    usual &= (behind & np.uint64(0xFF000000FF)) == np.uint64(_BLANK << 32 | _BLANK)
    status = np.zeros(len(rows), np.int16)
    for i in (1, 2, 3):
        digit = ((behind >> np.uint64(8 * i)).astype(np.uint8) - np.uint8(48)).astype(np.int16)
        usual &= digit <= 9
        status = status * 10 + digit
    size = q[1] + 6
    if quotes == 2:
        usual &= (size < ends) & (codes[size] != _BLANK)
    else:
        usual &= (codes[q[2] - 1] == _BLANK) & _plain(lines, size, q[2] - 1)
    for i in range(3, quotes - 1, 2):
        usual &= (q[i + 1] == q[i] + 2) & (codes[q[i] + 1] == _BLANK)
    if quotes > 2:
        usual &= (q[-1] + 1 == ends) | (codes[q[-1] + 1] == _BLANK)

    kept = np.flatnonzero(usual)

    bounds = [*named_words, path, *((q[i] + 1, q[i + 1]) for i in range(2, quotes, 2))]
    texts = [lines.strings("text", begin[kept], end[kept]) for begin, end in bounds]
    at = time[kept] + 1
    changed = _changed(lines, at)
    return Cut(rows[kept], texts, method[kept], status[kept], np.cumsum(changed) - 1, at[changed])


def _changed(lines: Lines, at: Places) -> Flags:
    """Whether the time that begins there is another than the one before it."""
    changed = np.ones(len(at), np.bool_)
    changed[1:] = False
    for offset in (0, 8, 16, TIME_LENGTH - 8):
        word = lines.words8[at + offset]
        changed[1:] |= word[1:] != word[:-1]
    return changed


def _split(lines: Lines, starts: Places, ends: Places, count: int) -> tuple[list[tuple[Places, Places]], Flags]:
    """One or two words with a blank between them, and whether that is so; none may begin with `-`."""
    if count == 1:
        return [(starts, ends)], _plain(lines, starts, ends) & (lines.codes[starts] != _MINUS)
    blank = _first_blank(lines, starts, ends)
    halves = [(starts, blank), (blank + 1, np.maximum(ends, blank + 1))]
    fine = np.ones(len(starts), np.bool_)
    for begin, end in halves:
        fine &= _plain(lines, begin, end) & (lines.codes[begin] != _MINUS)
    return halves, fine


def _method(first: npt.NDArray[np.unsignedinteger]) -> tuple[Places, Places]:
    """Index of the method and its length from the request's first 8 bytes; -1 for another."""
    method = np.full(len(first), -1, np.int64)
    for i, (text, mask) in enumerate(_METHODS):
        method[(first & np.uint64(mask)) == np.uint64(text)] = i
    return method, _METHOD_LENGTHS[method]


def _first_blank(lines: Lines, starts: Places, ends: Places) -> Places:
    """The first blank from `starts` on; `ends` where there is none in the first bytes."""
    found, left = ends.copy(), np.arange(len(starts))
    for at in range(0, _LONGEST_WORD, 8):
        begin = starts[left] + at
        word = lines.words8[np.minimum(begin, len(lines.words8) - 1)] ^ np.uint64(_BLANK * _ALL)
        # The lowest byte that is 0 is the lowest whose high bit this sets.
        zero = (word - np.uint64(_ALL)) & ~word & np.uint64(_HIGH)
        hit = zero != 0
        lowest = zero[hit] & (~zero[hit] + np.uint64(1))
        found[left[hit]] = begin[hit] + (np.bitwise_count(lowest - np.uint64(1)) >> 3)
        left = left[~hit]
        left = left[starts[left] + at + 8 < ends[left]]
        if not len(left):
            break
    return np.minimum(found, ends)


def _plain(lines: Lines, starts: Places, ends: Places) -> Flags:
    """Whether the text is a word of ASCII from `-` on in the code table: no blank, quote or comma; not empty, not very long."""
    length = ends - starts
    plain = (length > 0) & (length <= _LONGEST_WORD)
    left, at = np.flatnonzero(plain), 0
    while len(left):
        rest = length[left] - at
        word = lines.words8[starts[left] + at]
        within = _MASKS[np.minimum(rest, 8)]
        word = (word & within) | (np.uint64(_FILL) & ~within)
        high = (word + np.uint64(_PLAIN_FROM)) & ~word & np.uint64(_HIGH)
        plain[left[(word & np.uint64(_HIGH) != 0) | (high != np.uint64(_HIGH))]] = False
        at += 8
        left = left[rest > 8]
    return plain


_MASKS = np.array([(1 << 8 * n) - 1 for n in range(9)], np.uint64)
