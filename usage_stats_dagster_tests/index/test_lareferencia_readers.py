"""Documents as LA Referencia's services ask for them: by the index's name, with match_phrase on `identifier`."""

import gzip
import json
from collections import Counter
from datetime import date

import polars as pl
import pytest

from usage_stats_dagster.index.interface import Selection
from usage_stats_dagster.index.opensearch.index import OpenSearchIndex
from usage_stats_dagster.schemas import METRICS
from usage_stats_dagster_tests.index.documents import IDENTIFIERS, document, frame
from usage_stats_dagster_tests.opensearch_server import call, removed, section
from usage_stats_dagster_tests.shared import shared

pytestmark = pytest.mark.services
DAY = date(2025, 6, 10)
FOUR = METRICS[:4]


@pytest.fixture
def options(opensearch):
    made = section(opensearch)
    yield made
    removed(made)


def golden(name: str) -> pl.DataFrame:
    """The fixture's documents as ours: figures that they don't have are 0."""
    with gzip.open(shared(f"fixtures/lareferencia/{name}.jsonl.gz")) as lines:
        rows = [json.loads(line) for line in lines]
    none = dict.fromkeys(METRICS, 0)
    return frame(
        *(
            none | d | {"idsite": int(d["idsite"]), "date": date.fromisoformat(d["date"][:10]), "rules_version": "r1"}
            | {"identifier_prefix": d["identifier"].rpartition(":")[0], "stats_by_country": [none | c for c in d["stats_by_country"]]}
            for d in rows
        )
    )  # fmt: skip


def asked(options, must: list, filters: list = ()) -> dict:
    """The widget's query: sums, by level and by country."""
    body = {
        "size": 0,
        "track_total_hits": True,
        "query": {"bool": {"must": must, "filter": [{"range": {"date": {"gte": "2025-06-01", "lte": "2025-06-30"}}}, *filters]}},
        "aggs": {
            **{m: {"sum": {"field": m}} for m in FOUR},
            "level": {"terms": {"field": "level", "size": 5, "order": {"_key": "desc"}}},
            "country": {
                "nested": {"path": "stats_by_country"},
                "aggs": {"views": {"terms": {"field": "stats_by_country.country", "size": 300}, "aggs": {"count": {"sum": {"field": "stats_by_country.views"}}}}},
            },
        },
    }  # fmt: skip
    return call(options.url, "POST", f"/{options.prefix}-1/_search?ignore_unavailable=true", body)


def test_the_fixtures_sums_are_those_of_a_direct_computation(options):
    documents = golden("golden_s_day_site1")
    with OpenSearchIndex(options) as index:
        index.replace(1, DAY, DAY, documents)
        assert index.totals().row(0, named=True) == {"documents": 732, **{m: documents[m].sum() for m in METRICS}}
        found = asked(options, [])["aggregations"]
        assert {m: found[m]["value"] for m in FOUR} == {m: documents[m].sum() for m in FOUR}
        by_country = Counter()
        for row in documents["stats_by_country"].explode().struct.unnest().iter_rows(named=True):
            by_country[row["country"]] += row["views"]
        buckets = {b["key"]: b["count"]["value"] for b in found["country"]["views"]["buckets"]}
        assert buckets == {k: v for k, v in by_country.items() if k}
        assert found["country"]["doc_count"] == documents["stats_by_country"].list.len().sum()
        for identifier in documents["identifier"][:20]:
            mine = documents.filter(pl.col("identifier") == identifier)
            answer = asked(
                options, [{"match_phrase": {"identifier": identifier}}, {"match": {"country": mine["country"][0]}}]
            )
            assert answer["aggregations"]["views"]["value"] == mine["views"].item()
        again = json.loads(index.sources(Selection(identifier=documents["identifier"][5]))["source"][0])
        assert again["id"] == documents["id"][5]


def test_the_mapping_is_the_contract(options):
    with OpenSearchIndex(options) as index:
        index.replace(1, DAY, DAY, frame(document(1, DAY, "oai:host:1", {"br": 1})))
    (mapping,) = call(options.url, "GET", f"/{options.prefix}-1/_mapping").values()
    properties = mapping["mappings"]["properties"]
    four = {m: {"type": "long"} for m in METRICS}
    keyword, long = {"type": "keyword"}, {"type": "long"}
    assert properties["identifier"].pop("fields")["keyword"]["type"] == "keyword"
    assert properties == {
        "id": keyword, "idsite": long, "year": long, "month": long, "day": long, "date": {"type": "date"}, "level": keyword,
        "identifier": {"type": "text"}, "identifier_prefix": keyword, "country": keyword, **four,
        "stats_by_country": {"type": "nested", "properties": {"country": keyword, **four}}, "rules_version": keyword,
    }  # fmt: skip
    (settings,) = call(options.url, "GET", f"/{options.prefix}-1/_settings").values()
    assert settings["settings"]["index"]["number_of_shards"] == "1"
    assert call(options.url, "GET", f"/{options.prefix}-1/_doc/{document(1, DAY, 'oai:host:1', {})['id']}")["found"]


def test_what_the_analyser_makes_of_identifiers(options):
    """`match_phrase` on a prefix misses local parts that begin with a letter; the keyword fields miss and confuse none."""
    documents = frame(*(document(1, DAY, i, {"br": 2**n}) for n, i in enumerate(IDENTIFIERS)))
    with OpenSearchIndex(options) as index:
        index.replace(1, DAY, DAY, documents)

    def found(clause):
        views = int(asked(options, [clause])["aggregations"]["views"]["value"])
        return {i for n, i in enumerate(IDENTIFIERS) if views & 2**n}

    for identifier in IDENTIFIERS:
        assert found({"term": {"identifier.keyword": identifier}}) == {identifier}
        assert identifier in found({"match_phrase": {"identifier": identifier}})
    at_host = {i for i in IDENTIFIERS if i.startswith("oai:host:")}
    assert found({"term": {"identifier_prefix": "oai:host"}}) == at_host
    as_phrase = {i for i in at_host | {"oai:Host:1"} if i.rpartition(":")[2][0].isdigit()}
    assert found({"match_phrase": {"identifier": "oai:host*"}}) == as_phrase
