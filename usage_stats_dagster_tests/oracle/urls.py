"""What a URL's own text says: its extension, the stored form of a page, a search's keyword, a campaign.

Written from SEMANTICS.md 2 and 5, for one URL at a time. What does not belong here: items, visits.
"""

from __future__ import annotations

from urllib.parse import unquote_plus

STATIC = {
    "gif",
    "jpg",
    "jpeg",
    "png",
    "bmp",
    "ico",
    "svg",
    "svgz",
    "ttf",
    "otf",
    "eot",
    "woff",
    "woff2",
    "class",
    "swf",
    "css",
    "js",
    "xml",
    "webp",
}
DOWNLOAD = {
    "7z",
    "aac",
    "arc",
    "arj",
    "asf",
    "asx",
    "avi",
    "bin",
    "csv",
    "deb",
    "dmg",
    "doc",
    "docx",
    "exe",
    "flac",
    "flv",
    "gz",
    "gzip",
    "hqx",
    "ibooks",
    "jar",
    "json",
    "mpg",
    "mp2",
    "mp3",
    "mp4",
    "mpeg",
    "mov",
    "movie",
    "msi",
    "msp",
    "odb",
    "odf",
    "odg",
    "odp",
    "ods",
    "odt",
    "ogg",
    "ogv",
    "pdf",
    "phps",
    "ppt",
    "pptx",
    "qt",
    "qtm",
    "ra",
    "ram",
    "rar",
    "rpm",
    "rtf",
    "sea",
    "sit",
    "tar",
    "tbz",
    "bz2",
    "tgz",
    "torrent",
    "txt",
    "wav",
    "webm",
    "wma",
    "wmv",
    "wpd",
    "xls",
    "xlsx",
    "xml",
    "xsd",
    "z",
    "zip",
    "azw3",
    "epub",
    "mobi",
    "apk",
    "md5",
    "sig",
}
SEARCH = ["q", "query", "s", "search", "searchword", "k", "keyword", "keywords"]
NAMES = [
    "pk_cpn",
    "pk_campaign",
    "piwik_campaign",
    "mtm_campaign",
    "matomo_campaign",
    "utm_campaign",
    "utm_source",
    "utm_medium",
]
KEYWORDS = ["pk_kwd", "pk_keyword", "piwik_kwd", "mtm_kwd", "mtm_keyword", "matomo_kwd", "utm_term"]
IGNORED = {
    "ignore_referrer",
    "ignore_referer",
    "gclid",
    "fbclid",
    "msclkid",
    "twclid",
    "wbraid",
    "gbraid",
    "yclid",
    "fb_xd_fragment",
    "fb_comment_id",
    "phpsessid",
    "jsessionid",
    "sessionid",
    "aspsessionid",
    "doing_wp_cron",
    "sid",
    "pk_vid",
}
PREFIXES = {"http://www.": 1, "https://www.": 3, "http://": 0, "https://": 2}


def extension(path: str) -> str:
    """What stands behind the last dot of the path without its query; the whole path when there is no dot."""
    return path.split("?", maxsplit=1)[0].lower().rpartition(".")[2]


def is_static(path: str) -> bool:
    """Images, fonts, styles, scripts, robots.txt."""
    return extension(path) in STATIC or path.split("?", maxsplit=1)[0].rpartition("/")[2] == "robots.txt"


def is_download(path: str) -> bool:
    """A file that Matomo takes for a download."""
    return extension(path) in DOWNLOAD


def full_url(path: str, site_url: str | None, host: str | None) -> str:
    """What the importer sends: behind the line's host or the site's address, unless the path is no path."""
    scheme = site_url.partition("://")[0] if site_url else "http"
    base = f"{scheme}://{host.lower()}" if host else site_url or ""
    return base + path[:1024] if path.startswith("/") else path


def _parameters(url: str) -> tuple[str, dict[str, str]]:
    """The URL up to its query, and the query; matrix parameters are part of it."""
    url = url.partition("#")[0]
    base, _, query = url.partition("?")
    base, _, matrix = base.partition(";")
    found: dict[str, str] = {}
    for part in "&".join(p for p in (matrix.replace(";", "&"), query.replace(";", "&")) if p).split("&"):
        name, _, value = part.partition("=")
        if name:
            found[name] = value
    return base, found


def keyword(url: str) -> str | None:
    """The keyword of a site search."""
    _, found = _parameters(url)
    return next((unquote_plus(found[name]) for name in SEARCH if found.get(name)), None)


def campaign(url: str) -> tuple[str, str] | None:
    """Name and keyword of the campaign, lower case."""
    _, found = _parameters(url)
    name = next((unquote_plus(found[n]).lower() for n in NAMES if found.get(n)), None)
    if name is None:
        return None
    return name, next((unquote_plus(found[n]).lower() for n in KEYWORDS if found.get(n)), "")


def page(url: str) -> tuple[str | None, int | None]:
    """A page's stored URL and prefix; None for what is no URL."""
    if not url.startswith(("/", "http://", "https://")):
        return None, None
    base, found = _parameters(url)
    dropped = IGNORED | set(NAMES) | set(KEYWORDS)
    kept = [f"{n}={v}" for n, v in found.items() if n.lower() not in dropped]
    stored = base + ("?" + "&".join(kept) if kept else "")
    for prefix, number in PREFIXES.items():
        if stored.startswith(prefix):
            return stored.removeprefix(prefix), number
    return stored, None
