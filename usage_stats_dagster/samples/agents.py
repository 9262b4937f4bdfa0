"""User agents of the sample: browsers put together from their parts, robots as they name themselves.

What belongs here: texts of user agents and how common each is. What does not: judging them (`metrics/robots.py`).
"""

from __future__ import annotations

from itertools import product

_WINDOWS = "Windows NT 10.0; Win64; x64"
_MAC = "Macintosh; Intel Mac OS X 10_15_7"
_LINUX = "X11; Linux x86_64"
_PHONES = ("K", "SM-A155M", "SM-S918B", "moto g(60)", "M2101K7BL", "CUBOT X30", "Pixel 8")
_WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"


def browsers() -> list[tuple[str, float]]:
    """About 130 user agents of people, with weights: Chrome leads, newer versions before older ones."""
    out: list[tuple[str, float]] = []
    for version, (system, weight) in product(range(122, 134), ((_WINDOWS, 10.0), (_MAC, 3.0), (_LINUX, 1.5))):
        recent = 0.8 ** (133 - version)
        chrome = f"Mozilla/5.0 ({system}) {_WEBKIT} Chrome/{version}.0.0.0 Safari/537.36"
        out.append((chrome, weight * recent))
        if system == _WINDOWS:
            out.append((f"{chrome} Edg/{version}.0.0.0", 2.5 * recent))
            out.append((f"{chrome} OPR/{version - 16}.0.0.0", 0.6 * recent))
    for version, (system, weight) in product(
        range(126, 136), ((_WINDOWS, 2.0), ("X11; Ubuntu; Linux x86_64", 1.2), ("Macintosh; Intel Mac OS X 10.15", 0.5))
    ):
        agent = f"Mozilla/5.0 ({system}; rv:{version}.0) Gecko/20100101 Firefox/{version}.0"
        out.append((agent, weight * 0.8 ** (135 - version)))
    for phone, version in product(_PHONES, range(127, 134, 2)):
        agent = f"Mozilla/5.0 (Linux; Android 1{version % 5}; {phone}) {_WEBKIT} Chrome/{version}.0.0.0 Mobile Safari/537.36"
        out.append((agent, 1.6 * 0.85 ** (133 - version)))
    for major, minor in product((16, 17, 18), (1, 3, 5)):
        ios = f"Mozilla/5.0 (iPhone; CPU iPhone OS {major}_{minor} like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)"
        out.append((f"{ios} Version/{major}.{minor} Mobile/15E148 Safari/604.1", 0.7 * (major - 14)))
        mac = f"Mozilla/5.0 ({_MAC}) AppleWebKit/605.1.15 (KHTML, like Gecko)"
        out.append((f"{mac} Version/{major}.{minor} Safari/605.1.15", 0.4 * (major - 14)))
    out.append(
        ("Mozilla/5.0 (Linux; Android 13; SM-A155M) SamsungBrowser/23.0 Chrome/115.0.0.0 Mobile Safari/537.36", 1.0)
    )
    # An escaped quote inside the agent, as Apache writes it: the fast regex of the formats does not match such a line.
    out.append((rf"Mozilla/5.0 ({_WINDOWS}; \"kiosk\") {_WEBKIT} Chrome/126.0.0.0 Safari/537.36", 0.6))
    return out


LISTED_ROBOTS: tuple[tuple[str, float], ...] = (
    ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", 8),
    ("Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)", 5),
    ("Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)", 3),
    ("Mozilla/5.0 (compatible; SemrushBot/7~bl; +http://www.semrush.com/bot.html)", 3),
    ("Mozilla/5.0 (compatible; YandexBot/3.0; +http://yandex.com/bots)", 2),
    ("Mozilla/5.0 (compatible; archive.org_bot +http://archive.org/details/archive.org_bot)", 1),
    ("Mozilla/5.0 (Linux; Android 7.0;) AppleWebKit/537.36 (KHTML, like Gecko) Mobile Safari/537.36 (compatible; PetalBot;+https://webmaster.petalsearch.com/site/petalbot)", 1),
    ("facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)", 1),
    ("Mozilla/5.0+(compatible; UptimeRobot/2.0; http://www.uptimerobot.com/)", 1),
)  # fmt: skip
AI_AGENTS: tuple[tuple[str, float], ...] = (
    ("Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)", 4),
    ("Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; ClaudeBot/1.0; +claudebot@anthropic.com)", 4),
    ("Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko); compatible; ChatGPT-User/1.0; +https://openai.com/bot", 2),
    ("meta-externalagent/1.1 (+https://developers.facebook.com/docs/sharing/webmasters/crawler)", 3),
    ("Mozilla/5.0 (Linux; Android 5.0) AppleWebKit/537.36 (KHTML, like Gecko) Mobile Safari/537.36 (compatible; Bytespider)", 2),
    ("Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; PerplexityBot/1.0; +https://perplexity.ai/perplexitybot)", 1),
)  # fmt: skip
SCRIPTS: tuple[tuple[str, float], ...] = (
    ("python-requests/2.32.3", 4),
    ("curl/8.5.0", 2),
    ("Wget/1.21.4", 2),
    ("Go-http-client/1.1", 2),
    ("Java/17.0.10", 1),
    ("okhttp/4.12.0", 1),
    ("Scrapy/2.11.2 (+https://scrapy.org)", 1),
    ("-", 2),
)
SCANNERS: tuple[tuple[str, float], ...] = (
    ("Mozilla/5.0 zgrab/0.x", 1),
    ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/89.0.4389.82 Safari/537.36", 2),
)  # fmt: skip
