"""Applying rules: any text at all, own rules, templates, and the log's and Matomo's spellings of one URL."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usage_stats_dagster.items.match import explain, identify, tidy
from usage_stats_dagster.items.rules import ItemRuleError, rules_for
from usage_stats_dagster.settings import ItemRule, Site
from usage_stats_dagster_tests.shared import shared

PIECES = st.sampled_from(
    [
        *"/?#;%&=.:",
        "//",
        "%2F",
        "%zz",
        "&amp;",
        ";jsessionid=",
        "handle",
        "bitstream",
        "1",
        "article",
        "view",
        "items",
        "é",
        "日",
        "\n",
        "\0",
        ".pdf",
        ".jpg",
        "scielo.php",
        "pid=",
        "https://h",
    ]
)
URLS = st.lists(st.none() | st.text() | st.lists(PIECES, max_size=12).map("".join), max_size=6)


@settings(deadline=None)
@given(URLS)
def test_any_text_gives_one_row_each_and_never_an_error(urls):
    column = pl.Series(urls, dtype=pl.String)
    got = explain(column, Site(id=1, url="https://repo.example.org"))
    assert len(got) == len(urls)
    item = got["item_action"].is_in(["investigation", "request"]).fill_null(False)
    assert (got["identifier"].is_not_null() == item).all()
    assert tidy(column).is_null().equals(column.is_null())
    assert tidy(column).drop_nulls().str.starts_with("/").all()


@settings(deadline=None, max_examples=20)
@given(URLS)
def test_what_a_url_means_does_not_depend_on_its_neighbours(urls):
    site = Site(id=1)
    together = identify(pl.Series(urls, dtype=pl.String), site)
    assert [identify(pl.Series([u], dtype=pl.String), site).row(0) for u in urls] == together.rows()


def test_a_megabyte_of_url_is_read_like_any_other():
    long = "/bitstream/handle/1/2/" + "a" * 1_000_000 + ".pdf"
    deep = "/x" * 500_000 + "/handle/1/2"
    got = identify(pl.Series([long, deep]), Site(id=1))
    assert got["identifier"].to_list() == ["1/2", None]


def test_matomos_spelling_of_a_url_means_what_the_logs_does():
    stored = pl.read_parquet(shared("fixtures/matomo/tables/site10_events.parquet"), columns=["action_url"])
    urls = stored["action_url"].drop_nulls().unique().sort()
    paths = urls.str.replace(r"^(?:https?://)?repo\.example\.org", "").str.replace_all("&amp;", "&", literal=True)
    site = Site(id=10, url="https://repo.example.org", platform="dspace")
    got = identify(urls, site)
    assert got.equals(identify(paths, site))
    pages = urls.str.contains(r"org/handle/\d+/\d+/?(?:\?|$)")
    assert pages.sum() > 500
    assert (got["item_action"].filter(pages) == "investigation").all()


def test_own_rules_come_first_and_take_their_own_identifier():
    rule = ItemRule(pattern=r"^/obra/(?P<id>\d+)/texto", action="request", identifier="obra:{id}")
    page = ItemRule(pattern=r"^/obra/(?P<row>)(?P<id>\d+)", action="investigation")
    find = ItemRule(pattern=r"^/busca\?", action="search")
    site = Site(id=1, url="https://a.org", item_rules=(rule, page, find))
    got = identify(pl.Series(["/obra/7/texto", "/obra/7", "/busca?q=x", "/handle/1/2"]), site)
    assert got.rows() == [
        ("obra:7", "request"),
        ("7", "investigation"),
        (None, "search"),
        ("oai:a.org:1/2", "investigation"),
    ]


def test_the_sites_template_wins_where_it_can_be_filled():
    site = Site(id=1, url="https://a.org", platform="ojs", identifier="oai:ojs2.{host}:{kind}/{id}")
    got = identify(pl.Series(["/article/view/3", "/catalog/book/3"]), site)
    assert got["identifier"].to_list() == ["oai:ojs2.a.org:article/3", "oai:a.org:monograph/3"]


def test_without_the_sites_address_the_local_part_stands_alone():
    urls = pl.Series(["/handle/1/2", "/article/view/3", "/records/4"])
    assert identify(urls, Site(id=1))["identifier"].to_list() == ["1/2", "article/3", "4"]


@pytest.mark.parametrize(
    ("site", "says"),
    [
        (
            Site(id=3, item_rules=(ItemRule(pattern="(?!a)b(?P<id>x)", action="request"),)),
            ["site 3", r"item_rules\[0\]", "look-a"],
        ),
        (Site(id=3, item_rules=(ItemRule(pattern="/x/([0-9]+)", action="request"),)), ["'id'", "groups are: none"]),
        (Site(id=3, platform="dspace", identifier="{doi}"), ["site 3", "'{doi}'", "handle, uuid"]),
        (Site(id=3, platform="dspace", identifier="x:{host}:{handle}"), ["{host}", "url"]),
    ],
)
def test_an_unusable_rule_says_whose_it_is_and_what_is_wrong(site, says):
    with pytest.raises(ItemRuleError) as e:
        rules_for(site)
    for part in says:
        assert part.replace("\\", "") in str(e.value)
