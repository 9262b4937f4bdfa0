import gzip
import json
import re
from collections import Counter
from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usage_stats_dagster.tracker.urls import _clean_odd, _keyword, download_urls, full_urls, page_urls, search_keyword
from usage_stats_dagster_tests.shared import shared

SITE = "https://repo.example.org"
PAGE = "repo.example.org/handle/1/2"


def page(url):
    return page_urls(pl.Series([url], dtype=pl.String)).row(0)


def keyword(url):
    return search_keyword(pl.Series([url], dtype=pl.String))[0]


@pytest.mark.parametrize(
    ("url", "stored"),
    [
        (f"{SITE}/handle/1/2", PAGE),
        (f"{SITE}/handle/1/2/", PAGE + "/"),
        ("https://Repo.EXAMPLE.org/Handle/1", "repo.example.org/Handle/1"),
        (f"{SITE}/handle/1/2#abstract", PAGE),
        (f"{SITE}/handle/1/2?", PAGE),
        (f"{SITE}/handle/1/2?show=full&locale=pt_BR", PAGE + "?show=full&locale=pt_BR"),
        (f"{SITE}/handle/1/2?mode=simple&utm_source=news&UTM_Medium=mail&utm_campaign=jan", PAGE + "?mode=simple"),
        (f"{SITE}/handle/1/2?utm_content=x", PAGE + "?utm_content=x"),
        (f"{SITE}/handle/1/2?gclid=AbC123", PAGE),
        (f"{SITE}/handle/1/2;jsessionid=AB12?show=full", PAGE + "?show=full"),
        (f"{SITE}/cgi;a=1;b=2", "repo.example.org/cgi?a=1&b=2"),
        (f"{SITE}/handle/1/2?a=1;b=2", PAGE + "?a=1;b=2"),
        (f"{SITE}/handle/1/2?a=1&amp;sid=2&amp;b=3", PAGE + "?a=1&b=3"),
        (f"{SITE}/handle/1/2?a=1&copy=2", PAGE + "?a=1&copy=2"),
        (f"{SITE}/handle/1/2?a=1&b=2&a=3", PAGE + "?a=3&b=2"),
        (f"{SITE}/handle/1/2?a%5B%5D=1&b=2&a[]=3", PAGE + "?a[]=1&a[]=3&b=2"),
        (f"{SITE}/handle/1/2?full", PAGE + "?full"),
        (f"{SITE}/handle/1/2?a=&&=x&0=y", PAGE + "?a="),
        (f"{SITE}/caf%C3%A9/caf%c3%a9/café", "repo.example.org/caf%C3%A9/caf%c3%a9/café"),
        (f"{SITE}/with space/a b ", "repo.example.org/with space/a b"),
        (f"{SITE}/x?u=a\x01b", "repo.example.org/x?u=a_b"),
        (SITE, "repo.example.org"),
        ("https://user:pw@repo.example.org:8443/x", "user:pw@repo.example.org:8443/x"),
        ("/handle/1/2?sid=1", "/handle/1/2"),
    ],
)
def test_page_urls_are_clean_odd_as_matomo_does(url, stored):
    assert page(url)[0] == stored


@pytest.mark.parametrize(
    ("url", "prefix"),
    [
        ("http://a.org/", 0),
        ("http://www.a.org/", 1),
        ("https://a.org/", 2),
        ("https://www.a.org/?sid=1", 3),
        ("HTTPS://WWW.a.org/", 3),
        ("ftp://a.org/", None),
        ("/handle/1", None),
    ],
)
def test_the_prefix_is_matomos_number(url, prefix):
    stored, number = page(url)
    assert number == prefix
    assert ("a.org/" if prefix is not None else url) == stored


@pytest.mark.parametrize("url", ["*", "repo.example.org:443", "http:///x", "https://repo.example.org:99999/", "", None])
def test_what_is_no_url_has_none(url):
    assert page(url) == (None, None)


def test_a_page_url_is_cut_to_1024_bytes():
    stored, _ = page(f"{SITE}/{'é' * 600}")
    assert len(("https://" + stored).encode()) in (1023, 1024)


@pytest.mark.parametrize(
    ("url", "found"),
    [
        (f"{SITE}/discover?query=%C3%A1gua", "água"),
        (f"{SITE}/discover?query=clima&q=tesis", "tesis"),
        (f"{SITE}/simple-search?QUERY=redes+neurais&rpp=10", "redes neurais"),
        (f"{SITE}/x?q=&query=b", "b"),
        (f"{SITE}/x?q=+&query=b", None),
        (f"{SITE}/x?q[]=a&q[]=b", "a"),
        (f"{SITE}/x#q=a", "a"),
        (f"{SITE}/x;q=a", "a"),
        (f"{SITE}/x?q=0", None),
        (f"{SITE}/x?q", None),
        (f"{SITE}/x?query=%FFa", "\ufffda"),
        (f"{SITE}/x?faq=a", None),
        (f"{SITE}/browse?value=a", None),
        (None, None),
    ],
)
def test_site_search_keywords(url, found):
    assert keyword(url) == found


@pytest.mark.parametrize(
    ("path", "host", "site", "url"),
    [
        ("/a?b", None, SITE, SITE + "/a?b"),
        ("/a", "WWW.Example.org", SITE, "https://www.example.org/a"),
        ("/a", "www.example.org", None, "http://www.example.org/a"),
        ("/a", None, None, "/a"),
        ("http://x.org/a", "www.example.org", SITE, "http://x.org/a"),
        ("*", None, SITE, "*"),
        ("/" + "é" * 2000, None, SITE, SITE + "/" + "é" * 1023),
        (None, None, SITE, None),
    ],
)
def test_full_urls_are_what_the_importer_sends(path, host, site, url):
    frame = pl.DataFrame({"path": [path], "host": [host]}, schema={"path": pl.String, "host": pl.String})

    assert frame.select(full_urls(pl.col("path"), pl.col("host"), site)).item() == url


def test_downloads_stay_whole_but_for_entities():
    urls = [f"{SITE}/a.pdf?sequence=1&isAllowed=y&sid=2#page=3", f"{SITE}/a.pdf?a=1&amp;b=&#39;", None]

    assert download_urls(pl.Series(urls)).to_list() == [urls[0], f"{SITE}/a.pdf?a=1&b='", None]


names = st.sampled_from(["a", "b", "sid", "UTM_Source", "xsid", "sid2", "q", "s", "0", "1", "a[]", "a%5B%5D", "é", ""])
parameters = st.builds(
    lambda n, e, v: n + e + v,
    names,
    st.sampled_from(["=", "=", ""]),
    st.sampled_from(["", "1", "a+%C3%A9", "x=y", " ", "é"]),
)
queries = st.lists(st.tuples(st.sampled_from("?&&;#"), parameters), max_size=5).map(
    lambda ps: "".join(a + b for a, b in ps)
)
odd_urls = st.one_of(
    queries.map(lambda q: f"{SITE}/handle/1{q}"),
    st.text(alphabet="aAq0?&=;#/[]%5BD. é\x01\n", max_size=24).map(lambda t: f"{SITE}/{t}"),
    st.text(alphabet="ab:/?#@*", max_size=12),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(odd_urls, min_size=1, max_size=12))
def test_the_fast_way_over_columns_gives_what_reading_each_url_gives(urls):
    expected = [None if (c := _clean_odd(u)) is None else re.sub(r"^https?://(www\.)?", "", c) for u in urls]
    column = pl.Series(urls, dtype=pl.String)

    assert page_urls(column)["action_url"].to_list() == expected
    assert search_keyword(column).to_list() == [_keyword(u) for u in urls]


LINE = re.compile(r'\S+ \S+ \S+(?: \S+)? \[([^\]]+)\] "\S+ (.*?) \S+" (\d{3}) \S+(?: "(.*?)" "(.*?)")?')


def fixture_hits():
    """Content lines of the fixture's logs which Matomo kept: time, whole URL, and whether it is a download."""
    from usage_stats_dagster.logs.outcomes import IS_DOWNLOAD, IS_STATIC

    agents = json.loads(shared("fixtures/matomo/user_agents.json").read_text())
    human = [a["ua"] for a in agents if not a["excl_bot"]]
    spam = [r["ref"] for r in json.loads(shared("fixtures/matomo/referrers.json").read_text()) if r["spam"]]
    rows = []
    for log in sorted(shared("fixtures/matomo/logs").iterdir()):
        with gzip.open(log, "rt", encoding="utf-8", errors="replace") as lines:
            rows += [m.groups() for line in lines if (m := LINE.match(line))]
    hits = pl.DataFrame(rows, schema=["time", "path", "status", "referrer", "agent"], orient="row")
    return hits.filter(
        ~pl.col("status").str.contains(r"^[45]|^30[^4]|^3[1-9]"),
        ~IS_STATIC,
        pl.col("agent").is_in(human),
        ~pl.col("referrer").is_in(spam),
    ).with_columns(
        pl.col("time").map_elements(_utc, return_dtype=pl.Datetime("us")),
        download=IS_DOWNLOAD,
        url=full_urls(pl.col("path"), pl.lit(None, pl.String), SITE),
    )


def _utc(text):
    try:
        return datetime.strptime(text, "%d/%b/%Y:%H:%M:%S %z").astimezone(UTC).replace(tzinfo=None)
    except ValueError:
        return None


def _unescaped(column):
    for character, entity in zip("\"'<>&", ("&quot;", "&#039;", "&lt;", "&gt;", "&amp;"), strict=True):
        column = column.str.replace_all(entity, character, literal=True)
    return column


def test_times_types_and_urls_are_matomos_7348_events():
    stored = pl.read_parquet(shared("fixtures/matomo/tables/site10_events.parquet"))
    searched = pl.col("action_title_type") == 8
    expected = stored.select(
        "server_time",
        pl.when(searched).then(8).otherwise(pl.col("action_type").fill_null(1)).cast(pl.Int64),
        pl.when(searched).then("action_title").otherwise(_unescaped(pl.col("action_url"))),
    )
    hits = fixture_hits().drop_nulls("time")
    keyword = search_keyword(hits["url"])
    kind = hits.select(pl.when("download").then(3).when(keyword.is_not_null()).then(8).otherwise(1))
    ours = hits.select(
        "time",
        kind.to_series().alias("type").cast(pl.Int64),
        pl.when("download")
        .then(download_urls(hits["url"]))
        .when(keyword.is_not_null())
        .then(keyword)
        .otherwise(page_urls(hits["url"])["action_url"]),
    )

    assert ours.height == 7348
    assert Counter(ours.iter_rows()) == Counter(expected.iter_rows())
