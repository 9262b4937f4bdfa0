"""Sources: the names that readers ask for, and which sites' documents each means.

What belongs here: putting sources together from the settings and from LA Referencia's metadata, and their lookup by name
or identifier. What does not: questions to the index (`reports.py`).

Every site is a source by itself, as `3` and `siteid::3`; what `[[api.sources]]` or the metadata say comes on top.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import polars as pl

from usage_stats_dagster.index.interface import Selection
from usage_stats_dagster.items.identifiers import identifier_prefix, normalise
from usage_stats_dagster.settings import Settings

_OAI = re.compile(r"(?i)^(oai:)(?:https?://)?([^/:]+).*$")
_DEFAULT_REGIONAL = 1
"""LA Referencia's regional site, where neither settings nor metadata name one."""
_QUERY = (
    "SELECT source_id, name, type, site_id, national_site_id, regional_site_id, country_iso, identifier_prefix "
    "FROM source ORDER BY id"
)
_UNKNOWN_COUNTRY = "XX"


class UnknownSourceError(LookupError):
    """There is no such source, or no source of such an identifier."""


@dataclass(frozen=True)
class Source:
    """A repository (R), a country's aggregator (N) or the region's (L); country in upper case, prefix as documents have it."""

    id: str
    site: int
    level: str
    name: str | None = None
    country: str | None = None
    prefix: str | None = None
    national: int | None = None
    regional: int | None = None


class Sources:
    """All sources of a platform."""

    def __init__(self, sources: Iterable[Source]) -> None:
        """The first of a name wins; so does the first repository of a prefix."""
        self._by_id: dict[str, Source] = {}
        self._by_prefix: dict[str, Source] = {}
        for s in sources:
            self._by_id.setdefault(s.id.lower(), s)
            if s.prefix and s.level == "R":
                self._by_prefix.setdefault(s.prefix.lower(), s)
        every = self._by_id.values()
        self._nationals = {s.country: s.site for s in reversed(every) if s.level == "N" and s.country}
        regionals = [s.site for s in every if s.level == "L"]
        self._regional = regionals[0] if regionals else _DEFAULT_REGIONAL

    def __len__(self) -> int:
        return len(self._by_id)

    def named(self, source_id: str) -> Source:
        """The source of that name, case aside; raises UnknownSourceError."""
        found = self._by_id.get(source_id.strip().lower())
        if found is None:
            msg = f"there is no source {source_id!r}"
            raise UnknownSourceError(msg)
        return found

    def of_identifier(self, identifier: str) -> Source | None:
        """The repository whose prefix the identifier has; None when no source claims it."""
        prefix = identifier_prefix(pl.Series([identifier])).item()
        return self._by_prefix.get((prefix or identifier).lower())

    def sites_of_item(self, source: Source) -> tuple[int, ...]:
        """The sites at which an item of the source may be used: its own, the national one, the regional one.

        Of a national source: itself and the region's; of the regional one: itself and all national ones.
        """
        if source.level == "L":
            nationals = [s.site for s in self._by_id.values() if s.level == "N"]
            return _distinct(source.site, *nationals)
        regional = source.regional or self._regional
        if source.level == "N":
            return _distinct(source.site, regional)
        return _distinct(source.site, self._national(source), regional)

    def documents_of(self, source: Source) -> Selection:
        """The documents that a source's report is over.

        A repository's items by their prefix at the three levels, or whatever its site has when it has no prefix; a
        country's items at its national site, its repositories and the regional site; all that there is for the region.
        """
        if source.level == "L":
            return Selection()
        if source.level == "N":
            own = [s.site for s in self._by_id.values() if s.level == "R" and s.country == source.country]
            if source.country is None:
                return Selection(sites=(source.site,))
            sites = _distinct(source.site, *own, source.regional or self._regional)
            return Selection(sites=sites, country=source.country)
        if source.prefix is None:
            return Selection(sites=(source.site,))
        return Selection(sites=self.sites_of_item(source), identifier_prefix=source.prefix)

    def _national(self, source: Source) -> int | None:
        return source.national or self._nationals.get(source.country or "")


def spelled(identifier: str) -> str:
    """The identifier in the one spelling that documents have."""
    return str(normalise(pl.Series([identifier], dtype=pl.String)).item())


def load_sources(settings: Settings) -> Sources:
    """The sources of the settings, of LA Referencia's metadata where `matomo.sources_url` names them, and every site.

    Raises MatomoDatabaseError when the metadata can't be read.
    """
    return Sources([*_configured(settings), *_metadata(settings), *_sites(settings)])


def _configured(settings: Settings) -> Iterable[Source]:
    for s in settings.api.sources:
        site = settings.site(s.site)
        yield Source(
            s.id, s.site, s.level or site.level, s.name or site.title, _country(s.country or site.country),
            _prefix(s.identifier_prefix), s.national, s.regional,
        )  # fmt: skip


def _metadata(settings: Settings) -> Iterable[Source]:
    if not settings.matomo.sources_url:
        return
    from usage_stats_dagster.matomo.database import Database  # noqa: PLC0415  (a database's client)

    with Database(settings.matomo.sources_url).connection() as reader:
        rows: list[tuple[Any, ...]] = list(reader.rows(_QUERY))
    for source_id, name, kind, site, national, regional, country, prefix in rows:
        level = kind if kind in ("R", "N", "L") else "R"
        yield Source(source_id, int(site), level, name, _country(country), _prefix(prefix), national, regional)


def _sites(settings: Settings) -> Iterable[Source]:
    for s in settings.sites:
        for name in (f"siteid::{s.id}", str(s.id)):
            yield Source(name, s.id, s.level, s.title, _country(s.country))


def _country(text: str | None) -> str | None:
    country = (text or "").strip().upper()
    return country if country not in ("", _UNKNOWN_COUNTRY) else None


def _prefix(text: str | None) -> str | None:
    """`oai:http://host/path` is `oai:host`; others as they are."""
    prefix = (text or "").strip()
    return _OAI.sub(r"\1\2", prefix) or None


def _distinct(*sites: int | None) -> tuple[int, ...]:
    return tuple(dict.fromkeys(s for s in sites if s is not None))
