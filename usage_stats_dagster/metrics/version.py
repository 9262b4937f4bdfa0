"""The rules version: one hash over all that decides what counts, and the parts by name that it is made of.

What belongs here: which settings are part of it, how a part is written, how two sets of parts differ in words. What
does not: the lists' own hashes, which whoever loads the lists (robots, country data) hands in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import orjson

from usage_stats_dagster.items.version import parts as items_parts
from usage_stats_dagster.settings import Settings, Site

Parts = Mapping[str, str]
"""What decides figures: a name that an operator knows, and its value, or `#` and the value's hash where it is long."""

_LONG = 80
_HASHED = "#"


def part(value: object) -> str:
    """A part's value as it is stored: JSON, or its hash when that is long."""
    text = orjson.dumps(value, default=str).decode()
    return text if len(text) <= _LONG else hashed(text)


def hashed(text: str) -> str:
    """A part whose value says nothing to people: `#` and 12 hexadecimal digits."""
    return _HASHED + hashlib.sha256(text.encode()).hexdigest()[:12]


def rules_parts(settings: Settings, site: Site) -> dict[str, str]:
    """Steps, parameters, time zone, the site's item rules and labels, by the settings' keys.

    Places (paths, whether IPs are kept) are not in it: a file of identifiers counts by its content, and a country database
    by the look-ups' version. Raises ItemRuleError or IdentifierMapError where the site's rules can't be used.
    """
    rules = settings.rules.model_dump(mode="json", exclude={"store_ips", "country_database"})
    labels = site.model_dump(mode="json", include={"url", "level", "country", "exclude", "grain"})
    return {
        **{f"rules.{k}": part(v) for k, v in rules.items()},
        "platform.time_zone": part(settings.platform.time_zone),
        **{f"site.{k}": part(v) for k, v in labels.items()},
        **items_parts(site),
    }


def rules_version(parts: Parts) -> str:
    """16 hexadecimal digits over the parts: sites and days of one version give the same figures from the same logs."""
    return hashlib.sha256(orjson.dumps(dict(parts), option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def differences(old: Parts, new: Parts) -> list[str]:
    """What changed, a line a part: `rules.double_click_seconds: 30 → 20`; only the name where a value is a hash."""
    lines = []
    for name in sorted({*old, *new}):
        was, now = old.get(name), new.get(name)
        if was == now:
            continue
        hidden = any(v is not None and v.startswith(_HASHED) for v in (was, now))
        lines.append(f"{name} changed" if hidden else f"{name}: {_told(was)} → {_told(now)}")
    return lines


def _told(value: str | None) -> str:
    return "none" if value in (None, "null") else str(value).strip('"')
