"""What becomes of a line: one outcome each, in the upstream importer's order, so that sums can be compared.

What belongs here: the outcomes, their order, and the lists of extensions that decide static and download. What does not:
robots (a hit keeps its robot's reason; nothing is dropped for it here).

Source: matomo-log-analytics as read in SEMANTICS.md 2. Its checks run in alphabetical order of their names (http_error,
http_redirect, path, static) and the date is parsed after them: a bad date on a 404 line is an http_error.
"""

from __future__ import annotations

from datetime import date

import polars as pl

OUTCOMES = ("invalid", "http_error", "http_redirect", "excluded", "static", "spam_referrer", "outside_day", "hit")
OUTCOME = pl.Enum(OUTCOMES)

STATIC = [
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
]
DOWNLOAD = [
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
]


def _extension_in(extensions: list[str], *, or_name: str = "") -> str:
    """The extension is what stands behind the last dot of the path without its query; the whole path when it has no dot."""
    name = rf"|^(?:[^?]*/)?{or_name}(?:\?|$)" if or_name else ""
    return rf"^(?:[^?]*\.)?(?i-u:{'|'.join(extensions)})(?:\?|$){name}"


IS_STATIC = pl.col("path").str.contains(_extension_in(STATIC, or_name=r"robots\.txt"))
IS_DOWNLOAD = pl.col("path").str.contains(_extension_in(DOWNLOAD))


def of_path(exclude: tuple[str, ...]) -> dict[str, pl.Expr]:
    """What a path (column `path`) alone decides: Booleans `excluded`, `static` and `download`."""
    excluded = pl.any_horizontal(pl.col("path").str.contains(p) for p in exclude) if exclude else pl.lit(value=False)
    return {"excluded": excluded, "static": IS_STATIC, "download": IS_DOWNLOAD}


def by_line() -> pl.Expr:
    """The outcome (OUTCOME) that the line alone decides, null for content. Needs matched, status (Int16), time, excluded, static."""
    status = pl.col("status")
    return (
        pl.when(~pl.col("matched"))
        .then(_is("invalid"))
        .when(status.is_between(400, 599))
        .then(_is("http_error"))
        .when(status.is_between(300, 399) & (status != 304))
        .then(_is("http_redirect"))
        .when("excluded")
        .then(_is("excluded"))
        .when("static")
        .then(_is("static"))
        .when(pl.col("time").is_null())
        .then(_is("invalid"))
    )


def of_content(start: date) -> pl.Expr:
    """The outcome of a content line. Needs spam (Boolean) and day (Date)."""
    return (
        pl.when(pl.col("spam").fill_null(value=False))
        .then(_is("spam_referrer"))
        .when(pl.col("day") < start)
        .then(_is("outside_day"))
        .otherwise(_is("hit"))
    )


def _is(outcome: str) -> pl.Expr:
    return pl.lit(outcome, OUTCOME)
