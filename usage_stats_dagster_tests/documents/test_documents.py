"""Documents: ids, spellings that become one, countries, grains, and the JSON that readers get."""

import gzip
import json
from datetime import date

import duckdb
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from usage_stats_dagster import engine
from usage_stats_dagster.documents.build import called, documents, summed
from usage_stats_dagster.documents.contract import index_body, to_source, with_ids
from usage_stats_dagster.schemas import DOCUMENTS, METRICS, METRICS_TABLE
from usage_stats_dagster.settings import IdentifierMap, Site
from usage_stats_dagster_tests.shared import shared

DAY = date(2025, 6, 10)
REGIONAL = Site(id=1, level="L")
REPOSITORY = Site(id=3, level="R", country="ar")


def metrics(*rows) -> pl.DataFrame:
    """Rows of (identifier, visitors' country, views, more columns)."""
    made = []
    for identifier, country, views, more in rows:
        zeros = dict.fromkeys((*METRICS, "searches"), 0)
        row = {
            "idsite": 1,
            "day": DAY,
            "identifier": identifier,
            "country": country,
            "level": "L",
            "rules_version": "v1",
        }
        made.append({"country_item": None} | row | zeros | {"views": views} | more)
    return METRICS_TABLE.conform(
        pl.DataFrame(made, schema_overrides=METRICS_TABLE.schema).select(*METRICS_TABLE.columns)
    )


def one(frame: pl.DataFrame) -> dict:
    assert frame.height == 1
    return frame.row(0, named=True)


def test_a_document_an_identifier_with_its_countries_nested_and_sorted():
    frame = metrics(
        ("oai:host:2", "br", 1, {}),
        ("oai:host:1", "us", 2, {}),
        ("oai:host:1", None, 3, {"total_item_requests": 4}),
        ("oai:host:1", "ar", 5, {}),
        (None, "br", 0, {"searches": 9}),
    )
    made = documents(frame, REGIONAL, "day", DAY)
    assert made["identifier"].to_list() == ["oai:host:1", "oai:host:2"]
    first = made.row(0, named=True)
    assert (first["views"], first["total_item_requests"], first["identifier_prefix"]) == (10, 4, "oai:host")
    assert [(s["country"], s["views"]) for s in first["stats_by_country"]] == [(None, 3), ("ar", 5), ("us", 2)]


def test_spellings_that_become_one_identifier_are_summed_and_keep_the_country():
    frame = metrics(
        ("oai:https://host/rest:1/2", "br", 1, {"country_item": "CO"}),
        ("oai:host:1/2", "br", 2, {}),
        ("oai:old:1/2", "ar", 4, {}),
    )
    mapping = IdentifierMap(regex="^oai:old:", replace="oai:host:")
    made = one(documents(frame, REGIONAL, "day", DAY, mapping=mapping))
    assert (made["identifier"], made["views"], made["country"]) == ("oai:host:1/2", 7, "CO")
    assert [(s["country"], s["views"]) for s in made["stats_by_country"]] == [("ar", 4), ("br", 3)]


@pytest.mark.parametrize(
    ("site", "country_item", "country"),
    [(REGIONAL, "CO", "CO"), (REGIONAL, None, "XX"), (REPOSITORY, None, "AR"), (REPOSITORY, "CO", "AR")],
)
def test_a_regional_sites_items_have_their_own_country(site, country_item, country):
    frame = metrics(("oai:host:1", "br", 1, {"country_item": country_item}))
    assert one(documents(frame, site, "day", DAY))["country"] == country


def test_a_month_sums_its_days_and_takes_the_last_country():
    frame = metrics(
        ("oai:host:1", "br", 1, {"day": date(2025, 6, 2), "country_item": "UY"}),
        ("oai:host:1", "br", 2, {"day": date(2025, 6, 30), "country_item": "CO", "rules_version": "v2"}),
        ("oai:host:1", "br", 4, {"day": date(2025, 6, 30)}),
    )
    made = one(documents(frame, REGIONAL, "month", DAY))
    period = (made["date"], made["year"], made["month"], made["day"])
    assert period == (date(2025, 6, 1), 2025, 6, 1)
    assert (made["views"], made["country"], made["rules_version"]) == (7, "CO", "v1+v2")


def test_no_metrics_no_documents():
    assert documents(METRICS_TABLE.empty(), REGIONAL, "day", DAY).equals(DOCUMENTS.empty())


def test_the_sums_are_the_same_on_duckdb():
    frame = metrics(
        ("oai:host:1", "br", 1, {"country_item": "UY"}),
        ("oai:https://host:1", "br", 2, {"country_item": "CO"}),
        ("oai:host:2", None, 3, {}),
    )
    identifiers = called(frame["identifier"], None)
    connection = duckdb.connect(config={"threads": 1})
    on_duckdb = summed(*(engine.wrap(connection.from_arrow(f.to_arrow())) for f in (frame, identifiers)))
    on_polars = summed(*(engine.wrap(f.lazy()) for f in (frame, identifiers)))
    both = [engine.collect(f).sort("identifier", "country") for f in (on_duckdb, on_polars)]
    assert_frame_equal(*both)


def test_the_ids_are_those_of_the_system_replaced():
    path = shared("fixtures/lareferencia")
    for name in ("golden_s_day_site1", "golden_s_month_site2"):
        with gzip.open(path / f"{name}.jsonl.gz") as lines:
            golden = [json.loads(line) for line in lines]
        frame = pl.DataFrame(
            [{k: d[k] for k in ("id", "idsite", "identifier", "year", "month", "day")} for d in golden]
        )
        assert_frame_equal(with_ids(frame.drop("id")).select("id"), frame.select("id"))


def test_the_source_has_the_contracts_fields_and_types():
    frame = metrics(("oai:host:1", "br", 1, {}), ("oai:host:1", None, 2, {}))
    source = json.loads(to_source(documents(frame, REPOSITORY, "day", DAY))[0])
    assert (source["idsite"], source["date"]) == (3, "2025-06-10T00:00:00")
    assert source["stats_by_country"][0]["country"] is None
    properties = index_body()["mappings"]["properties"]
    assert list(source) == list(properties) == list(DOCUMENTS.columns)
    nested = properties["stats_by_country"]["properties"]
    assert [list(s) for s in source["stats_by_country"]] == [list(nested)] * 2
    with gzip.open(shared("fixtures/lareferencia/golden_s_day_site1.jsonl.gz")) as lines:
        golden = json.loads(next(lines))
    assert golden.keys() <= source.keys()
    assert golden["stats_by_country"][0].keys() <= nested.keys()
