"""LA Referencia's reports by real HTTP: sums are those of a direct computation, items are not confused, errors are theirs."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

import polars as pl
import pytest

from usage_stats_dagster.schemas import LAREFERENCIA_METRICS
from usage_stats_dagster_tests.api import golden
from usage_stats_dagster_tests.api.conftest import ODD_DAY, YEAR, year_document
from usage_stats_dagster_tests.index.documents import IDENTIFIERS

JUNE_10 = {"start_date": "2025-06-10", "end_date": "2025-06-10"}
OF_SOURCE = {
    "lareferencia": pl.lit(value=True),
    "NACIONAL_BR": pl.col("country") == "BR",
    "opendoar::1003": pl.col("identifier").str.starts_with("oai:agregador.example.org:"),
}
"""A source's documents, as a condition on all raw ones."""


def values(found: dict) -> dict[str, float]:
    return {m: found[m]["value"] for m in LAREFERENCIA_METRICS}


def levels(found: dict) -> dict[str, tuple[int, dict[str, float]]]:
    return {b["key"]: (b["doc_count"], values(b)) for b in found["level"]["buckets"]}


def by_level(rows: pl.DataFrame) -> dict[str, tuple[int, dict[str, float]]]:
    parts = rows.partition_by("level", as_dict=True).items()
    return {level: (part.height, golden.sums(part)) for (level,), part in parts}


def total(days: Iterable[date]) -> dict[str, int]:
    documents = [year_document(d) for d in days]
    return {m: sum(d[m] for d in documents) for m in LAREFERENCIA_METRICS}


@pytest.mark.parametrize("base", ["", "/api/usage_stats/v2"])
@pytest.mark.parametrize("source", OF_SOURCE)
def test_a_source_has_the_sums_of_its_documents(client, source, base):
    found = client.ok(f"{base}/report/repositoryWidget", source_id=source, **JUNE_10)
    rows = golden.everything().filter(OF_SOURCE[source])
    assert rows.height > 300
    assert values(found) == golden.sums(rows)
    assert levels(found) == by_level(rows)
    assert list(levels(found)) == sorted(levels(found), reverse=True)
    (bucket,) = found["time"]["buckets"]
    assert (bucket["key_as_string"], bucket["key"]) == ("2025-06-10T00:00:00.000Z", 1_749_513_600_000)
    assert (bucket["doc_count"], levels(bucket)) == (rows.height, by_level(rows))


@pytest.mark.parametrize("source", OF_SOURCE)
def test_a_source_by_country_has_the_sums_of_its_documents(client, source):
    found = client.ok("/report/repositoryWidgetByCountry", source_id=source, limit=1000, **JUNE_10)
    rows = golden.everything().filter(OF_SOURCE[source])
    expected = golden.by_country(rows)
    assert values(found) == golden.sums(rows)
    assert found["country"]["doc_count"] == expected["documents"].sum()
    for metric in LAREFERENCIA_METRICS:
        buckets = found["country"][metric]["buckets"]
        by_documents = expected.sort("documents", "country", descending=[True, False])
        assert [(b["key"], b["doc_count"], b["count"]["value"]) for b in buckets] == by_documents.select(
            "country", "documents", metric
        ).rows()


def test_the_first_countries_may_be_those_of_most_usage(client, served):
    expected = golden.by_country(golden.everything()).with_columns(
        usage=pl.sum_horizontal("views", "downloads", "outlinks")
    )
    for order in ("usage", "downloads"):
        found = client.ok(
            "/report/repositoryWidgetByCountry", source_id="lareferencia", limit=3, order=order, **JUNE_10
        )
        first = expected.sort(order, "country", descending=[True, False]).head(3)
        shown = expected["documents"].sum() - first["documents"].sum()
        for metric in LAREFERENCIA_METRICS:  # the widget takes the names from one list and looks them up in the others
            assert [b["key"] for b in found["country"][metric]["buckets"]] == first["country"].to_list()
            assert found["country"][metric]["sum_other_doc_count"] == shown
    configured = served(api={"countries_by": "downloads"})
    assert found == configured.ok("/report/repositoryWidgetByCountry", source_id="lareferencia", limit=3, **JUNE_10)


def test_golden_items_have_their_own_sums(client):
    """Those of the repository that is a source at its three levels, others where the source asked for has them."""
    rows = golden.everything().filter(
        ~pl.col("identifier").str.starts_with("oai:https:")
    )  # a spelling that we never index
    for identifier in rows["identifier"].unique().sort().gather_every(40):
        sites = golden.SITES if identifier.startswith("oai:agregador.example.org:") else (1, 2)
        own = rows.filter(pl.col("identifier") == identifier, pl.col("idsite").is_in(sites))
        if own.height:
            found = client.ok("/report/itemWidget", identifier=identifier, source="lareferencia", **JUNE_10)
            assert levels(found) == by_level(own), identifier


@pytest.mark.parametrize("identifier", IDENTIFIERS)
def test_odd_identifiers_are_found_and_not_confused(client, identifier):
    n = IDENTIFIERS.index(identifier) + 1
    expected = {m: (n + 1) * (k + 1) for k, m in enumerate(("views", "outlinks", "downloads", "conversions"))}
    found = client.ok("/report/itemWidget", identifier=identifier, source="siteid::11", start_date=ODD_DAY)
    assert (values(found), found["level"]["buckets"][0]["doc_count"]) == (expected, 1)
    found = client.ok("/report/itemWidgetByCountry", identifier=identifier, start_date=ODD_DAY)  # at whatever site
    assert {b["key"]: b["count"]["value"] for b in found["country"]["views"]["buckets"]} == {"fr": n, "xx": 1}


def test_another_spelling_of_an_item_is_the_same_item(client):
    plain = client.ok("/report/itemWidget", identifier="oai:host:123/45", start_date=ODD_DAY)
    for spelled in ("oai:https://host/rest:123/45", "oai:host/xmlui:123/45", " oai:host:123/45 "):
        assert client.ok("/report/itemWidget", identifier=spelled, start_date=ODD_DAY) == plain


def test_an_item_of_a_known_repository_that_nobody_used_has_zeros(client):
    found = client.ok("/report/itemWidget", identifier="oai:agregador.example.org:never/1", start_date="now-1M")
    assert values(found) == dict.fromkeys(LAREFERENCIA_METRICS, 0)
    assert (found["level"]["buckets"], found["time"]["buckets"]) == ([], [])


@pytest.mark.parametrize("unit", ["day", "week", "month", "quarter", "year"])
def test_buckets_are_those_of_the_unit_asked_for(client, unit):
    first, last = YEAR[3], YEAR[-5]
    found = client.ok("/report/repositoryWidget", source_id="year", start_date=first, end_date=last, time_unit=unit)
    expected: dict[str, list[date]] = {}
    for day in YEAR[3:-4]:
        opened = {
            "day": day,
            "week": date.fromisocalendar(*day.isocalendar()[:2], 1),
            "month": day.replace(day=1),
            "quarter": day.replace(month=(day.month - 1) // 3 * 3 + 1, day=1),
            "year": day.replace(month=1, day=1),
        }[unit]
        expected.setdefault(f"{opened}T00:00:00.000Z", []).append(day)
    buckets = {b["key_as_string"]: (b["doc_count"], values(b["level"]["buckets"][0])) for b in found["time"]["buckets"]}
    assert buckets == {key: (len(days), total(days)) for key, days in expected.items()}
    assert list(buckets) == sorted(buckets)
    assert values(found) == total(YEAR[3:-4])


def test_without_a_unit_or_where_the_settings_say_so_a_bucket_is_a_document_date(client, served):
    asked = {"source_id": "year", "start_date": "2024-02", "end_date": "2024-03"}
    days = client.ok("/report/repositoryWidget", **asked)
    assert len(days["time"]["buckets"]) == 29 + 31
    assert served(api={"buckets": "documents"}).ok("/report/repositoryWidget", time_unit="year", **asked) == days


@pytest.mark.parametrize(
    ("path", "wrong", "said"),
    [
        ("itemWidget", {}, "identifier is needed"),
        ("itemWidget", {"identifier": " "}, "identifier is needed"),
        ("itemWidget", {"identifier": "oai:nobody:1"}, "the index does not know it"),
        ("itemWidget", {"identifier": "oai:nobody:1", "source": "none"}, "no source 'none'"),
        ("itemWidget", {"identifier": "oai:host:1", "start_date": "2025-13-01"}, "start_date '2025-13-01' is no date"),
        ("itemWidget", {"identifier": "oai:host:1", "end_date": "now-1x"}, "end_date 'now-1x' is no date"),
        ("itemWidget", {"identifier": "oai:host:1", "time_unit": "decade"}, "day, week, month, quarter, year"),
        ("itemWidgetByCountry", {"identifier": "oai:host:1", "limit": "0"}, "limit '0' is no number from 1"),
        ("itemWidgetByCountry", {"identifier": "oai:host:1", "limit": "ten"}, "limit 'ten'"),
        ("itemWidgetByCountry", {"identifier": "oai:host:1", "limit": "9" * 30}, "limit '999"),
        ("itemWidgetByCountry", {"identifier": "oai:host:1", "order": "fame"}, "documents, usage, views"),
        ("repositoryWidget", {}, "no source '*'"),
        ("repositoryWidget", {"source_id": "opendoar::9"}, "no source 'opendoar::9'"),
        ("repositoryWidgetByCountry", {"source_id": "opendoar::9"}, "no source 'opendoar::9'"),
        ("nothing", {}, "Not Found"),
    ],
)
def test_every_error_is_a_404_with_its_reason(client, path, wrong, said):
    status, content = client.get(f"/report/{path}", **wrong)
    assert (status, list(content)) == (404, ["detail"])
    assert said in content["detail"]
