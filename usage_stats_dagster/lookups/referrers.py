"""Referrers: spam or not, and of what kind (search engine, social network, website, own pages).

What belongs here: what a referrer's own text says. What does not: campaigns, which the landing URL names
(`tracker/campaigns.py`), and which hit's referrer a visit takes (`tracker/`).

The kinds and their numbers are Matomo's (`log_visit.referer_type`); the tables of engines and networks are our own.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from importlib.resources import files

import orjson
import polars as pl

from usage_stats_dagster.lookups.remembered import Remembered

DIRECT, SEARCH_ENGINE, WEBSITE, SOCIAL = 1, 2, 3, 7

CLASSIFIED = pl.Struct({"referer_type": pl.Int8, "referer_name": pl.String})

_URL = (
    r"^[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#@]*@)?(?P<host>[^/?#:@]+)(?::[0-9]*)?"
    r"(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?(?:#(?P<fragment>.*))?"
)


@dataclass(frozen=True)
class _Engine:
    """A search engine: `host` and `path` are regexes of the whole, `keys` are the parameters that hold the keyword.

    A page of the engine is a search when it says for what, or when its path is one of those from which engines send
    people on without saying it.
    """

    name: str
    host: str
    keys: str = "q"
    path: str = "/?"


_TLD = r"[a-z]{2,3}(?:\.[a-z]{2})?"
_ANY = r".*"

ENGINES = (
    _Engine("Google Scholar", rf"scholar\.google\.{_TLD}", path=_ANY),
    _Engine("Google Images", rf"images\.google\.{_TLD}", path="/?|/imgres|/search"),
    _Engine("Google Video", rf"video\.google\.{_TLD}", path="/?|/search"),
    _Engine("Google News", rf"news\.google\.{_TLD}", path="/?|/search"),
    _Engine("Google", rf"(?:(?:www|www2|encrypted|ipv6|go)\.)?google\.{_TLD}", path="/?|/search|/url"),
    _Engine("Google", r"com\.google\.android\.googlequicksearchbox", path=_ANY),
    _Engine("Bing", r"(?:[a-z0-9-]+\.)?bing\.com", path="/?|/ck/a|/cr"),
    _Engine("DuckDuckGo", r"(?:(?:www|html|lite|r|start|safe)\.)?duckduckgo\.com", path=_ANY),
    _Engine("Yahoo!", rf"(?:www\.|[a-z0-9.-]*search\.|r\.search\.)?yahoo\.{_TLD}", "p|q", path=_ANY),
    _Engine("Yahoo! Japan", r"(?:www\.|search\.)?yahoo\.co\.jp", "p"),
    _Engine("Yandex", rf"(?:www\.|m\.)?(?:yandex\.{_TLD}|ya\.ru)", "text", path="/?|/clck/.*|/search/?.*"),
    _Engine("Baidu", r"(?:(?:www|www1|m)\.)?baidu\.com", "wd|word|kw", path="/?|/link|/s"),
    _Engine("Ecosia", r"(?:www\.)?ecosia\.org"),
    _Engine("Qwant", r"(?:(?:www|lite)\.)?qwant\.com", path=_ANY),
    _Engine("Startpage", r"(?:www\.)?startpage\.com", "query|q", path=_ANY),
    _Engine("Brave", r"search\.brave\.com", path=_ANY),
    _Engine("Ask", rf"(?:[a-z0-9.-]+\.)?ask\.(?:com|{_TLD})", "q|ask|searchfor"),
    _Engine("AOL", rf"(?:[a-z-]*search|recherche|suche)\.aol\.{_TLD}", "q|query"),
    _Engine("Naver", r"(?:(?:www|search|m\.search)\.)?naver\.com", "query"),
    _Engine("Daum", r"search\.daum\.net"),
    _Engine("Seznam", r"(?:www|search)\.seznam\.cz"),
    _Engine("Sogou", r"(?:(?:www|m)\.)?sogou\.com", "query|keyword"),
    _Engine("360search", r"(?:www\.|m\.)so\.com"),
    _Engine("Lycos", r"(?:www|search)\.lycos\.(?:com|fr|de|it|es|co\.uk)", "q|query"),
    _Engine("Mojeek", r"(?:www\.)?mojeek\.(?:com|co\.uk)"),
    _Engine("Swisscows", r"(?:www\.)?swisscows\.(?:com|ch)", "query|q"),
    _Engine("Kagi", r"kagi\.com", path=_ANY),
    _Engine("Dogpile", r"(?:www\.)?dogpile\.com"),
    _Engine("Rambler", r"nova\.rambler\.ru", "query"),
    _Engine("Mail.ru", r"go\.mail\.ru"),
    _Engine("T-Online", r"suche\.t-online\.de"),
    _Engine("Web.de", r"suche\.web\.de", "q|su"),
    _Engine("BASE", r"(?:www\.)?base-search\.net", "lookfor"),
    _Engine("Facebook", r"www\.facebook\.com"),
)
"""In the order in which they are tried."""

NETWORKS = {
    "Facebook": "facebook.com fb.me",
    "Twitter": "twitter.com x.com t.co",
    "LinkedIn": "linkedin.com lnkd.in com.linkedin.android",
    "Instagram": "instagram.com",
    "YouTube": "youtube.com youtu.be",
    "Reddit": "reddit.com com.reddit.frontpage",
    "Pinterest": "pinterest.com pinterest.com.mx pinterest.es pinterest.pt pinterest.fr pinterest.de pinterest.co.uk",
    "Telegram": "web.telegram.org t.me org.telegram.messenger",
    "WhatsApp": "web.whatsapp.com wa.me",
    "Mastodon": "mastodon.social",
    "Bluesky": "bsky.app",
    "Threads": "threads.net",
    "TikTok": "tiktok.com",
    "Vkontakte": "vk.com vkontakte.ru",
    "Odnoklassniki": "ok.ru odnoklassniki.ru",
    "Weibo": "weibo.com t.cn",
    "tumblr": "tumblr.com",
    "XING": "xing.com",
    "Viadeo": "viadeo.com",
    "Vimeo": "vimeo.com",
    "Flickr": "flickr.com",
    "Taringa!": "taringa.net",
    "LiveJournal": "livejournal.com livejournal.ru",
    "Hacker News": "news.ycombinator.com",
    "StackOverflow": "stackoverflow.com",
    "GitHub": "github.com",
    "SourceForge": "sourceforge.net",
    "Douban": "douban.com",
}
"""Network: its hosts and, with them, every host below."""


c = pl.col


class Referrers:
    """What referrers say. `own_hosts` are the site's (with or without `www.`), `extra_spam` adds to the spam hosts."""

    def __init__(self, own_hosts: tuple[str, ...] = (), extra_spam: tuple[str, ...] = ()) -> None:
        self._own = sorted({h.lower().removeprefix("www.") for h in own_hosts})
        self._remembered = Remembered(self._judge)
        self._remembered_spam = Remembered(lambda r: r.str.contains_any(self._spam, ascii_case_insensitive=True))
        self._spam = sorted({h.strip().lower() for h in (*_spam_hosts(), *extra_spam)} - {""})

    @cached_property
    def spam_version(self) -> str:
        """16 hexadecimal digits over the spam hosts."""
        return _hash(self._spam)

    @cached_property
    def lists_version(self) -> str:
        """16 hexadecimal digits over engines and networks: what is the same for every site."""
        return _hash([[(e.name, e.host, e.keys, e.path) for e in ENGINES], NETWORKS])

    @cached_property
    def version(self) -> str:
        """16 hexadecimal digits over spam hosts, own hosts, engines and networks."""
        return _hash([self._spam, self._own, [(e.name, e.host, e.keys, e.path) for e in ENGINES], NETWORKS])

    def spam(self, referrers: pl.Series) -> pl.Series:
        """Boolean: a spam host stands anywhere in the referrer, as Matomo searches (case-insensitively). False for null."""
        return self._remembered_spam(referrers).fill_null(value=False)

    def classify(self, referrers: pl.Series) -> pl.DataFrame:
        """`referer_type` (Int8: 1 direct, 2 search engine, 3 website, 7 social network) and `referer_name` per row.

        Direct: null, no URL, or an own host. The name is the engine's, the network's or the website's host.
        """
        found = self._remembered(referrers)
        return pl.DataFrame({"found": found}).unnest("found").with_columns(pl.col("referer_type").fill_null(DIRECT))

    def classify_for(self, referrers: pl.Series, own_hosts: pl.Series) -> pl.DataFrame:
        """As `classify`, each row as the site sees it whose host (null: none) stands beside it."""
        found = self.classify(referrers)
        table = pl.DataFrame({"host": _bare_hosts(referrers), "own": own_hosts})
        own = table.select(
            (c("host") == c("own").str.to_lowercase().str.strip_prefix("www.")).fill_null(value=False)
        ).to_series()
        return found.with_columns(
            referer_type=pl.when(own).then(pl.lit(DIRECT, pl.Int8)).otherwise("referer_type"),
            referer_name=pl.when(~own).then("referer_name"),
        )

    def _judge(self, referrers: pl.Series) -> pl.Series:
        parts = pl.DataFrame({"url": referrers}).select(pl.col("url").str.extract_groups(_URL)).unnest("url")
        parts = parts.with_columns(pl.col("host").str.to_lowercase())
        # Referrers share hosts: each is looked up once, and only where it is an engine's does the rest matter.
        known = parts.select(pl.col("host").drop_nulls().unique())
        sorts = [_sort_of(h) for h in known["host"].to_list()]
        known = known.with_columns(
            engines=pl.Series([e for e, _ in sorts], dtype=pl.String),
            network=pl.Series([n for _, n in sorts], dtype=pl.String),
        )
        parts = parts.join(known, on="host", how="left", maintain_order="left")
        host = pl.col("host")
        return (
            parts.with_columns(engine=_engines(parts))
            .select(
                pl.when(host.is_null() | host.str.strip_prefix("www.").is_in(self._own))
                .then(pl.struct(referer_type=pl.lit(DIRECT, pl.Int8), referer_name=pl.lit(None, pl.String)))
                .when(pl.col("engine").is_not_null())
                .then(pl.struct(referer_type=pl.lit(SEARCH_ENGINE, pl.Int8), referer_name="engine"))
                .when(pl.col("network").is_not_null())
                .then(pl.struct(referer_type=pl.lit(SOCIAL, pl.Int8), referer_name="network"))
                .otherwise(pl.struct(referer_type=pl.lit(WEBSITE, pl.Int8), referer_name="host"))
                .alias("found")
            )
            .get_column("found")
        )


def _bare_hosts(referrers: pl.Series) -> pl.Series:
    """The host of each, lower case, without `www.`."""
    return referrers.str.extract(_URL, 1).str.to_lowercase().str.strip_prefix("www.")


@cache
def _spam_hosts() -> tuple[str, ...]:
    lines = files("usage_stats_dagster.lookups").joinpath("spam_hosts.txt").read_text().splitlines()
    return tuple(line for line in lines if line and not line.startswith("#"))


@lru_cache(maxsize=100_000)
def _sort_of(host: str) -> tuple[str | None, str | None]:
    """Which engines a host may be (their places in ENGINES, with blanks between), and of which network it is."""
    matching = " ".join(str(i) for i, pattern in enumerate(_engine_hosts()) if pattern.fullmatch(host))
    network = next((name for name, pattern in _networks() if pattern.fullmatch(host)), None)
    return matching or None, network


def _engines(parts: pl.DataFrame) -> pl.Series:
    """The engine's name for each row (engines, path, query, fragment); null where its host is none's, or it is no search."""
    rows = (
        parts.select("engines", "path", "query", "fragment")
        .with_row_index("row")
        .filter(pl.col("engines").is_not_null())
    )
    names = pl.Series([None], dtype=pl.String).new_from_index(0, parts.height)
    if rows.is_empty():
        return names
    asked_for = pl.concat_str(pl.lit("&"), pl.col("query").fill_null(""), pl.lit("&"), pl.col("fragment").fill_null(""))
    for (places,), found in rows.partition_by("engines", as_dict=True).items():
        name = pl.coalesce(
            pl.when(
                asked_for.str.contains(rf"&(?:{e.keys})=[^&]") | pl.col("path").str.contains(rf"^(?:{e.path})$")
            ).then(pl.lit(e.name))
            for e in (ENGINES[int(i)] for i in places.split())
        )
        names = names.scatter(found["row"], found.select(name.alias("name"))["name"])
    return names


@cache
def _engine_hosts() -> list[re.Pattern[str]]:
    return [re.compile(e.host) for e in ENGINES]


@cache
def _networks() -> list[tuple[str, re.Pattern[str]]]:
    return [
        (name, re.compile(rf"(?:.*\.)?(?:{'|'.join(re.escape(h) for h in hosts.split())})"))
        for name, hosts in NETWORKS.items()
    ]


def _hash(content: object) -> str:
    return hashlib.sha256(orjson.dumps(content)).hexdigest()[:16]
