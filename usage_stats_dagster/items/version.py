"""The version of a site's item rules: it changes when, and only when, the same URLs could give other items.

What belongs here: the hash of all that decides. What does not: the versions of robots lists and counting steps
(`metrics/`), which are hashed with this one into the day's rules version.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from usage_stats_dagster.items.identifiers import NORMALISING
from usage_stats_dagster.items.mapping import map_fingerprint
from usage_stats_dagster.items.rules import rules_for

if TYPE_CHECKING:
    from usage_stats_dagster.settings import Site

_CODE = 1
"""Raise it when tidying, matching or mapping give other results for the same rules."""


def parts(site: Site) -> dict[str, str]:
    """What decides a site's items, by name: the rules in force (patterns, templates, host), normalising, the map's content.

    Raises ItemRuleError or IdentifierMapError where the settings can't be used.
    """
    # An own rule's name holds the site's title, which decides nothing.
    rules = [(r.pattern, r.action, r.identifier_template, r.needles, r.fold) for r in rules_for(site)]
    mapping = map_fingerprint(site.identifier_map)
    return {
        "item rules (site.platform, item_rules, identifier, url)": _hashed(rules),
        "normalising of identifiers": _hashed((_CODE, NORMALISING)),
        "site.identifier_map": _hashed(mapping) if mapping else "null",
    }


def version(site: Site) -> str:
    """16 hexadecimal digits over the parts; raises what `parts` raises."""
    return hashlib.sha256(repr(sorted(parts(site).items())).encode()).hexdigest()[:16]


def _hashed(value: object) -> str:
    return "#" + hashlib.sha256(repr(value).encode()).hexdigest()[:16]
