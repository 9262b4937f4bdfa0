"""Looking for IP addresses in whatever a run leaves behind: as text, as numbers, as bytes; in files of every kind.

What belongs here: the forms of an address and how each kind of file is read for them. What does not: making the files.
"""

from __future__ import annotations

import base64
import sqlite3
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import polars as pl

_SQLITE = b"SQLite format 3\0"


class Addresses:
    """Some addresses, in all forms in which a program may keep them."""

    def __init__(self, addresses: Iterable[str]) -> None:
        self.text: dict[bytes, str] = {}
        self.packed: dict[bytes, str] = {}
        self.numbers: dict[int, str] = {}
        for given in addresses:
            a = ip_address(given)
            self.numbers[int(a)] = given
            if a.version == 4:
                # Also as an SQLite or a parquet file keeps a signed 32-bit number.
                self.numbers[int.from_bytes(a.packed, "big", signed=True)] = given
                self.numbers[int.from_bytes(a.packed, "little")] = given
            for form in _texts(a):
                self.text[form.lower().encode()] = given
            self.packed[a.packed] = given
            self.packed[a.packed[::-1]] = given

    def in_text(self, data: bytes) -> list[str]:
        """The addresses that stand in the bytes as text, whatever the case."""
        low = data.lower()
        return sorted({given for form, given in self.text.items() if form in low})

    def in_bytes(self, data: bytes) -> list[str]:
        """Those that stand in the bytes as text or in 4 or 16 bytes."""
        return sorted({*self.in_text(data), *(given for form, given in self.packed.items() if form in data)})

    def in_value(self, value: object) -> list[str]:
        """Those in a number, a text, bytes."""
        if isinstance(value, bool) or value is None:
            return []
        if isinstance(value, int):
            return [self.numbers[value]] if value in self.numbers else []
        if isinstance(value, bytes):
            return self.in_bytes(value)
        return self.in_text(str(value).encode())


def _texts(a: IPv4Address | IPv6Address) -> Iterator[str]:
    yield str(a)
    yield a.packed.hex()
    yield str(int(a))
    yield base64.b64encode(str(a).encode()).decode().rstrip("=")[:-1]  # the last character depends on what follows
    if isinstance(a, IPv6Address):
        yield a.exploded
    else:
        yield "-".join(str(a).split("."))  # as providers name their clients' hosts
        yield ".".join(reversed(str(a).split(".")))


def found_below(folder: Path, addresses: Addresses, *, leave_out: Iterable[Path] = ()) -> list[str]:
    """Where the files below the folder have one of the addresses: in their bytes, and in what they hold decoded."""
    left_out = set(leave_out)
    found = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and not left_out & {p, *p.parents}):
        name, data = str(path.relative_to(folder)), path.read_bytes()
        found += [f"{name}: {a}" for a in addresses.in_text(f"{name}\n".encode() + data)]
        if data.startswith(b"PAR1"):
            found += [f"{name}: {what}" for what in _in_parquet(path, addresses)]
        elif data.startswith(_SQLITE):
            found += [f"{name}: {what}" for what in _in_sqlite(path, addresses)]
        elif b".db-" not in path.name.encode():
            found += [f"{name}: {a}, packed" for a in addresses.in_bytes(data)]
    return sorted(set(found))


def _in_parquet(path: Path, addresses: Addresses) -> Iterator[str]:
    frame = pl.read_parquet(path, hive_partitioning=False)
    for column in frame.columns:
        for value in _flat(
            frame[column].unique().to_list() if not frame[column].dtype.is_nested() else frame[column].to_list()
        ):
            yield from (f"column {column}: {a}" for a in addresses.in_value(value))


def _in_sqlite(path: Path, addresses: Addresses) -> Iterator[str]:
    """Every value of every table; text and blobs that are compressed (as Dagster keeps some) also opened."""
    with closing(sqlite3.connect(path)) as db:
        for (table,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall():
            cursor = db.execute(f'SELECT * FROM "{table}"')
            names = [c[0] for c in cursor.description]
            for row in cursor:
                for name, value in zip(names, row, strict=True):
                    for each in _opened(value):
                        yield from (f"{table}.{name}: {a}" for a in addresses.in_value(each))


def _opened(value: object) -> Iterator[object]:
    yield value
    if isinstance(value, bytes):
        with suppress(zlib.error):
            yield zlib.decompress(value)


def _flat(values: Iterable[object]) -> Iterator[object]:
    for v in values:
        if isinstance(v, dict):
            yield from _flat(v.values())
        elif isinstance(v, list):
            yield from _flat(v)
        else:
            yield v
