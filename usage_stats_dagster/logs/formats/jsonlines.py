"""Logs of one JSON object a line: nginx, Traefik, Caddy.

What belongs here: where each field stands in the object. What does not: JSON that is no access log.

Sources: the nginx log_format that Matomo's documentation proposes, and nginx's own variable names; Traefik access log
fields; Caddy's structured access log.
"""

from __future__ import annotations

import polars as pl

from usage_stats_dagster.logs.formats.base import APACHE_TIME, EPOCH, FORWARDED, ISO_TIMES, LogFormat, complete
from usage_stats_dagster.logs.formats.regex import groups_of

_REQUEST_LINE = r"^(?P<method>\S+)\s+(?P<path>.*?)\s+\S+$"

Paths = dict[str, tuple[str, ...]]


class JsonFormat(LogFormat):
    """Objects that have the keys. `paths` gives for a field the JSON paths where it may stand, the first that is there wins.

    `request_line` is a field of its own, cut into method and path. A line that is no object, or lacks time or path, matches
    nothing. `tells` are paths that all must be there.
    """

    def __init__(self, name: str, paths: Paths, tells: tuple[str, ...], times: tuple[str, ...]) -> None:
        self.name = name
        self.times = times
        self.gives = frozenset(paths) - {"request_line"}
        self._paths = paths
        self._tells = tells

    def fields(self, lines: pl.Series, state: str | None) -> pl.DataFrame:
        """See LogFormat."""
        del state
        objects = pl.select(
            pl.when(lines.str.starts_with("{") & lines.str.strip_chars_end().str.ends_with("}"))
            .then(lines)
            .alias("text")
        )
        found = (
            objects.lazy()
            .select(
                *[pl.coalesce(_at(p) for p in paths).alias(field) for field, paths in self._paths.items()],
                pl.all_horizontal(_at(t).is_not_null() for t in self._tells).alias("told"),
            )
            .collect()
        )
        if "request_line" in found.columns:
            line = groups_of(found.get_column("request_line"), _REQUEST_LINE)
            found = found.with_columns(
                pl.coalesce("path", line.get_column("path")).alias("path"),
                pl.coalesce("method", line.get_column("method")).alias("method"),
            )
        matched = pl.col("told") & pl.col("time").is_not_null() & pl.col("path").is_not_null()
        return complete(found, matched)


def _at(path: str) -> pl.Expr:
    return pl.col("text").str.json_path_match(f"$.{path}")


JSON = (
    JsonFormat(
        "nginx_json",
        {
            "ip": ("ip", "remote_addr", "client_ip"),
            "time": ("date", "time_iso8601", "time_local", "msec"),
            "method": ("method", "request_method"),
            "path": ("path", "request_uri"),
            "request_line": ("request",),
            "status": ("status",),
            "referrer": ("referrer", "http_referer", "http_referrer"),
            "user_agent": ("user_agent", "http_user_agent"),
            "host": ("host", "http_host", "server_name"),
            FORWARDED: ("http_x_forwarded_for",),
        },
        ("status",),
        (*ISO_TIMES, APACHE_TIME, EPOCH),
    ),
    JsonFormat(
        "traefik_json",
        {
            "ip": ("ClientHost",),
            "time": ("StartUTC", "time"),
            "method": ("RequestMethod",),
            "path": ("RequestPath",),
            "status": ("DownstreamStatus", "OriginStatus"),
            "referrer": ("request_Referer",),
            "user_agent": ("['request_User-Agent']",),
            "host": ("RequestHost",),
        },
        ("RequestPath",),
        ISO_TIMES,
    ),
    JsonFormat(
        "caddy_json",
        {
            "ip": ("request.client_ip", "request.remote_ip", "request.remote_addr"),
            "time": ("ts",),
            "method": ("request.method",),
            "path": ("request.uri",),
            "status": ("status",),
            "referrer": ("request.headers.Referer[0]",),
            "user_agent": ("request.headers['User-Agent'][0]",),
            "host": ("request.host",),
        },
        ("request", "status"),
        (EPOCH, *ISO_TIMES),
    ),
)
