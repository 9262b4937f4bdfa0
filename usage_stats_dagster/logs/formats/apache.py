"""The Apache family: common, combined (ncsa_extended), both with the virtual host in front, and relatives.

What belongs here: lines of `ip ident user [time] "request" status bytes` and what may follow in quotes. What does not:
formats of another build (`cloud.py`, `servers.py`, `w3c.py`, `json.py`).

Sources: Apache httpd mod_log_config and nginx log module documentation; for what is accepted, the upstream importer
(SEMANTICS.md 1), whose outcomes must be equalled: a request line needs method, path and protocol, spaces within the path
are fine, whatever stands behind the last field is left alone.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from usage_stats_dagster.logs.formats.base import FORWARDED, complete
from usage_stats_dagster.logs.formats.cut import METHODS, TIME_LENGTH, cut
from usage_stats_dagster.logs.formats.regex import IN_QUOTES, PATH, RegexFormat
from usage_stats_dagster.logs.lines import Lines, Places

# A host or address, or in its place the list of X-Forwarded-For.
_IP = r'(?P<ip>[^ \t,"\-][^ \t,"]*(?:,[ \t]*[^ \t,"]+)*)[ \t]+'
_NAME = r'(?:\[[0-9A-Fa-f:.]+\]|[^ \t":,\[\]]*)'
_HOST = rf"(?P<host>{_NAME})(?::[0-9]+)?[ \t]+"
_WORD = r"[^ \t]+[ \t]+"
_USER = r"(?:[^ \t]+|[^ \t].*?[^ \t])[ \t]+"  # log-in names may hold blanks
TIME = r"\[(?P<time>[^\]]+)\][ \t]+"
REQUEST = rf'"(?P<method>[^ \t"]+)[ \t]+{PATH}[ \t]+[^ \t"]+"[ \t]+'
STATUS = r"(?P<status>[0-9]{3})[ \t]+[^ \t]+"
AGENT = rf'[ \t]+"(?P<referrer>{IN_QUOTES})"[ \t]+"(?P<user_agent>{IN_QUOTES})"'
END = r"(?:[ \t].*)?$"
_ADDRESS = r"(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?::[0-9]+)?|\[?[0-9A-Fa-f.]*:[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*\]?(?::[0-9]+)?|unknown)"
_FORWARDED = rf"(?:-|{_ADDRESS}(?:,[ \t]*{_ADDRESS})*)"

_FRONTS = {
    ("ip", "ident", "user"): _IP + _WORD + _USER,
    ("host", "ip", "ident", "user"): _HOST + _IP + _WORD + _USER,
    ("ip", "host", "user"): _IP + _HOST + _USER,
}
_TAILS = {2: END, 6: AGENT + END, 8: rf'{AGENT}[ \t]+"(?P<forwarded>{_FORWARDED})"{END}'}


class ApacheFormat(RegexFormat):
    """A member of the family, read by cutting each line at its quotes; by the pattern where a line is not just as usual.

    `front` names the words before the time. `quotes` are 2 (common), 6 (combined) or 8 (and the forwarded-for list).
    """

    def __init__(self, name: str, front: tuple[str, ...], quotes: int) -> None:
        self._named = tuple(f for f in front if f in ("ip", "host"))
        self._dashes = len(front) - len(self._named)
        self._quotes = quotes
        super().__init__(name, rf"^[ \t]*{_FRONTS[front]}{TIME}{REQUEST}{STATUS}{_TAILS[quotes]}")

    def records(self, lines: Lines, state: str | None) -> pl.DataFrame:
        """See LogFormat."""
        rows, usual = self._usual(lines)
        if len(rows) == len(lines):
            return usual
        left = np.ones(len(lines), np.bool_)
        left[rows] = False
        others = np.flatnonzero(left)
        text = lines.text.gather(others)
        both = pl.concat([usual, self.parsed(self.fields(text, state))], rechunk=True)
        place = np.empty(len(lines), np.int64)
        place[rows] = np.arange(len(rows))
        place[others] = np.arange(len(rows), len(lines))
        return both[place]

    def _usual(self, lines: Lines) -> tuple[Places, pl.DataFrame]:
        """The lines that are just as usual, and their records."""
        found = cut(lines, named=len(self._named), dashes=self._dashes, quotes=self._quotes)
        names = (*self._named, "path", "referrer", "user_agent", FORWARDED)
        times = self.utc(lines.strings("time", found.times, found.times + TIME_LENGTH))
        fields = pl.DataFrame(
            [
                times.gather(found.seconds),
                pl.Series("method", METHODS).gather(found.method),
                pl.Series("status", found.status),
                *(text.alias(name) for name, text in zip(names, found.texts, strict=False)),
            ]
        )
        usual = pl.lit(value=True)
        if "host" in fields.columns:
            usual &= pl.col("host").str.contains(rf"^{_NAME}(?::[0-9]+)?$")
        if FORWARDED in fields.columns:
            usual &= pl.col(FORWARDED).str.contains(rf"^{_FORWARDED}$")
        # Two `]` could move the end of the time; there is no such date, and which field is wrong is for the pattern to say.
        odd_time = fields.get_column("time").is_null()
        kept = fields.select(usual & ~pl.lit(odd_time)).to_series()
        rows = found.rows
        if not kept.all():
            fields, rows = fields.filter(kept), rows[kept.to_numpy()]
        if "host" in fields.columns:
            fields = fields.with_columns(pl.col("host").str.extract(rf"^({_NAME})"))
        return rows, complete(fields, pl.lit(value=True))


APACHE = (
    ApacheFormat("common", ("ip", "ident", "user"), 2),
    ApacheFormat("common_vhost", ("host", "ip", "ident", "user"), 2),
    ApacheFormat("ncsa_extended", ("ip", "ident", "user"), 6),
    ApacheFormat("common_complete", ("host", "ip", "ident", "user"), 6),
    ApacheFormat("ncsa_extended_forwarded", ("ip", "ident", "user"), 8),
)

OVH = ApacheFormat("ovh", ("ip", "host", "user"), 6)
"""`ip host user [time] …`: looks like combined with the host as identd's answer, so it is never sniffed, only asked for."""

ICECAST = RegexFormat(
    "icecast2", rf"^[ \t]*{_FRONTS['ip', 'ident', 'user']}{TIME}{REQUEST}{STATUS}{AGENT}[ \t]+[0-9\-]+[ \t]*$"
)
"""Combined and the seconds listened: the same fields as combined, which wins when sniffed (upstream: icecast2)."""

GANDI = RegexFormat("gandi", rf"^\s*{_HOST}{_IP}{_WORD}{_USER}{TIME}\([^)]*\)[ \t]+{REQUEST}{STATUS}{AGENT}{END}")
"""Gandi simple hosting: combined with the host in front and the time taken in brackets before the request."""
