"""All look-ups of a site, made once per process and shared between sites with the same rules.

What belongs here: which look-up a site gets, and the version of all. What does not: any judgement.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import polars as pl

from usage_stats_dagster.lookups import clients
from usage_stats_dagster.lookups.country import CountryLookup, country_lookup
from usage_stats_dagster.lookups.referrers import Referrers
from usage_stats_dagster.lookups.robots import Robots
from usage_stats_dagster.settings import Settings, Site


@dataclass(frozen=True)
class Lookups:
    """What is known beside the log. Each is called with a String column and answers per row."""

    robots: Robots
    countries: CountryLookup
    referrers: Referrers

    def spam(self, referrers: pl.Series) -> pl.Series:
        """Boolean: the referrer is spam; false for null."""
        return self.referrers.spam(referrers)

    def clients(self, user_agents: pl.Series) -> pl.DataFrame:
        """`config_browser_name`, `config_os`, `config_device_type`; null where not derived."""
        return clients.clients(user_agents)

    @property
    def import_version(self) -> str:
        """16 hexadecimal digits: what decides hits (robots, countries, spam)."""
        return _hash(self.robots.version, self.countries.version, self.referrers.spam_version)

    @property
    def import_parts(self) -> dict[str, str]:
        """What decides hits beside the log, by name: `release (hash)`, or `#` and a hash."""
        return {"country data": "#" + self.countries.version, "spam hosts": "#" + self.referrers.spam_version}

    @property
    def parts(self) -> dict[str, str]:
        """What decides hits, visits and events, by name; the settings that go into it excepted."""
        return {
            **{f"robots list {name}": of for name, of in self.robots.lists.items()},
            **self.import_parts,
            "search engines and networks": "#" + self.referrers.lists_version,
            "browsers and systems": "#" + clients.VERSION,
        }

    @property
    def version(self) -> str:
        """16 hexadecimal digits: what decides hits, visits and events."""
        return _hash(self.import_version, self.referrers.version, clients.VERSION)


def lookups_for(settings: Settings, site: Site) -> Lookups:
    """The site's look-ups; raises CountryDatabaseError when the country database can't be used."""
    rules = settings.rules
    own = (site.host,) if site.host else ()
    database = rules.country_database
    return Lookups(_robots(rules), _countries(database, _stamp(database)), _referrers(own, rules.spam_referrers))


def lookups_for_all(settings: Settings) -> Lookups:
    """The look-ups that know no site's own host; raises CountryDatabaseError."""
    return lookups_for(settings, Site(id=1))


def version(settings: Settings) -> str:
    """The version of the look-ups as a site without an address has them."""
    return lookups_for_all(settings).version


_robots = lru_cache(maxsize=4)(Robots)
_referrers = lru_cache(maxsize=1024)(Referrers)


@lru_cache(maxsize=2)
def _countries(database: str | None, stamp: tuple[int, int]) -> CountryLookup:
    del stamp
    return country_lookup(database)


def _stamp(database: str | None) -> tuple[int, int]:
    """Changes when the operator puts another database in the place of this one."""
    if database is None or not Path(database).exists():
        return (0, 0)
    about = Path(database).stat()
    return about.st_mtime_ns, about.st_size


def _hash(*versions: str) -> str:
    return hashlib.sha256(" ".join(versions).encode()).hexdigest()[:16]
