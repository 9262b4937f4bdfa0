"""The rules version: one hash over all that decides what counts.

What belongs here: which settings are part of it. What does not: the lists' own hash, which whoever loads the lists
(robots, country data) hands in.
"""

from __future__ import annotations

from usage_stats_dagster.items.version import version as items_version
from usage_stats_dagster.settings import Settings, Site, settings_hash


def rules_version(settings: Settings, site: Site, lists_version: str) -> str:
    """16 hexadecimal digits over steps, parameters, time zone, the site's item rules and labels, and the lists.

    Two settings with the same version give the same figures from the same logs. Places (paths, whether IPs are kept)
    are not in it: a file of identifiers counts by its content, a country database by `lists_version`. Raises
    ItemRuleError or IdentifierMapError where the site's rules can't be used.
    """
    rules = settings.rules.model_dump(mode="json", exclude={"store_ips", "country_database"})
    labels = site.model_dump(mode="json", include={"id", "url", "level", "country", "exclude"})
    return settings_hash(repr(rules), settings.platform.time_zone, repr(labels), items_version(site), lists_version)
