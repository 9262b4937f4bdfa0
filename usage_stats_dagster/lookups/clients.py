"""Browser, operating system and kind of device of a user agent, by Matomo's short names.

What belongs here: the few clients that make up nearly all visits, by regexes of our own. What does not: versions,
models, and the long tail, which stays null ("not derived").
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import orjson
import polars as pl

from usage_stats_dagster.lookups.remembered import Remembered

DESKTOP, SMARTPHONE, TABLET, CONSOLE, TV = 0, 1, 2, 4, 5
"""Matomo's numbers."""

BROWSERS = (
    ("CI", r"CriOS/"),
    ("FI", r"FxiOS/"),
    ("OE", r"OPiOS/|OPT/"),
    ("PS", r"Edge?/|EdgA/|EdgiOS/"),
    ("SB", r"SamsungBrowser/"),
    ("YA", r"YaBrowser/"),
    ("VI", r"Vivaldi/"),
    ("OM", r"(?:OPR/.*Mobile|Mobile.*OPR/|Opera Mobi)"),
    ("OI", r"Opera Mini/"),
    ("OP", r"OPR/|^Opera/|Opera [0-9]"),
    ("UC", r"UC ?Browser/|UCWEB"),
    ("QQ", r"M?QQBrowser/"),
    ("MU", r"MiuiBrowser/"),
    ("HU", r"HuaweiBrowser/"),
    ("DG", r"Ddg/|DuckDuckGo/"),
    ("SE", r"SeaMonkey/"),
    ("PM", r"PaleMoon/"),
    ("HC", r"HeadlessChrome/"),
    ("CV", r"; wv\).*Chrome/"),
    ("CM", r"Android.*(?:Chrome|CrMo)/"),
    ("CR", r"Chromium/"),
    ("CH", r"Chrome/[0-9]"),
    ("IM", r"IEMobile/"),
    ("IE", r"MSIE [0-9]|Trident/"),
    ("FM", r"(?:Android|Mobile|Tablet);.*Firefox/"),
    ("FF", r"Firefox/[0-9]"),
    ("KO", r"Konqueror/"),
    ("AN", r"Android.*Version/[0-9.]+ (?:Mobile )?Safari/"),
    ("MF", r"(?:iPhone|iPad|iPod).*(?:Version/[0-9.]+.*)?(?:Mobile/[0-9A-Z]+ )?Safari/"),
    ("SF", r"Macintosh.*Version/[0-9.]+.*Safari/"),
    ("LX", r"^Links |^Lynx/"),
)
"""Tried in this order: agents name the browsers that they resemble too."""

SYSTEMS = (
    ("WPH", r"Windows Phone|IEMobile"),
    ("XBX", r"Xbox"),
    ("WIN", r"Windows|Win64|Win32"),
    ("COS", r"CrOS"),
    ("TIZ", r"Tizen"),
    ("WOS", r"Web0S|webOS"),
    ("HAR", r"HarmonyOS"),
    ("KOS", r"KAIOS/"),
    ("AND", r"Android|^okhttp/"),
    ("IPA", r"iPad"),
    ("IOS", r"iPhone|iPod|(?:^|[ (])iOS\b"),
    ("MAC", r"Macintosh|Mac OS X|Mac_PowerPC"),
    ("UBT", r"Ubuntu"),
    ("FED", r"Fedora"),
    ("DEB", r"Debian"),
    ("MIN", r"Linux Mint"),
    ("BSD", r"FreeBSD"),
    ("OBS", r"OpenBSD"),
    ("PS3", r"PlayStation"),
    ("LIN", r"Linux|X11"),
)

DEVICES = (
    (TV, r"SMART-TV|SmartTV|Web0S|AppleTV|BRAVIA|GoogleTV|HbbTV"),
    (CONSOLE, r"Xbox|PlayStation|Nintendo"),
    (TABLET, r"iPad|Tablet;|Silk/|Android.*(?:SM-T|SM-X|Lenovo TB|MatePad)"),
    (SMARTPHONE, r"iPhone|iPod|Windows Phone|Android.*Mobile|Mobile;.*Firefox/|Opera Mini/|KAIOS/"),
    (TABLET, r"Android.*Chrome/"),
    (DESKTOP, r"Windows|Macintosh|CrOS|X11"),
)

VERSION = hashlib.sha256(orjson.dumps([BROWSERS, SYSTEMS, DEVICES])).hexdigest()[:16]
"""16 hexadecimal digits over the tables."""


def clients(user_agents: pl.Series) -> pl.DataFrame:
    """`config_browser_name`, `config_os` (String) and `config_device_type` (Int8) per row; null where not derived."""
    return pl.DataFrame({"client": _remembered(user_agents)}).unnest("client")


def _judge(agents: pl.Series) -> pl.Series:
    return (
        pl.DataFrame({"agent": agents})
        .select(
            pl.struct(
                config_browser_name=_first(BROWSERS),
                config_os=_first(SYSTEMS),
                config_device_type=_first(DEVICES).cast(pl.Int8),
            ).alias("client")
        )
        .get_column("client")
    )


def _first(table: Sequence[tuple[str | int, str]]) -> pl.Expr:
    return pl.coalesce(pl.when(pl.col("agent").str.contains(pattern)).then(pl.lit(name)) for name, pattern in table)


_remembered = Remembered(_judge)
