"""The W3C extended family: the log names its own columns, and may name others further down.

What belongs here: `#Fields` headers, columns to fields, the members IIS, CloudFront, Incapsula and SHOUTcast. What does not:
formats without headers.

Sources: W3C Extended Log File Format (WD-logfile), IIS W3C logging, CloudFront standard logs, Incapsula/Imperva W3C logs,
SHOUTcast W3C log. Times are UTC, as the format has it. Header lines count as invalid lines, as upstream counts them, but they
are comments, never rejects.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import unquote

import polars as pl

from usage_stats_dagster.logs.formats.base import COMMENT, FIELDS, ISO_TIMES, LogFormat, complete, unmatched
from usage_stats_dagster.logs.lines import Lines

_COLUMNS = {
    "ip": ("c-ip",),
    "method": ("cs-method",),
    "stem": ("cs-uri-stem",),
    "query": ("cs-uri-query",),
    "uri": ("cs-uri",),
    "status": ("sc-status", "c-status"),
    "referrer": ("cs(Referer)", "cs(Referrer)"),
    "user_agent": ("cs(User-Agent)", "c-user-agent"),
    "host": ("x-host-header", "cs-host", "cs(Host)"),
    "date": ("date",),
    "clock": ("time",),
}
_HEADER = re.compile(rb"^#Fields:[^\r\n]*", re.MULTILINE)
_FIELDS_MARK = "#Fields:"


class W3cFormat(LogFormat):
    """A member of the family, told by columns that its header has (`has`) or must not have (`lacks`).

    `state` is the `#Fields` line in force. `encoded`: URL-encoded values (CloudFront), else `+` stands for a blank in agents.
    """

    times = ISO_TIMES

    def __init__(
        self, name: str, *, has: tuple[str, ...] = (), lacks: tuple[str, ...] = (), encoded: bool = False
    ) -> None:
        self.name = name
        self.gives = frozenset(FIELDS)
        self._has = has
        self._lacks = lacks
        self._encoded = encoded

    def next_state(self, state: str | None, data: bytes | memoryview) -> str | None:
        """The last `#Fields` line, of these bytes or before."""
        headers = list(_HEADER.finditer(data))
        return headers[-1].group().decode("utf-8", "replace") if headers else state

    def fields(self, lines: pl.Series, state: str | None) -> pl.DataFrame:
        """See LogFormat; each stretch between two headers is read by the header before it."""
        headers = lines.str.starts_with(_FIELDS_MARK).arg_true().to_list()
        stretches = []
        for start, end in zip([0, *headers], [*headers, len(lines)], strict=True):
            if start in headers:
                state = lines[start]
            if end > start:
                stretches.append(self._stretch(lines[start:end], state))
        return pl.concat(stretches) if stretches else self._stretch(lines, state)

    def _stretch(self, lines: pl.Series, header: str | None) -> pl.DataFrame:
        comment = lines.str.starts_with("#").alias(COMMENT)
        where = self._where(header)
        if where is None:
            return unmatched(len(lines)).with_columns(comment)
        cells = self._cells(lines.set(comment, None) if comment.any() else lines, len(_columns(header)), where)
        cells = cells.with_columns(comment, time=pl.concat_str("date", "clock", separator=" "), **self._url(cells))
        decode = _unquote if self._encoded else _plus
        cells = cells.with_columns(decode("user_agent"), pl.col("host").str.replace(r":[0-9]+$", ""))
        return complete(cells, pl.col("time").is_not_null(), pl.col(COMMENT))

    def reads_any(self, lines: Lines) -> bool:
        """See LogFormat."""
        return lines.hold(_FIELDS_MARK.encode()) and super().reads_any(lines)

    def reads_header(self, text: str) -> bool:
        """Whether the text's last `#Fields` line is of this member: a log may be all header, on a quiet day."""
        return self._where(self.next_state(None, text.encode())) is not None

    def _where(self, header: str | None) -> dict[str, int | None] | None:
        """Where the header puts each field; None when it is another member's or lacks time or path."""
        columns = _columns(header)
        where = {f: next((columns.index(n) for n in names if n in columns), None) for f, names in _COLUMNS.items()}
        mine = all(c in columns for c in self._has) and not any(c in columns for c in self._lacks)
        timed = where["date"] is not None and where["clock"] is not None
        return where if mine and timed and (where["stem"] is not None or where["uri"] is not None) else None

    def _cells(self, lines: pl.Series, count: int, where: dict[str, int | None]) -> pl.DataFrame:
        """The needed columns: by cutting at tabs or blanks where that gives the right number, else by a pattern that knows quotes."""
        needed = {f: i for f, i in where.items() if i is not None}
        tabs = lines.str.contains("\t", literal=True).fill_null(value=False)
        fast = pl.DataFrame(schema=dict.fromkeys(needed, pl.String))
        for separator, these in (("\t", tabs), (" ", ~tabs)):
            if these.any():
                some = _cut(lines if these.all() else lines.set(~these, None), separator, count, needed)
                fast = some if fast.is_empty() else fast.select(pl.coalesce(f, some.get_column(f)) for f in needed)
        usual = fast.get_column("date").is_not_null()
        left = ~usual & lines.is_not_null()
        if left.any():
            quoted = (
                lines.set(~left, None)
                .alias("text")
                .str.extract_groups(_quoted(count, tuple(needed.items())))
                .struct.unnest()
            )
            both = [
                pl.coalesce(pl.col(f), quoted.get_column(f + "_quoted"), quoted.get_column(f)).alias(f) for f in needed
            ]
            fast = fast.select(both)
        return fast.with_columns(pl.lit(None, pl.String).alias(f) for f in _COLUMNS if f not in needed)

    def _url(self, cells: pl.DataFrame) -> dict[str, pl.Expr]:
        """path and host: from stem and query, or from a URL in one piece with or without its scheme."""
        uri = pl.col("uri").str.replace(r"^[a-z]+://", "")
        query = pl.when(~pl.col("query").is_in(["-", ""])).then("query")
        asked = pl.when(~pl.col("stem").str.contains("?", literal=True)).then(query)
        from_stem = pl.concat_str(pl.col("stem"), pl.concat_str(pl.lit("?"), asked).fill_null(""))
        cut = uri.str.extract_groups(r"^(?P<host>[^/?]*)(?P<path>.*)$")
        path = pl.when(cut.struct["path"] != "").then(cut.struct["path"]).otherwise(pl.lit("/"))
        if cells.get_column("uri").null_count() < cells.height:
            with_query = pl.concat_str(
                path,
                pl.concat_str(pl.lit("?"), pl.when(~path.str.contains("?", literal=True)).then(query)).fill_null(""),
            )
            host = pl.when(cut.struct["host"] != "").then(cut.struct["host"])
            return {"path": pl.coalesce(from_stem, with_query), "host": pl.coalesce("host", host)}
        return {"path": from_stem}


def _columns(header: str | None) -> list[str]:
    return header.removeprefix(_FIELDS_MARK).split() if header else []


def _cut(lines: pl.Series, separator: str, count: int, needed: dict[str, int]) -> pl.DataFrame:
    """The needed columns of the lines that have no quotes and as many columns as the header; nulls for others."""
    cut = lines.alias("text").str.splitn(separator, count + 1).struct.unnest()
    last, beyond = pl.col(f"field_{count - 1}"), pl.col(f"field_{count}")
    usual = (last != "") & beyond.is_null() & ~lines.str.contains('"', literal=True)
    return cut.select(pl.when(usual).then(pl.col(f"field_{i}")).alias(f) for f, i in needed.items())


@lru_cache(maxsize=64)
def _quoted(count: int, needed: tuple[tuple[str, int], ...]) -> str:
    """Columns apart by blanks or tabs, in quotes or not; groups for the needed ones, `…_quoted` where they are in quotes."""
    named = {i: f for f, i in needed}
    cell = '"[^"]*"|[^\\s"]\\S*'
    cells = [
        rf'(?:"(?P<{named[i]}_quoted>[^"]*)"|(?P<{named[i]}>[^\s"]\S*))' if i in named else f"(?:{cell})"
        for i in range(count)
    ]
    return r"^\s*" + r"\s+".join(cells) + r"\s*$"


def _plus(column: str) -> pl.Expr:
    agent = pl.col(column)
    return (
        pl.when(agent.str.contains(" ", literal=True))
        .then(agent)
        .otherwise(agent.str.replace_all("+", " ", literal=True))
        .alias(column)
    )


def _unquote(column: str) -> pl.Expr:
    """Decoded twice, since CloudFront encoded the percent sign too until 2014 and still does for some characters."""
    return pl.col(column).map_batches(_unquote_distinct, return_dtype=pl.String).alias(column)


def _unquote_distinct(values: pl.Series) -> pl.Series:
    distinct = values.drop_nulls().unique()
    decoded = pl.Series([unquote(unquote(v)) for v in distinct.to_list()], dtype=pl.String)
    return values.replace_strict(distinct, decoded, default=None, return_dtype=pl.String)


W3C = (
    W3cFormat("amazon_cloudfront", has=("x-edge-location",), encoded=True),
    W3cFormat("incapsula_w3c", has=("cs-clapp",)),
    W3cFormat("iis", has=("sc-win32-status",)),
    W3cFormat("shoutcast", has=("c-status",)),
    W3cFormat("w3c_extended", lacks=("x-edge-location", "cs-clapp", "sc-win32-status", "c-status")),
)
