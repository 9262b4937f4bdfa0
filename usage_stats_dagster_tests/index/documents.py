"""Documents to index: made from rows of figures, or drawn at random."""

from datetime import date, timedelta

import polars as pl
import xxhash
from hypothesis import strategies as st

from usage_stats_dagster.schemas import DOCUMENTS, METRICS

IDENTIFIERS = (
    "oai:host:1",
    "oai:host:12",
    "oai:host:123/45",
    "oai:host:123/4",
    "oai:host2:1",
    "oai:Host:1",
    "oai:host:abc",
    "oai:host:ABC",
    "10.1590/S0102-311X/é",
    "10.1590/S0102-311X/e\u0301",
    'it\'s "quoted"; DROP TABLE documents --',
    "100%_sure",
    "日本/語",
    "ends with \\",
)


def document(
    idsite: int, day: date, identifier: str, countries: dict[str, int], level: str = "R", **extra: object
) -> dict:
    """One document whose figures are made from a number a country: views n, downloads 2n …"""
    nested = [{"country": c, **{m: n * (i + 1) for i, m in enumerate(METRICS)}} for c, n in sorted(countries.items())]
    sums = {m: sum(c[m] for c in nested) for m in METRICS}
    key = f"{idsite}-{identifier}-{day.year}-{day.month}-{day.day}"
    row = {
        "id": xxhash.xxh64_hexdigest(key.encode()),
        "idsite": idsite,
        "year": day.year,
        "month": day.month,
        "day": day.day,
    }
    row |= {
        "date": day,
        "level": level,
        "identifier": identifier,
        "identifier_prefix": identifier.rpartition(":")[0] or identifier[:7],
    }
    return row | {"country": "XX", **sums, "stats_by_country": nested, "rules_version": "r1"} | extra


def frame(*rows: dict) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=DOCUMENTS.schema)


def days(start: date, count: int) -> list[date]:
    return [start + timedelta(n) for n in range(count)]


@st.composite
def collections(draw) -> dict[int, pl.DataFrame]:
    """Random documents by site, over two months and the turn of a year."""
    choices = st.tuples(st.integers(1, 3), st.sampled_from(days(date(2024, 12, 29), 40)), st.sampled_from(IDENTIFIERS))
    figures = st.dictionaries(st.sampled_from(["br", "ar", "xx", "fr"]), st.integers(0, 4), min_size=1)
    rows = draw(st.dictionaries(choices, figures, max_size=25))
    by_site: dict[int, list[dict]] = {}
    for (idsite, day, identifier), countries in rows.items():
        by_site.setdefault(idsite, []).append(document(idsite, day, identifier, countries, "RNL"[idsite - 1]))
    return {s: frame(*r) for s, r in by_site.items()}
