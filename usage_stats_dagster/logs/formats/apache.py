"""The Apache family: common, combined (ncsa_extended), both with the virtual host in front, and relatives.

What belongs here: lines of `ip ident user [time] "request" status bytes` and what may follow in quotes. What does not:
formats of another build (`cloud.py`, `servers.py`, `w3c.py`, `json.py`).

Sources: Apache httpd mod_log_config and nginx log module documentation; for what is accepted, the upstream importer
(SEMANTICS.md 1), whose outcomes must be equalled: a request line needs method, path and protocol, spaces within the path
are fine, whatever stands behind the last field is left alone.
"""

from __future__ import annotations

import polars as pl

from usage_stats_dagster.logs.formats.base import complete
from usage_stats_dagster.logs.formats.regex import IN_QUOTES, PATH, RegexFormat

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
_FORWARDED = rf'[ \t]+"(?P<forwarded>-|{_ADDRESS}(?:,[ \t]*{_ADDRESS})*)"'

_FRONTS = {
    ("ip", "ident", "user"): _IP + _WORD + _USER,
    ("host", "ip", "ident", "user"): _HOST + _IP + _WORD + _USER,
    ("ip", "host", "user"): _IP + _HOST + _USER,
}
_TAILS = {2: END, 6: AGENT + END, 8: AGENT + _FORWARDED + END}
_TIME_LENGTH = len("[01/Mar/2025:00:00:00 +0000] ")


class ApacheFormat(RegexFormat):
    """A member of the family, read by cutting each line at its quotes; by the pattern where a line is not just as usual.

    Cutting copies no text (Polars' views point into the line), so it costs half of the simplest pattern with groups.
    `front` names the words before the time. `quotes` are 2 (common), 6 (combined) or 8 (and the forwarded-for list).
    """

    def __init__(self, name: str, front: tuple[str, ...], quotes: int) -> None:
        self._front = front
        self._quotes = quotes
        super().__init__(name, rf"^[ \t]*{_FRONTS[front]}{TIME}{REQUEST}{STATUS}{_TAILS[quotes]}")

    def fields(self, lines: pl.Series, state: str | None) -> pl.DataFrame:
        """See LogFormat."""
        del state
        found = self.fill(lines, self._cut(lines))
        if "host" in self._front:
            found = found.with_columns(pl.col("host").str.extract(rf"^({_NAME})"))
        return complete(found, pl.col("time").is_not_null())

    def _cut(self, lines: pl.Series) -> pl.DataFrame:
        """The fields of the lines that are just as usual; a null time marks the others."""
        cut = lines.alias("text").str.splitn('"', self._quotes + 1).struct.unnest()
        cut = cut.with_columns(
            lines.alias("line"),
            pl.col("field_0")
            .str.splitn(" ", len(self._front) + 1)
            .struct.rename_fields([*self._front, "time"])
            .alias("head"),
            pl.col("field_1").str.splitn(" ", 3).struct.rename_fields(["method", "path", "protocol"]).alias("request"),
        ).unnest("head", "request")
        fields = {"method": "method", "path": "path", **{f: f for f in self._front if f in ("ip", "host")}}
        if self._quotes > 2:
            fields |= {"referrer": "field_3", "user_agent": "field_5"}
        if self._quotes > 6:
            fields |= {"forwarded": "field_7"}
        return cut.select(
            pl.when(self._usual()).then(pl.col("time").str.slice(1, _TIME_LENGTH - 3)).alias("time"),
            pl.col("field_2").str.slice(1, 3).alias("status"),
            **{name: pl.col(column) for name, column in fields.items()},
        )

    def _usual(self) -> pl.Expr:
        """Single blanks, a time of the usual length, no quote or backslash that could move a field's end."""
        time, protocol, last = pl.col("time"), pl.col("protocol"), pl.col(f"field_{self._quotes}")
        usual = (
            (time.str.len_bytes() == _TIME_LENGTH)
            & time.str.starts_with("[")
            & time.str.ends_with("] ")
            & ~pl.any_horizontal(
                pl.col(c) == "" for c in (*(f for f in self._front if f != "host"), "method", "path", "protocol")
            )
            & ~pl.col("line").str.contains("\t", literal=True)
            & ~pl.any_horizontal(pl.col("ip").str.starts_with(c) for c in ("-", ","))
            & ~pl.col("ip").str.ends_with(",")
            & ~pl.col("ip").str.contains(",,", literal=True)
            & ~protocol.str.contains(" ", literal=True)
        )
        if "host" in self._front:
            usual &= pl.col("host").str.contains(rf"^{_NAME}(?::[0-9]+)?$")
        if self._quotes == 2:
            return usual & last.str.contains(r"^ [0-9]{3} [^ ]+(?: |$)")
        usual &= pl.col("field_2").str.contains(r"^ [0-9]{3} [^ ]+ $") & (pl.col("field_4") == " ")
        usual &= ~pl.any_horizontal(pl.col(c).str.ends_with("\\") for c in ("field_1", "field_3", "field_5"))
        if self._quotes == 8:
            usual &= (pl.col("field_6") == " ") & pl.col("field_7").str.contains(
                rf"^(?:-|{_ADDRESS}(?:,\s*{_ADDRESS})*)$"
            )
        return usual & ((last == "") | last.str.starts_with(" "))


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
