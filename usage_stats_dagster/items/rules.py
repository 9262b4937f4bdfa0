"""A site's rules: its own first, then its platform's; checked, and hashed into a version.

What belongs here: the order of rules, the template that each one's identifier takes, the errors of own rules. What
does not: the platforms' patterns (`platforms/`), applying rules to URLs (`match.py`).
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

import polars as pl

from usage_stats_dagster.items.platforms import PLATFORMS
from usage_stats_dagster.items.rule import Action, Rule

if TYPE_CHECKING:
    from collections.abc import Hashable

    from usage_stats_dagster.settings import ItemRule, Site

__all__ = ["HOST", "Action", "ItemRuleError", "Rule", "fields", "kind", "rules_for", "rules_of_any_host"]

HOST = "host__"
"""Stands for the host of a URL's site; no name that a pattern's group would have."""

_FIELD = re.compile(r"\{(\w+)\}")


class ItemRuleError(Exception):
    """A site's own rule or identifier template can't be used: the message names the site, the rule and the fault."""


@lru_cache(maxsize=256)
def rules_for(site: Site) -> tuple[Rule, ...]:
    """The site's rules in the order in which they are tried: `site.item_rules`, then the platform's, none twice.

    `site.identifier` takes the place of the template of every rule that has the groups it needs, own rules that name
    their own identifier excepted. Raises ItemRuleError.
    """
    return tuple(dict.fromkeys(_with_host(site, r) for r in _without_host(site)))


def rules_of_any_host(site: Site) -> tuple[Rule, ...]:
    """As `rules_for` a site whose host is known, with the field HOST in its place: the same for all sites of one `kind`."""
    field = "{" + HOST + "}"
    open_ = (
        replace(r, identifier_template=r.identifier_template.replace("{host}", field)) for r in _without_host(site)
    )
    return tuple(dict.fromkeys(open_))


def kind(site: Site) -> tuple[Hashable, ...]:
    """Sites of one kind have the same rules and mapping but for their host."""
    return (site.platform, site.item_rules, site.identifier, site.identifier_map, site.host is None)


def _without_host(site: Site) -> list[Rule]:
    own = [_own(site, n, r) for n, r in enumerate(site.item_rules)]
    platform = [_with_template(site, r) for r in PLATFORMS[site.platform]]
    if site.identifier is not None and not any(r.identifier_template == site.identifier for r in [*own, *platform]):
        groups = sorted({g for r in [*own, *platform] for g in _groups(r.pattern)})
        msg = f"{site.title}: no rule has all that the identifier {site.identifier!r} needs; the groups here are: {', '.join(groups) or 'none'}"
        raise ItemRuleError(msg)
    return [*own, *platform]


def fields(template: str) -> list[str]:
    """The names in a template, in order: `oai:{host}:{handle}` gives host, handle."""
    return _FIELD.findall(template)


def _own(site: Site, n: int, given: ItemRule) -> Rule:
    name = f"{site.title}: item_rules[{n}]"
    try:
        pl.Series([""]).str.contains(given.pattern)
    except pl.exceptions.ComputeError as e:
        reason = str(e).split("This error occurred")[0].strip()
        msg = f"{name}: the pattern {given.pattern!r} can't be used (patterns are Rust's regex: no look-around, no back-references): {reason}"
        raise ItemRuleError(msg) from e
    rule = Rule(given.pattern, given.action, given.identifier, name)
    if "identifier" not in given.model_fields_set:
        rule = _with_template(site, rule)
    if rule.action == "search":
        return rule
    missing = [f for f in fields(rule.identifier_template) if f not in (*_groups(rule.pattern), "host")]
    if missing:
        have = ", ".join(_groups(rule.pattern)) or "none"
        msg = f"{name}: the identifier {rule.identifier_template!r} needs {missing}, but the pattern's named groups are: {have}"
        raise ItemRuleError(msg)
    return rule


def _with_template(site: Site, rule: Rule) -> Rule:
    if site.identifier is None or rule.action in (None, "search"):
        return rule
    return replace(rule, identifier_template=site.identifier) if _fillable(rule, site.identifier) else rule


def _with_host(site: Site, rule: Rule) -> Rule:
    if site.host is not None:
        return replace(rule, identifier_template=rule.identifier_template.replace("{host}", site.host))
    bare = rule.identifier_template.removeprefix("oai:{host}:")
    if "host" in fields(bare) and rule.action not in (None, "search"):
        msg = f"{rule.name}: the identifier {rule.identifier_template!r} needs {{host}}: give the site its url"
        raise ItemRuleError(msg)
    return replace(rule, identifier_template=bare)


def _fillable(rule: Rule, template: str) -> bool:
    return set(fields(template)) <= {*_groups(rule.pattern), "host"}


def _groups(pattern: str) -> list[str]:
    return re.findall(r"\(\?P?<([A-Za-z_]\w*)>", pattern)
