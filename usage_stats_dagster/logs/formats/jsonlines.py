"""Logs of one JSON object a line: nginx, Traefik, Caddy.

What belongs here: where each field stands in the object. What does not: JSON that is no access log, and how JSON is read
(`json_values.py`).

Sources: the nginx log_format that Matomo's documentation proposes, and nginx's own variable names; Traefik access log
fields; Caddy's structured access log.
"""

from __future__ import annotations

import polars as pl

from usage_stats_dagster.logs.formats.base import APACHE_TIME, EPOCH, FORWARDED, ISO_TIMES, LogFormat, complete
from usage_stats_dagster.logs.formats.json_values import Place, values
from usage_stats_dagster.logs.formats.regex import groups_of
from usage_stats_dagster.logs.lines import Lines

_REQUEST_LINE = r"^(?P<method>[^ ]+) +(?P<path>.*?) +[^ ]+$"


class JsonFormat(LogFormat):
    """Objects that have the keys. `places` says for each field where it may stand; the first that is there wins.

    `request_line` is a field of its own, cut into method and path. A line that is no object, lacks time or path, or one of
    the places that tell the format matches nothing.
    """

    def __init__(
        self, name: str, places: dict[str, tuple[Place, ...]], tells: tuple[Place, ...], times: tuple[str, ...]
    ) -> None:
        self.name = name
        self.times = times
        self.gives = frozenset(places) - {"request_line"}
        self._places = places
        self._tells = tells

    def reads_any(self, lines: Lines) -> bool:
        """See LogFormat."""
        return lines.hold(b"{") and super().reads_any(lines)

    def fields(self, lines: pl.Series, state: str | None) -> pl.DataFrame:
        """See LogFormat."""
        del state
        wanted = [*dict.fromkeys([*self._tells, *(p for places in self._places.values() for p in places)])]
        found = values(lines, wanted).select(
            *[pl.coalesce(_column(p) for p in places).alias(field) for field, places in self._places.items()],
            pl.all_horizontal(pl.col(_column(t)).is_not_null() for t in self._tells).alias("told"),
        )
        if "request_line" in found.columns:
            line = groups_of(found.get_column("request_line"), _REQUEST_LINE)
            found = found.with_columns(pl.coalesce(f, line.get_column(f)).alias(f) for f in ("path", "method"))
        return complete(found, pl.col("told") & pl.col("time").is_not_null() & pl.col("path").is_not_null())


def _column(place: Place) -> str:
    return ".".join(place)


def _keys(*names: str) -> tuple[Place, ...]:
    return tuple((n,) for n in names)


JSON = (
    JsonFormat(
        "nginx_json",
        {
            "ip": _keys("ip", "remote_addr", "client_ip"),
            "time": _keys("date", "time_iso8601", "time_local", "msec"),
            "method": _keys("method", "request_method"),
            "path": _keys("path", "request_uri"),
            "request_line": _keys("request"),
            "status": _keys("status"),
            "referrer": _keys("referrer", "http_referer", "http_referrer"),
            "user_agent": _keys("user_agent", "http_user_agent"),
            "host": _keys("host", "http_host", "server_name"),
            FORWARDED: _keys("http_x_forwarded_for"),
        },
        _keys("status"),
        (*ISO_TIMES, APACHE_TIME, EPOCH),
    ),
    JsonFormat(
        "traefik_json",
        {
            "ip": _keys("ClientHost"),
            "time": _keys("StartUTC", "time"),
            "method": _keys("RequestMethod"),
            "path": _keys("RequestPath"),
            "status": _keys("DownstreamStatus", "OriginStatus"),
            "referrer": _keys("request_Referer"),
            "user_agent": _keys("request_User-Agent"),
            "host": _keys("RequestHost"),
        },
        _keys("RequestPath"),
        ISO_TIMES,
    ),
    JsonFormat(
        "caddy_json",
        {
            "ip": (("request", "client_ip"), ("request", "remote_ip"), ("request", "remote_addr")),
            "time": _keys("ts"),
            "method": (("request", "method"),),
            "path": (("request", "uri"),),
            "status": _keys("status"),
            "referrer": (("request", "headers", "Referer", "0"),),
            "user_agent": (("request", "headers", "User-Agent", "0"),),
            "host": (("request", "host"),),
        },
        (("request", "uri"), ("status",)),
        (EPOCH, *ISO_TIMES),
    ),
)
