"""What decides a site's hits and figures beside its logs, by name: the versions that days are stale by.

What belongs here: which parts there are for the source in use, and their versions. What does not: which days are of
other parts (`stale.py`), how parts are compared (`metrics/version.py`).

Two versions: a log's hits are of the settings that it was imported under (`import_parts`), a day's figures of all
rules (`figures_parts`). What is in both, such as the time zone, asks for both to be made anew.
"""

from __future__ import annotations

from usage_stats_dagster.metrics.version import part, rules_parts, rules_version
from usage_stats_dagster.pipeline.tracking import TRACKER_CODE
from usage_stats_dagster.pipeline.workspace import Workspace
from usage_stats_dagster.settings import Site

IMPORT_CODE = "3"
"""Raised when the code reads the same log differently than before: then days are stale."""

FIGURES_CODE = "2"
"""Raised when the code makes other figures of the same events: then days are stale."""


def import_parts(ws: Workspace, site: Site) -> dict[str, str]:
    """What decides which hits a log gives: a change makes the log's days stale, and their re-run imports it anew."""
    settings = ws.settings
    labels = site.model_dump(mode="json", include={"format", "format_regex", "format_time", "exclude"})
    return {
        "this program's reading of logs": IMPORT_CODE,
        **{f"site.{k}": part(v) for k, v in labels.items()},
        "platform.time_zone": part(settings.platform.time_zone),
        "platform.start_date": part(settings.platform.start_date),
        "rules.store_ips": part(settings.rules.store_ips),
        **ws.lookups(site).import_parts,
    }


def figures_parts(ws: Workspace, site: Site) -> dict[str, str]:
    """What decides a day's figures beside its hits: steps, parameters, lists, item rules, labels, the source's settings."""
    return {
        **rules_parts(ws.settings, site),
        **ws.lookups(site).parts,
        **_source_parts(ws, site),
        "this program's figures": FIGURES_CODE,
    }


def import_version(ws: Workspace, site: Site) -> str:
    """Hash of `import_parts`: 16 hexadecimal digits."""
    return rules_version(import_parts(ws, site))


def _source_parts(ws: Workspace, site: Site) -> dict[str, str]:
    """What decides visits and events only where they come from this source."""
    matomo = ws.settings.matomo
    parts = {"matomo.mode": part(matomo.mode)}
    if matomo.mode == "embedded":
        return {**parts, "this program's tracker": TRACKER_CODE}
    parts |= {
        "matomo.custom_variables": part(matomo.custom_variables),
        "site.identifier_slot": part(site.identifier_slot),
        "site.country_slot": part(site.country_slot),
        "rules.store_ips": part(ws.settings.rules.store_ips),
    }
    if matomo.mode == "database":
        from usage_stats_dagster.pipeline.extraction_days import EXTRACTION_CODE  # noqa: PLC0415  (a database's clients)

        return {
            **parts,
            "matomo.custom_dimensions": part(matomo.custom_dimensions),
            "matomo.table_prefix": part(matomo.table_prefix),
            "this program's reading of Matomo": EXTRACTION_CODE,
        }
    from usage_stats_dagster.pipeline.api_extraction import API_CODE  # noqa: PLC0415

    return {**parts, "matomo.url": part(matomo.url), "this program's reading of Matomo": API_CODE}
