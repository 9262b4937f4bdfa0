"""What a world knows without asking the package: who is a robot, whose address is where, what a URL of a platform means.

What belongs here: small tables of facts. What does not: rules.
"""

from __future__ import annotations

from dataclasses import dataclass

HOST = "repo.example.org"

AGENTS: dict[str, bool] = {
    "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0": False,
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36": False,
    "Mozilla/5.0 (Linux; Android 13; CUBOT X30) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Mobile Safari/537.36": True,
    r"Mozilla/5.0 (Windows; \"kiosk\") Gecko/20100101 Firefox/125.0": False,
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)": True,
    "curl/8.5.0": True,
    "-": True,
}
"""User agent: whether COUNTER's list or crawler-user-agents calls it a robot (the telephone too: the allow list mends that)."""

ADDRESSES: dict[str, tuple[str, str, str]] = {
    "192.0.2.7": ("192.0.2.7", "192.0.0.0", "xx"),
    "177.32.5.6": ("177.32.5.6", "177.32.0.0", "br"),
    "83.32.1.2": ("83.32.1.2", "83.32.0.0", "es"),
    "2804:14c:1::1": ("2804:14c:1::1", "2804:14c:1::", "br"),
    "::ffff:177.32.5.6": ("177.32.5.6", "177.32.0.0", "br"),
    **{f"83.32.2.{n}": (f"83.32.2.{n}", "83.32.0.0", "es") for n in range(1, 255)},
}
"""Address as logged: the address meant, its network (/16, /48), the country it is allocated to."""

REFERRERS: dict[str, tuple[int, str | None]] = {
    "-": (1, None),
    f"https://{HOST}/browse": (3, HOST),
    "https://www.google.com/": (2, "Google"),
    "https://other.example.net/page?q=1": (3, "other.example.net"),
    "https://t.co/abc": (7, "Twitter"),
    "https://www.spam-shop.example/buy": (3, "www.spam-shop.example"),
}
"""Referrer as logged: kind and name, as a site that does not know its own address sees it."""

SPAM = "spam-shop.example"


def came_from(referrer: str | None, site_url: str | None) -> tuple[int, str | None]:
    """Kind and name of a referrer; the site's own pages are no referrer."""
    own = site_url is not None and referrer is not None and referrer.startswith(f"https://{HOST}/")
    return (1, None) if referrer is None or own else REFERRERS[referrer]


@dataclass(frozen=True)
class Page:
    """Path and query, and what it is: identifier (`{host}` as in the documents) and act.

    The act is `none` where the platform's rules know that it is none, None where they don't know the page.
    """

    path: str
    identifier: str | None = None
    act: str | None = None


_UUID = "0b5f2c9e-1111-4222-8333-abcdefabcdef"
_PID = "S0034-89102010000600001"
_PID3 = "abcdefghijklmnopqrstuvw"

PAGES: dict[str, tuple[Page, ...]] = {
    "dspace": (
        Page("/handle/123/1", "oai:{host}:123/1", "investigation"),
        Page("/bitstream/handle/123/1/a.pdf", "oai:{host}:123/1", "request"),
        Page("/bitstream/123/1/2/b.html", "oai:{host}:123/1", "request"),
        Page("/xmlui/handle/123/2", "oai:{host}:123/2", "investigation"),
        Page("/handle/123/1-v2", "oai:{host}:123/1-v2", "investigation"),
        Page("/bitstream/handle/123/1/license.txt", None, "none"),
        Page("/bitstream/handle/123/1/a.pdf.jpg", None, "none"),
        Page("/discover?query=water", None, "search"),
        Page("/discover?query=water&page=2", None, "none"),
        Page("/browse"),
        Page("/handle/123/77", "oai:{host}:123/77", "investigation"),
    ),
    "dspace7": (
        Page(f"/items/{_UUID}", _UUID, "investigation"),
        Page(f"/bitstreams/{_UUID}/download", _UUID, "request"),
        Page(f"/server/api/core/bitstreams/{_UUID}/content", _UUID, "request"),
        Page(f"/server/api/core/items/{_UUID}", None, "none"),
        Page("/handle/123/1-v2", "oai:{host}:123/1-v2", "investigation"),
        Page("/search?query=water", None, "search"),
        Page("/home"),
    ),
    "ojs": (
        Page("/index.php/j/article/view/7", "oai:{host}:article/7", "investigation"),
        Page("/index.php/j/article/view/7/9", "oai:{host}:article/7", "investigation"),
        Page("/index.php/j/article/download/7/9", "oai:{host}:article/7", "request"),
        Page("/j/article/view/8/html", "oai:{host}:article/8", "request"),
        Page("/j/preprint/view/8-v2", "oai:{host}:preprint/8-v2", "investigation"),
        Page("/index.php/j/search?query=water", None, "search"),
        Page("/index.php/j/search?query=water&searchPage=2", None, "none"),
        Page("/index.php/j/about"),
    ),
    "scielo": (
        Page(f"/scielo.php?script=sci_abstract&pid={_PID}", _PID, "investigation"),
        Page(f"/scielo.php?script=sci_arttext&pid={_PID}", _PID, "request"),
        Page(f"/j/rsp/a/{_PID3}/abstract/?lang=en", _PID3, "investigation"),
        Page(f"/j/rsp/a/{_PID3}/", _PID3, "request"),
        Page("/pdf/rsp/v44n6/a01.pdf", "pdf/rsp/v44n6/a01.pdf", "request"),
        Page("/cgi-bin/wxis.exe/iah/?exprSearch=water", None, "search"),
        Page("/revistas/"),
    ),
    "eprints": (
        Page("/12/", "oai:{host}:12", "investigation"),
        Page("/12/1/thesis.pdf", "oai:{host}:12", "request"),
        Page("/id/eprint/13", "oai:{host}:13", "investigation"),
        Page("/cgi/search?q=water", None, "search"),
        Page("/information.html"),
    ),
    "invenio": (
        Page("/records/12", "oai:{host}:12", "investigation"),
        Page("/records/12/files/data.csv", "oai:{host}:12", "request"),
        Page("/api/records/12/files/data.csv/content", "oai:{host}:12", "request"),
        Page("/api/records/12", None, "none"),
        Page("/doi/10.5281/zenodo.12", "10.5281/zenodo.12", "investigation"),
        Page("/search?q=water", None, "search"),
        Page("/communities"),
    ),
    "generic": (
        Page("/work/7", "oai:{host}:work/7", "investigation"),
        Page("/work/7/text", "oai:{host}:work/7", "request"),
        Page("/work/7-v2/text", "oai:{host}:work/7-v2", "request"),
        Page("/find?q=water", None, "search"),
        Page("/essay/9/print"),
    ),
}
"""By platform: what its URLs mean, as docs/adding-a-platform.md has it. The first three are about items."""

OWN_RULES = [
    {"pattern": r"^/work/(?P<id>\d+(?:-v\d)?)/text", "action": "request", "identifier": "oai:{host}:work/{id}"},
    {"pattern": r"^/work/(?P<id>\d+)/?(?:\?|$)", "action": "investigation", "identifier": "oai:{host}:work/{id}"},
    {"pattern": r"^/find\?.*\bq=[^&]", "action": "search"},
]
"""The item rules of a generic site."""

OTHER_PATHS = ("/style.css", "/robots.txt", "/private/page", "/logo.PNG?v=2", "*", "/feed.xml", "/about")
"""What every server is asked for beside items."""


def decorate(path: str, how: str) -> str:
    """The path as people and mailings write it too; what it means stays."""
    match how:
        case "plain":
            return path
        case "slash":
            return "/" + path
        case "session":
            return path if "?" in path else f"{path};jsessionid=0A1B"
    return f"{path}{'&' if '?' in path else '?'}{how}"


DECORATIONS = (
    "plain",
    "utm_campaign=Mailing",
    "utm_campaign=mailing&utm_term=Spring",
    "pk_campaign=poster",
    "query=fish",
    "sid=7",
    "session",
    "slash",
)
"""`plain` is the usual one; each name with `=` is added to the query."""

MEANING: dict[str, dict[str, tuple[str | None, str | None]]] = {
    platform: {decorate(p.path, how): (p.identifier, p.act) for p in pages for how in DECORATIONS}
    for platform, pages in PAGES.items()
}
"""By platform and URL as logged: identifier and act. What is not there is no item's."""
