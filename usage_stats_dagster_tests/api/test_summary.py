"""iDigBio's summary/stats by real HTTP: collections of sites and of items, dates, and a day that is made again."""

from __future__ import annotations

from datetime import date

import pytest

from usage_stats_dagster.api.app import make_app
from usage_stats_dagster.index.open import open_index
from usage_stats_dagster.settings import load_settings
from usage_stats_dagster_tests.api.conftest import ODD_DAY, ODD_SITE, YEAR, YEAR_SITE, year_document
from usage_stats_dagster_tests.api.server import serving
from usage_stats_dagster_tests.index.documents import IDENTIFIERS, document, frame

STATS = "/v2/summary/stats"
NOTHING = dict.fromkeys(
    ("seen", "search", "download", "viewed_records", "viewed_media", "search_count", "download_count"), 0
)
COLLECTIONS = [
    {"id": "both", "sites": [YEAR_SITE, ODD_SITE]},
    {"id": "host", "sites": [ODD_SITE], "identifier_prefixes": ["oai:host"], "identifiers": ["oai:host:1", "日本/語"]},
    {"id": "one", "identifiers": ["oai:year.example.org:1"]},
]


def usage(*documents: dict) -> dict[str, int]:
    """What the documents come to, in iDigBio's names."""
    requests = sum(d["total_item_requests"] for d in documents)
    views = sum(d["total_item_investigations"] for d in documents) - requests
    return {**NOTHING, "viewed_records": views, "download": requests, "download_count": requests}


def odd(*identifiers: str) -> list[dict]:
    return [document(ODD_SITE, ODD_DAY, i, {"fr": IDENTIFIERS.index(i) + 1, "xx": 1}) for i in identifiers]


@pytest.fixture(scope="module")
def summary(served):
    return served(collections=COLLECTIONS)


def test_usage_by_month_is_that_of_the_collections_documents(summary):
    found = summary.ok(f"{STATS}/search", dateInterval="month", minDate="2024-02-10", maxDate="2025-06-30")
    months: dict[str, list[dict]] = {}
    for day in YEAR[9:]:
        months.setdefault(str(day.replace(day=1)), []).append(year_document(day))
    expected = {m: {"both": usage(*d), "one": usage(*d)} for m, d in months.items()}
    of_host = odd(*(i for i in IDENTIFIERS if i.startswith("oai:host:")), "日本/語")
    expected["2025-06-01"] = {"both": usage(*odd(*IDENTIFIERS)), "host": usage(*of_host)}
    assert found == {"dates": expected}
    assert list(found["dates"]) == sorted(found["dates"])
    assert summary.ok(f"{STATS}/fields", dateInterval="month", minDate="2024-02-10", maxDate="2025-06-30") == found


def test_inverted_has_every_bucket_between_the_first_and_the_last(summary):
    found = summary.ok(f"{STATS}/search", dateInterval="month", maxDate="2025-06-30", recordset="both", inverted="yes")
    months = found["recordsets"]["both"]
    assert list(found["recordsets"]) == ["both"]
    assert list(months) == [
        f"{y}-{m:02}-01" for y in (2024, 2025) for m in range(1, 13) if (2024, 2) <= (y, m) <= (2025, 6)
    ]
    assert months["2025-03-01"] == NOTHING
    assert months["2025-06-01"] == usage(*odd(*IDENTIFIERS))


def test_sizes_grow_with_the_items_used(summary):
    found = summary.ok(f"{STATS}/api", dateInterval="quarter", minDate="2024-04-01", maxDate="2025-06-30")["dates"]
    assert found["2024-04-01"] == {k: {"records": 1, "mediarecords": 1} for k in ("both", "one")}
    every, host = (1 + len(IDENTIFIERS), 1 + sum(i.startswith("oai:host:") for i in IDENTIFIERS))
    assert found["2025-04-01"] == {
        "both": {"records": every, "mediarecords": every},
        "host": {"records": host, "mediarecords": host},
        "one": {"records": 1, "mediarecords": 1},
    }
    assert summary.ok(f"{STATS}/digest", maxDate="2024-01-31") == {"dates": {}}


def test_the_body_goes_before_the_query_and_both_spellings_are_known(summary):
    body = b'{"min_date": "2025-06-01", "maxDate": "2025-06-30", "dateInterval": "year", "inverted": true}'
    wanted = summary.ok(f"{STATS}/search", minDate="2025-06-01", maxDate="2025-06-30", inverted="true")
    assert list(wanted["recordsets"]) == ["both", "host"]
    for method in ("GET", "POST"):
        assert summary.send(method, f"{STATS}/search?inverted=false&dateInterval=day", body) == (200, wanted)


@pytest.mark.parametrize(
    ("kind", "wrong", "said"),
    [
        ("ingest", {}, "Bad Type"),
        ("search", {"minDate": "yesterday"}, "minDate 'yesterday' is no date"),
        ("api", {"maxDate": "2025-02-30"}, "maxDate '2025-02-30' is no date"),
        ("search", {"date_interval": "hour"}, "dateInterval 'hour' is no unit"),
    ],
)
def test_errors_are_idigbios(summary, kind, wrong, said):
    status, content = summary.get(f"{STATS}/{kind}", **wrong)
    assert (status, content["statusCode"]) == (400, 400)
    assert said in content["error"]


def test_a_body_that_is_no_json_object_is_an_error(summary):
    for body in (b"{", b"[1]", b'"' + b"x" * 70_000 + b'"'):
        status, content = summary.send("POST", f"{STATS}/search", body)
        assert (status, list(content)) == (400, ["error", "statusCode"])


def test_an_unknown_recordset_is_nothing(summary):
    assert summary.ok(f"{STATS}/search", recordset="none") == {"dates": {}}
    assert summary.ok(f"{STATS}/api", recordset="none", inverted="1") == {"recordsets": {}}


def test_many_identifiers_are_one_collection(served, tmp_path):
    listed = tmp_path / "items.txt"
    listed.write_text("\n".join([*IDENTIFIERS, *(f"oai:absent:{n}" for n in range(100)), ""]), encoding="utf-8")
    client = served(collections=[{"id": "listed", "sites": [ODD_SITE], "identifiers_file": str(listed)}])
    assert client.ok(f"{STATS}/search", dateInterval="day") == {
        "dates": {str(ODD_DAY): {"listed": usage(*odd(*IDENTIFIERS))}}
    }
    found = client.ok(f"{STATS}/api", dateInterval="day", maxDate=ODD_DAY)
    assert found["dates"][str(ODD_DAY)]["listed"]["records"] == len(IDENTIFIERS)


def test_harvested_a_day_later_and_la_referencias_figures(served):
    client = served(api={"summary_offset_days": 1, "summary_figures": "lareferencia"})  # each site is a collection
    found = client.ok(f"{STATS}/search", dateInterval="day", minDate="2025-06-13", maxDate="2025-06-13")
    views = sum(d["views"] for d in odd(*IDENTIFIERS))
    assert found["dates"] == {
        "2025-06-13": {
            str(ODD_SITE): {**NOTHING, "viewed_records": views, "download": views * 3, "download_count": views * 3}
        }
    }


def test_a_day_made_again_counts_once_and_as_it_is_now(tmp_path):
    settings = load_settings(index={"path": str(tmp_path / "index.db")}, sites=[{"id": 1}])
    day = date(2025, 6, 1)
    with (
        open_index(settings, create=True) as index,
        serving(make_app(settings, lambda: open_index(settings))) as client,
    ):
        for n in (3, 3, 5):
            documents = [document(1, day, "oai:host:1", {"br": n})]
            index.replace(1, day, day, frame(*documents))
            found = client.ok(f"{STATS}/search", dateInterval="day")
            assert found == {"dates": {str(day): {"1": usage(*documents)}}}
