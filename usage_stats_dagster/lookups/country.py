"""The country of an address: registry delegations that come with the package, or the operator's MMDB file.

What belongs here: address to country. What does not: masking addresses (`logs/`), the country of an item.

Registries say to whom a network was *allocated*, which is not always where it is used; an MMDB such as GeoLite2 or
DB-IP knows better and is the operator's to bring.
"""

from __future__ import annotations

import hashlib
import sys
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import iptocc
import maxminddb
import polars as pl
import xxhash

from usage_stats_dagster.lookups.distinct import listed, per_distinct
from usage_stats_dagster.lookups.remembered import Remembered

UNKNOWN = "xx"
REMEMBERED = 2_000_000
"""Addresses whose country from an MMDB is remembered: 190 MB."""


class CountryDatabaseError(Exception):
    """The file that `rules.country_database` names can't be used."""


class CountryLookup(Protocol):
    """Address to country; `version` (16 hexadecimal digits) changes when answers may."""

    @property
    def version(self) -> str:
        """16 hexadecimal digits."""
        ...

    def __call__(self, ips: pl.Series) -> pl.Series:
        """ISO 3166-1 alpha-2, lower case, per row of a String column; `xx` for unknown, private, malformed and null."""
        ...


def country_lookup(database: str | None) -> CountryLookup:
    """The bundled delegations, or the MMDB file of that path; raises CountryDatabaseError naming the file."""
    return _Registries() if database is None else _Mmdb(Path(database))


class _Registries:
    """iptocc's tables: 6 million addresses a second, so nothing is remembered."""

    @cached_property
    def version(self) -> str:
        return _hash(b"iptocc " + version("iptocc").encode())

    def __call__(self, ips: pl.Series) -> pl.Series:
        return per_distinct(ips, self._judge).fill_null(UNKNOWN)

    @staticmethod
    def _judge(ips: pl.Series) -> pl.Series:
        return pl.Series(iptocc.country_code(ips.to_list()), dtype=pl.String).str.to_lowercase()


class _Mmdb:
    """An MMDB file in MaxMind's format with countries (GeoLite2-Country, -City, DB-IP, Geoacumen …)."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            msg = f"rules.country_database names {path}, which is no file: it must be an MMDB file with countries, such as GeoLite2-Country.mmdb"
            raise CountryDatabaseError(msg)
        try:
            self._reader = maxminddb.open_database(path)
        except (maxminddb.InvalidDatabaseError, OSError, ValueError) as e:
            msg = f"rules.country_database names {path}, which is no MMDB file (MaxMind's format, such as GeoLite2-Country.mmdb): {e}"
            raise CountryDatabaseError(msg) from e
        kind = self._reader.metadata().database_type
        if not self._has_countries():
            msg = f"rules.country_database names {path}, an MMDB file of type {kind!r} without countries: it must hold them, as GeoLite2-Country.mmdb does"
            raise CountryDatabaseError(msg)
        self._remembered = Remembered(listed(self._judge), REMEMBERED)
        # Over the content, now: the file may be replaced while this reader still reads the old one.
        self.version = _file_hash(path)

    def __call__(self, ips: pl.Series) -> pl.Series:
        return self._remembered(ips).fill_null(UNKNOWN)

    def _has_countries(self) -> bool:
        sample = (record for _, (_, record) in zip(range(100), self._reader, strict=False))
        return any(_country(record) for record in sample)

    def _judge(self, ips: list[str]) -> list[str | None]:
        get = self._reader.get
        found: list[str | None] = []
        for ip in ips:
            try:
                found.append(_country(get(ip)))
            except ValueError:  # no address, or IPv6 in an IPv4 database
                found.append(None)
        return found


def _country(record: object) -> str | None:
    """The country of a record: where it is used, else where it is registered."""
    if not isinstance(record, dict):
        return None
    for key in ("country", "registered_country"):
        part = record.get(key)
        code = part.get("iso_code") if isinstance(part, dict) else part
        if isinstance(code, str) and len(code) == 2:
            return sys.intern(code.lower())  # one string a country, not one an address
    return None


def _file_hash(path: Path) -> str:
    digest = xxhash.xxh3_64()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
