"""LA Referencia's source metadata: what their database says of a site, as our settings.

What belongs here: reading `source`, what its codes mean. What does not: how identifiers are mapped (`items/mapping.py`).

Where the settings say something of a site, they win over the metadata; what they don't say comes from there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from usage_stats_dagster.matomo.database import Database, MatomoDatabaseError
from usage_stats_dagster.settings import IdentifierMap, MatomoSection, Settings, Site

BY_REGEX, BY_FILE = 1, 2
"""`identifier_map_type`; 0 normalises only, which we do to every identifier."""

UNKNOWN = "XX"

_QUERY = (
    "SELECT site_id, type, name, country_iso, identifier_map_type, identifier_map_regex, identifier_map_replace, "
    "identifier_map_filename FROM source ORDER BY site_id, id"
)


def with_sources(settings: Settings) -> Settings:
    """The settings with level, name, country and identifier map of each site from the metadata at `matomo.sources_url`.

    Sites of the metadata that the settings don't list are added where the settings list none. Raises MatomoDatabaseError.
    """
    matomo = settings.matomo
    if not matomo.sources_url:
        return settings
    with Database(matomo.sources_url).connection() as reader:
        rows = reader.rows(_QUERY)
    known: dict[int, dict[str, Any]] = {}
    for row in rows:
        known.setdefault(int(row[0]), _site(row, matomo))
    listed = {s.id: s for s in settings.sites} or {i: Site(id=i) for i in known}
    sites = tuple(_completed(s, known.get(s.id, {})) for s in listed.values())
    return settings.model_copy(update={"sites": sites})


def _site(row: tuple[Any, ...], matomo: MatomoSection) -> dict[str, Any]:
    idsite, level, name, country, kind, regex, replace, filename = row
    values: dict[str, Any] = {"level": level if level in ("R", "N", "L") else "R", "name": name}
    if country and country != UNKNOWN:
        values["country"] = country
    if kind == BY_REGEX and regex:
        values["identifier_map"] = IdentifierMap(regex=regex, replace=replace or "")
    elif kind == BY_FILE and filename:
        path = Path(matomo.sources_folder or ".") / filename
        if not path.is_file():
            msg = f"the sources' metadata map the identifiers of site {idsite} by {filename}, and {path} is no file: set matomo.sources_folder"
            raise MatomoDatabaseError(msg)
        values["identifier_map"] = IdentifierMap(file=str(path))
    return values


def _completed(site: Site, known: dict[str, Any]) -> Site:
    missing = {k: v for k, v in known.items() if k not in site.model_fields_set}
    return Site.model_validate({**{k: getattr(site, k) for k in site.model_fields_set}, **missing})
