"""LA Referencia's database of a month through our code: the documents that their processor should have written."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from datetime import date

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from usage_stats_dagster.documents.contract import to_source
from usage_stats_dagster.items.identifiers import normalise
from usage_stats_dagster.pipeline import months
from usage_stats_dagster.schemas import DOCUMENTS, EVENTS, METRICS_TABLE, VISITS
from usage_stats_dagster_tests.matomo.reading import made, table
from usage_stats_dagster_tests.shared import shared

pytestmark = [pytest.mark.services, pytest.mark.slow]

FIRST, LAST, DAY = date(2025, 6, 1), date(2025, 6, 30), date(2025, 6, 10)
FIGURES = ("views", "outlinks", "downloads", "conversions")


@pytest.fixture(scope="module")
def month(mariadb, tmp_path_factory):
    """Level, country and map of each site come from LA Referencia's source metadata."""
    sites = [{"id": n, "grain": "month"} for n in (1, 2, 3)]
    sources = mariadb.database("lareferenciastatsdb")
    return made(tmp_path_factory.mktemp("month"), mariadb.database("matomo_s"), sites, FIRST, LAST, sources_url=sources)


@pytest.fixture(scope="module")
def day(mariadb, tmp_path_factory):
    sources = mariadb.database("lareferenciastatsdb")
    folder = tmp_path_factory.mktemp("day")
    return made(folder, mariadb.database("matomo_s"), [{"id": n} for n in (1, 2, 3)], DAY, DAY, sources_url=sources)


def ours(ws, idsite: int, first: date) -> dict[str, dict]:
    return {d["id"]: comparable(d) for d in map(json.loads, to_source(table(ws, DOCUMENTS, idsite, first, first)))}


def theirs(period: str, idsite: int) -> dict[str, dict]:
    with gzip.open(shared(f"fixtures/lareferencia/expected_fixed_s_{period}_site{idsite}.jsonl.gz")) as f:
        return {d["id"]: comparable(d) for d in map(json.loads, f)}


def comparable(document: dict) -> dict:
    """The document's fields that theirs has too, the site as a number, the countries in any order."""
    by_country = {c["country"]: tuple(c[m] for m in FIGURES) for c in document["stats_by_country"]}
    fields = ("id", "identifier", "date", "year", "month", "day", "level", "country", *FIGURES)
    return {**{f: document[f] for f in fields}, "idsite": int(document["idsite"]), "stats_by_country": by_country}


@pytest.mark.parametrize("idsite", [1, 2])
def test_the_documents_of_a_month_are_theirs(month, idsite):
    assert ours(month, idsite, FIRST) == theirs("month", idsite)


@pytest.mark.parametrize("idsite", [1, 2, 3])
def test_a_month_is_the_same_from_its_days_and_from_its_events(month, idsite, monkeypatch):
    site, days = month.settings.site(idsite), month.lake.days_of_month(METRICS_TABLE, idsite, FIRST)
    expected = months.from_events(month, site, FIRST, days, "rules")
    monkeypatch.setattr(months, "SMALL_MONTH", 0)
    monkeypatch.setattr(months, "from_events", None)
    assert_frame_equal(months.month_rows(month, site, FIRST, days, "rules"), expected)
    summed = table(month, METRICS_TABLE, idsite, FIRST, LAST)
    assert summed["views"].sum() > expected["views"].sum()  # visits over midnight, counted on both days


def test_site_3_is_theirs_once_two_spellings_are_one_item(month):
    """Their regex map skips normalising, so that `https://` and `/rest` stay items of their own."""
    expected: dict[str, dict] = defaultdict(
        lambda: {"figures": dict.fromkeys(FIGURES, 0), "countries": defaultdict(lambda: [0] * 4)}
    )
    spelled = list(theirs("month", 3).values())
    plain = normalise(pl.Series([d["identifier"] for d in spelled])).str.replace(
        r"^oai:repositorio3\.example\.org:(.*)$", "oai:agregador.example.org:REP3_$1"
    )
    for document, identifier in zip(spelled, plain, strict=True):
        one = expected[identifier]
        for m in FIGURES:
            one["figures"][m] += document[m]
        for country, numbers in document["stats_by_country"].items():
            one["countries"][country] = [a + b for a, b in zip(one["countries"][country], numbers, strict=True)]
    found = {
        d["identifier"]: {
            "figures": {m: d[m] for m in FIGURES},
            "countries": {c: list(n) for c, n in d["stats_by_country"].items()},
        }
        for d in ours(month, 3, FIRST).values()
    }
    assert found == {i: {"figures": e["figures"], "countries": dict(e["countries"])} for i, e in expected.items()}
    assert {d["country"] for d in ours(month, 3, FIRST).values()} == {"AR"}


@pytest.mark.parametrize("idsite", [1, 2])
def test_a_day_differs_from_theirs_by_the_events_at_midnight_only(day, idsite):
    """They drop the events of a visit that ends on the next day, and its figures with them."""
    mine, golden = ours(day, idsite, DAY), theirs("day", idsite)
    events, visits = table(day, EVENTS, idsite, DAY, DAY), table(day, VISITS, idsite, DAY, DAY)
    at_midnight = events.join(visits.filter(~pl.col("counted_here")), on="idvisit", how="semi")
    items = set(normalise(at_midnight["identifier"].drop_nulls().unique()))
    differing = {i for i in mine.keys() | golden.keys() if mine.get(i) != golden.get(i)}
    assert {(mine.get(i) or golden[i])["identifier"] for i in differing} <= items
    assert 0 < at_midnight.height <= 60
    for m in FIGURES:
        assert sum(d[m] for d in mine.values()) >= sum(d[m] for d in golden.values())
