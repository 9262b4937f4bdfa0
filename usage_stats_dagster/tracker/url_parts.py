"""URLs as Matomo's tracker takes them apart: its clean-up, its matrix form, its reading of a query.

What belongs here: one URL's parts, for the few that need more than an expression. What does not: what is stored
(`urls.py`) or read from a query (`campaigns.py`).

Source: Matomo 5 as read in SEMANTICS.md 5. Matomo stores HTML-escaped text; ours is un-escaped throughout.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html.entities import name2codepoint
from urllib.parse import unquote_plus

LONGEST = 1024
"""Bytes of a page URL or a keyword; the rest is cut."""

Query = dict[str, str | list[str | None] | None]
"""Name to value in order of first appearance; None for a name without `=`, a list for `name[]`."""

_BLANKS = " \t\n\r\0\x0b"
_ENTITY = re.compile(r"&(?:#([0-9]{1,7})|#[xX]([0-9A-Fa-f]{1,6})|([A-Za-z][A-Za-z0-9]*));")
_URL = re.compile(
    r"(?:([A-Za-z0-9][A-Za-z0-9+.-]*)://(?:([^/?#]*)@)?(\[[^\]/?#@]*\]|[^/?#@:]+)(?::([0-9]{0,5}))?)?(?=[/?#]|$)"
    r"([^?#]*)(?:\?([^#]*))?(?:#(.*))?",
    re.DOTALL,
)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
_ARRAY = re.compile(r"(?:\[|%5b)(?:\]|%5d)$", re.IGNORECASE)


@dataclass(frozen=True)
class Parts:
    """A URL in parts; `origin` is scheme, user, host and port, scheme and host in lower case; empty for a path alone."""

    origin: str
    path: str
    query: str
    fragment: str


def unescaped(url: str) -> str:
    """With HTML's entities resolved: Matomo does it on entry, so `?a=1&amp;b=2` asks for b."""
    return _ENTITY.sub(_character, url) if "&" in url else url


def _character(entity: re.Match[str]) -> str:
    decimal, hexadecimal, name = entity.groups()
    code = int(decimal) if decimal else int(hexadecimal, 16) if hexadecimal else name2codepoint.get(name, 0)
    known = 0x20 <= code < 0xD800 or 0xE000 <= code <= 0x10FFFF
    return chr(code) if known else entity.group()


def cut(text: str) -> str:
    """Trimmed, without line ends and NUL, cut to LONGEST bytes (a character that the cut splits is left out)."""
    text = text.strip(_BLANKS).replace("\n", "").replace("\r", "").replace("\0", "")
    encoded = text.encode()
    return text if len(encoded) <= LONGEST else encoded[:LONGEST].decode(errors="ignore")


def take_apart(url: str) -> Parts | None:
    """A page URL's parts after Matomo's clean-up; None for what is no URL (`*`, a host without a scheme, a bad port)."""
    found = _URL.fullmatch(_without_matrix(cut(unescaped(url))))
    if found is None:
        return None
    scheme, user, host, port, *rest = found.groups()
    if scheme is None and not rest[0].startswith("/"):
        return None
    if port and int(port) > 65535:
        return None
    origin = ""
    if scheme is not None:
        origin = f"{scheme.lower()}://{f'{user}@' if user else ''}{host.lower()}{f':{int(port)}' if port and int(port) else ''}"
    path, query, fragment = (_CONTROLS.sub("_", part or "") for part in rest)
    return Parts(origin, path, query, fragment)


def _without_matrix(url: str) -> str:
    """`/thing;a=1;b=2?c=3` as `/thing?a=1&b=2&c=3`; left alone when the `?` stands first."""
    semicolon, mark = url.find(";"), url.find("?")
    if semicolon < 0 or 0 <= mark < semicolon:
        return url
    if mark >= 0:
        url = url[:mark] + ";" + url[mark + 1 :]
    return (url[:semicolon] + "?" + url[semicolon + 1 :]).replace(";", "&")


def read_query(query: str) -> Query:
    """Names and values, undecoded. A repeated name keeps its first place and its last value; `name[]` collects.

    A parameter whose name is empty or `0` is nobody's (as PHP sees it).
    """
    found: Query = {}
    for parameter in query.removeprefix("?").rstrip(_BLANKS).split("&"):
        name, equals, text = parameter.partition("=")
        value = text if equals else None
        bare = _ARRAY.sub("", name)
        if bare != name and not _empty(bare):
            collected = found.get(bare)
            if not isinstance(collected, list):
                collected = found[bare] = []
            collected.append(value)
        elif not _empty(name):
            found[name] = value
    return found


def write_query(query: Query, without: frozenset[str]) -> str:
    """The query again, without the parameters named (lower case)."""
    written: list[str] = []
    for raw, value in query.items():
        name = raw.replace("%5B", "[").replace("%5D", "]")
        if name.lower() in without:
            continue
        if isinstance(value, list):
            written += [f"{name}[]" if v is None else f"{name}[]={v}" for v in value]
        else:
            written.append(name if value is None else f"{name}={value}")
    joined = "&".join(written)
    return "" if _empty(joined) else joined


def first_value(query: Query, names: tuple[str, ...]) -> str | None:
    """The undecoded value of the first of `names` that has one; of a collected value its first. None if all are empty."""
    for name in names:
        value = query.get(name)
        if isinstance(value, list) and value:
            return value[0] or ""
        if isinstance(value, str) and not _empty(value):
            return value
    return None


def decoded(value: str) -> str:
    """With `+` and escapes decoded, trimmed; bytes that are no UTF-8 become U+FFFD."""
    return unquote_plus(value).strip(_BLANKS)


def _empty(text: str) -> bool:
    # PHP takes "0" for empty.
    return text in ("", "0")
