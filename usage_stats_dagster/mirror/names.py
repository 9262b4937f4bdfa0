"""The words that Matomo's API has where the lake has codes: types of action, referrers, systems, countries.

What belongs here: code to word, as expressions. What does not: which column they go to (`rows.py`).
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import polars as pl

ACTION_TYPES = {1: "action", 2: "outlink", 3: "download", 8: "search"}
"""Matomo's number of an action's type → the word of `Live.getLastVisitsDetails`; `action` for one without a URL."""

ACTION_TITLES = {2: "Outlink", 3: "Download", 8: "Site Search"}
"""Titles that Matomo's API makes up for actions that have none; a page's title is not in the lake."""

REFERRER_TYPES = {1: "direct", 2: "search", 3: "website", 6: "campaign", 7: "social"}

URL_PREFIXES = {0: "http://", 1: "http://www.", 2: "https://", 3: "https://www."}

UNKNOWN = "Unknown"
"""What Matomo's API says for a country or system that it does not know."""

SYSTEMS = {
    "AIX": "AIX",
    "AND": "Android",
    "ARL": "Arch Linux",
    "BLB": "BlackBerry OS",
    "BSD": "FreeBSD",
    "CES": "CentOS",
    "COS": "Chrome OS",
    "DEB": "Debian",
    "FED": "Fedora",
    "FIR": "Fire OS",
    "FOS": "Firefox OS",
    "GNT": "Gentoo",
    "HAR": "HarmonyOS",
    "IOS": "iOS",
    "IPA": "iOS",  # Matomo has iPadOS as a code of its own and writes iOS
    "KBT": "Kubuntu",
    "KOS": "KaiOS",
    "LBT": "Lubuntu",
    "LIN": "GNU/Linux",
    "MAC": "Mac",
    "MIN": "Mint",
    "NBS": "NetBSD",
    "OBS": "OpenBSD",
    "PS3": "PlayStation",
    "RHT": "Red Hat",
    "SLW": "Slackware",
    "SOS": "Solaris",
    "SSE": "SUSE",
    "TIZ": "Tizen",
    "TVO": "tvOS",
    "UBT": "Ubuntu",
    "WAS": "watchOS",
    "WIN": "Windows",
    "WMO": "Windows Mobile",
    "WOS": "webOS",
    "WPH": "Windows Phone",
    "XBT": "Xubuntu",
    "XBX": "Xbox",
}

_OTHERWISE_IN_MATOMO = {
    "AS": "American Samoa",
    "BL": "St. Barthélemy",
    "BQ": "Caribbean Netherlands",
    "CD": "Congo - Kinshasa",
    "CF": "Central African Republic",
    "CG": "Congo - Brazzaville",
    "CZ": "Czechia",
    "EU": "Europe",
    "GB": "United Kingdom",
    "GS": "South Georgia & South Sandwich Islands",
    "HK": "Hong Kong SAR China",
    "HM": "Heard & McDonald Islands",
    "KN": "St. Kitts & Nevis",
    "KP": "North Korea",
    "KR": "South Korea",
    "LC": "St. Lucia",
    "MF": "St. Martin",
    "MO": "Macao SAR China",
    "PM": "St. Pierre & Miquelon",
    "PN": "Pitcairn Islands",
    "PS": "Palestinian Territories",
    "SH": "St. Helena",
    "ST": "São Tomé & Príncipe",
    "SX": "Sint Maarten",
    "SZ": "Eswatini",
    "TC": "Turks & Caicos Islands",
    "TF": "French Southern Territories",
    "TL": "Timor-Leste",
    "TR": "Türkiye",
    "UM": "U.S. Outlying Islands",
    "VC": "St. Vincent & Grenadines",
    "VG": "British Virgin Islands",
    "VI": "U.S. Virgin Islands",
    "WS": "Samoa",
    "XK": "Kosovo",
}
"""Countries whose English name in Matomo (CLDR's) is not the one of the time-zone database."""


@cache
def countries() -> dict[str, str]:
    """ISO 3166-1 alpha-2, lower case → English name: those of the time-zone database, spelled as Matomo does."""
    lines = files("tzdata").joinpath("zoneinfo/iso3166.tab").read_text(encoding="utf-8").splitlines()
    listed = dict(line.split("\t", 1) for line in lines if line and not line.startswith("#"))
    return {code.lower(): name for code, name in {**listed, **_OTHERWISE_IN_MATOMO}.items()}


def word(column: str, words: dict[int, str], default: str | None = None) -> pl.Expr:
    """The word of a number; `default` for a number without one."""
    return pl.col(column).replace_strict(list(words), list(words.values()), default=default, return_dtype=pl.String)


def country_name(column: str) -> pl.Expr:
    """The English name of a lower-case code; Unknown for xx and null, the code in capitals where there is no name."""
    known = countries()
    code = pl.col(column)
    name = code.replace_strict(list(known), list(known.values()), default=None, return_dtype=pl.String)
    return (
        pl.when(code.is_null() | (code == "xx"))
        .then(pl.lit(UNKNOWN))
        .otherwise(name.fill_null(code.str.to_uppercase()))
    )


def system_name(column: str) -> pl.Expr:
    """The name of an operating system's short code; Unknown for UNK and null, the code itself where there is no name."""
    code = pl.col(column)
    name = code.replace_strict(list(SYSTEMS), list(SYSTEMS.values()), default=None, return_dtype=pl.String)
    return pl.when(code.is_null() | (code == "UNK")).then(pl.lit(UNKNOWN)).otherwise(name.fill_null(code))
