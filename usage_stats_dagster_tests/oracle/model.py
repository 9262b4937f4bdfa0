"""A world's tables, as they must be: outcomes, visits, events, figures by day, documents by period.

What belongs here: putting the oracle's parts together. What does not: any rule but those of documents (domain.md 3.1).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any

import xxhash

from usage_stats_dagster_tests.oracle.figures import METRICS, Figures, figures
from usage_stats_dagster_tests.oracle.reading import read
from usage_stats_dagster_tests.oracle.tracking import Visit, prefix_of, visits
from usage_stats_dagster_tests.oracle.worlds import Site, World


@dataclass
class Expected:
    """What one site's lines come to."""

    outcomes: Counter[tuple[date | None, str]] = field(default_factory=Counter)
    visits: dict[date, list[Visit]] = field(default_factory=dict)
    figures: dict[date, Figures] = field(default_factory=dict)
    documents: dict[str, dict[str, Any]] = field(default_factory=dict)


def outcomes(lines: Iterable[bytes], site: Site, world: World) -> Counter[tuple[date | None, str]]:
    """Lines by day and outcome."""
    return Counter((r.day, r.outcome) for r in (read(line, site, world) for line in lines))


def expected(lines: Iterable[bytes], site: Site, world: World) -> Expected:
    """All that the site's lines come to, whatever order they are in."""
    readings = [read(line, site, world) for line in lines]
    result = Expected(Counter((r.day, r.outcome) for r in readings))
    by_day: dict[date, list[Visit]] = defaultdict(list)
    for visit in visits((r.hit for r in readings if r.hit), site, world.rule("visit_seconds")):
        by_day[visit.events[0].hit.day].append(visit)
    for day, of_day in sorted(by_day.items()):
        midnight = datetime.combine(day + timedelta(1), time(), tzinfo=world.zone)
        until = midnight.timestamp() + world.rule("double_click_seconds")
        following = by_day.get(day + timedelta(1), [])
        tail = [e for v in following for e in v.events if e.hit.time.timestamp() <= until]
        result.visits[day] = of_day
        result.figures[day] = figures(of_day, tail, world)
    result.documents = documents(result.figures, site)
    return result


def documents(by_day: dict[date, Figures], site: Site) -> dict[str, dict[str, Any]]:
    """One document an identifier and period, by its id."""
    sums: dict[tuple[date, str], dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for day, of_day in by_day.items():
        period = day if site.grain == "day" else day.replace(day=1)
        for (identifier, country), row in of_day.rows.items():
            if identifier is not None:
                sums[period, identifier][country].update(row)
    made = {}
    for (period, identifier), by_country in sums.items():
        nested = [{"country": c, **{m: row[m] for m in METRICS}} for c, row in sorted(by_country.items())]
        key = f"{site.id}-{identifier}-{period.year}-{period.month}-{period.day}"
        made[xxhash.xxh64_hexdigest(key.encode())] = {
            "id": xxhash.xxh64_hexdigest(key.encode()),
            "idsite": site.id,
            "year": period.year,
            "month": period.month,
            "day": period.day,
            "date": period,
            "level": site.level,
            "identifier": identifier,
            "identifier_prefix": prefix_of(identifier),
            "country": (site.country or "XX").upper(),
            **{m: sum(n[m] for n in nested) for m in METRICS},
            "stats_by_country": nested,
        }
    return made
