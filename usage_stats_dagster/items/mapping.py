r"""Mapping identifiers: normalise, then the site's regex or file of pairs, and count what each did.

What belongs here: the operator's mapping, its errors, its fingerprint. What does not: rules of spelling that hold
everywhere (`identifiers.py`). That two identifiers become one is meant: their figures are summed further on.

Mapping works on normalised identifiers, the old ones of a file included, so that `oai:https://host/rest:1/2` is mapped
by a pair that says `oai:host:1/2` and the other way round. (LA Referencia's processor normalises or maps, never both.)
"""

from __future__ import annotations

import csv
import hashlib
import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from usage_stats_dagster.items.identifiers import normalise

if TYPE_CHECKING:
    from collections.abc import Iterator

    from usage_stats_dagster.settings import IdentifierMap


class IdentifierMapError(Exception):
    """A mapping can't be used: the message names the file and line, or the regex, and the fault."""


class MapCounts(NamedTuple):
    """How many identifiers (nulls left out) stayed, changed by normalising only, changed by the map; they add up."""

    unchanged: int
    normalised: int
    mapped: int


def map_identifiers(identifiers: pl.Series, mapping: IdentifierMap | None) -> tuple[pl.Series, MapCounts]:
    """The identifiers as they are to be called, in the same order, and what was done to them.

    Null stays null, and an identifier that a map makes empty becomes null (it is mapped). A regex replaces wherever it
    is found, as Python's `re.sub`; a file replaces whole identifiers. Raises IdentifierMapError.
    """
    spelled = normalise(identifiers)
    mapped = _by_file(_by_regex(spelled, mapping), mapping)
    changed = int((mapped.ne_missing(spelled)).sum())
    respelled = int((spelled.ne_missing(identifiers) & mapped.eq_missing(spelled)).sum())
    counts = MapCounts(identifiers.count() - respelled - changed, respelled, changed)
    return mapped.alias(identifiers.name), counts


def map_fingerprint(mapping: IdentifierMap | None) -> str:
    """What decides a mapping's results: its regex and replacement, and the content of its file (not its name)."""
    if mapping is None:
        return ""
    content = hashlib.sha256(_content(mapping.file)).hexdigest() if mapping.file else ""
    return repr((mapping.regex, mapping.replace, content))


def rust_replacement(replacement: str) -> str:
    r"""A replacement written for Python's `re.sub` in Rust's spelling: `\1` and `\g<name>` become `${1}`, `${name}`."""

    def one(m: re.Match[str]) -> str:
        if m["group"] is not None:
            return "${" + (m["number"] or m["name"]) + "}"
        return "$$" if m[0] == "$" else m["escaped"]

    return re.sub(r"(?P<group>\\(?:(?P<number>\d{1,2})|g<(?P<name>\w+)>))|\\(?P<escaped>.)|\$", one, replacement)


def _by_regex(spelled: pl.Series, mapping: IdentifierMap | None) -> pl.Series:
    if mapping is None or mapping.regex is None:
        return spelled
    try:
        re.sub(mapping.regex, mapping.replace, "")  # Python knows a wrong group in the replacement, Rust leaves it out
        mapped = spelled.str.replace_all(mapping.regex, rust_replacement(mapping.replace))
    except (re.error, IndexError, pl.exceptions.ComputeError) as e:
        reason = str(e).split("This error occurred")[0].strip()
        msg = (
            f"identifier_map: regex {mapping.regex!r} with replace {mapping.replace!r} can't be used "
            f"(patterns are Rust's regex: no look-around, no back-references): {reason}"
        )
        raise IdentifierMapError(msg) from e
    return mapped.set(mapped.str.len_bytes() == 0, None)


def _by_file(spelled: pl.Series, mapping: IdentifierMap | None) -> pl.Series:
    if mapping is None or mapping.file is None:
        return spelled
    old, new = _pairs(mapping.file, hashlib.sha256(_content(mapping.file)).hexdigest())
    return spelled.replace(old, new) if len(old) else spelled


def _content(file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as e:
        msg = f"identifier_map: file {file} can't be read: {e.strerror}"
        raise IdentifierMapError(msg) from e


@lru_cache(maxsize=8)
def _pairs(file: str, content_hash: str) -> tuple[pl.Series, pl.Series]:
    """The file's pairs, old ones normalised and distinct; kept for as long as the content is the same."""
    del content_hash
    pairs: dict[str, tuple[str, int]] = {}
    lines, olds, news = _columns(file)
    for line, old, new in zip(lines, normalise(pl.Series(olds, dtype=pl.String)), news, strict=True):
        if old in pairs and pairs[old][0] != new:
            msg = f"identifier_map: {file}: line {line}: {old!r} is mapped to {new!r}, but on line {pairs[old][1]} to {pairs[old][0]!r}"
            raise IdentifierMapError(msg)
        pairs.setdefault(old, (new, line))
    return pl.Series(list(pairs), dtype=pl.String), pl.Series([new for new, _ in pairs.values()], dtype=pl.String)


def _columns(file: str) -> tuple[list[int], list[str], list[str]]:
    try:
        text = _content(file).decode("utf-8-sig")
    except UnicodeDecodeError as e:
        line = e.object[: e.start].count(b"\n") + 1
        msg = f"identifier_map: {file}: line {line}: not UTF-8"
        raise IdentifierMapError(msg) from e
    rows = list(_rows(file, text))
    return [r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows]


def _rows(file: str, text: str) -> Iterator[tuple[int, str, str]]:
    """Line number, old, new of each pair. Tabs separate if the first line has one, else commas; `old`, `new` is a header."""
    lines = text.splitlines()
    tabs = any("\t" in line for line in lines[:1])
    reader = csv.reader(lines, delimiter="\t" if tabs else ",", quoting=csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL)
    try:
        for row in reader:
            cells = [c.strip() for c in row]
            if (
                not any(cells)
                or cells[0].startswith("#")
                or (reader.line_num == 1 and [c.lower() for c in cells] == ["old", "new"])
            ):
                continue
            if len(cells) != 2 or not all(cells):
                msg = f"identifier_map: {file}: line {reader.line_num}: should be an old and a new identifier with a tab or comma between, is {','.join(row)[:120]!r}"
                raise IdentifierMapError(msg)
            yield reader.line_num, cells[0], cells[1]
    except csv.Error as e:
        msg = f"identifier_map: {file}: line {reader.line_num}: {e}"
        raise IdentifierMapError(msg) from e
