"""Formats of other servers: HAProxy.

What belongs here: server formats that are neither of the Apache family nor W3C nor JSON.

Source: HAProxy configuration manual, HTTP log format. It writes the local time without a zone, which is taken as UTC (as
upstream does), and a user agent only where the operator captures it, in no fixed place: none is read.
"""

from __future__ import annotations

from usage_stats_dagster.logs.formats.regex import RegexFormat

SERVERS = (
    RegexFormat(
        "haproxy",
        r"^(?:.*?: )?\[?(?P<ip>[0-9A-Fa-f.:]+?)\]?:[0-9]+\s+\[(?P<time>[0-9]{1,2}/[A-Za-z]{3}/[0-9]{4}:[0-9:.]+)\]\s+\S+\s+\S+\s+"
        r"[0-9+\-]+(?:/[0-9+\-]+)+\s+(?P<status>[0-9]{3})\s+\+?[0-9]+\s+.*?"
        r'"(?P<method>[A-Z]+)\s+(?:[a-z]+://(?P<host>[^/:\s"]*)(?::[0-9]+)?)?(?P<path>\S*)(?:\s+[^\s"]+)?"',
        times=("%d/%b/%Y:%H:%M:%S%.f",),
    ),
)
