import json

import polars as pl
import pytest

from usage_stats_dagster.lookups.referrers import Referrers
from usage_stats_dagster_tests.shared import shared

SITE = Referrers(own_hosts=("repo.example.org",), extra_spam=("Bad.example",))


@pytest.mark.parametrize(
    ("referrer", "kind"),
    [
        (None, (1, None)),
        ("-", (1, None)),
        ("not a url", (1, None)),
        ("https://repo.example.org/handle/1/2", (1, None)),
        ("http://WWW.repo.example.org:8080/", (1, None)),
        ("https://www.google.com.br/", (2, "Google")),
        ("https://www.google.com/search?q=tese", (2, "Google")),
        ("https://www.google.com/maps", (3, "www.google.com")),
        ("https://scholar.google.es/scholar?hl=es&q=x", (2, "Google Scholar")),
        ("android-app://com.google.android.googlequicksearchbox/", (2, "Google")),
        ("https://es.search.yahoo.com/", (2, "Yahoo!")),
        ("https://www.bing.com/search?q=x#y", (2, "Bing")),
        ("https://t.co/abc", (7, "Twitter")),
        ("https://l.facebook.com/l.php?u=x", (7, "Facebook")),
        ("https://notfacebook.com/", (3, "notfacebook.com")),
        ("https://user@Es.Wikipedia.org/wiki/Tesis", (3, "es.wikipedia.org")),
    ],
)
def test_kinds(referrer, kind):
    assert SITE.classify(pl.Series([referrer], dtype=pl.String)).row(0) == kind


@pytest.mark.parametrize(
    ("referrer", "spam"),
    [
        (None, False),
        ("https://repo.example.org/", False),
        ("http://semalt.semalt.com/crawler.php?u=http://x", True),
        ("https://example.org/?u=SEMALT.com", True),
        ("http://x.bad.example/", True),
    ],
)
def test_spam_is_a_hosts_name_anywhere_in_the_referrer(referrer, spam):
    assert SITE.spam(pl.Series([referrer], dtype=pl.String)).to_list() == [spam]


def test_spam_and_kind_are_matomos_for_all_its_referrers():
    theirs = json.loads(shared("fixtures/matomo/referrers.json").read_text())
    referrers = pl.Series([r["ref"] for r in theirs])
    expected = [
        2 if r["search_engine"] else 7 if r["social"] else 1 if "//repo.example.org" in r["ref"] or not r["ref"] else 3
        for r in theirs
    ]

    assert SITE.spam(referrers).to_list() == [r["spam"] is not None for r in theirs]
    assert SITE.classify(referrers)["referer_type"].to_list() == expected


def test_type_and_name_are_those_of_matomos_visits():
    visits = pl.read_parquet(shared("fixtures/matomo/tables/site10_visits.parquet")).filter(pl.col("referer_type") != 6)
    expected = visits.select(pl.col("referer_type").cast(pl.Int8), pl.col("referer_name").replace("", None))

    assert visits.height == 2033
    assert SITE.classify(visits["referer_url"]).equals(expected, null_equal=True)


def test_versions_follow_what_decides():
    plain = Referrers()
    assert Referrers(extra_spam=("x.example",)).spam_version != plain.spam_version
    assert Referrers(own_hosts=("a.example",)).spam_version == plain.spam_version
    assert Referrers(own_hosts=("a.example",)).version != plain.version
