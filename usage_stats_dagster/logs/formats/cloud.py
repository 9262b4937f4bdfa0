"""Logs of cloud services: Amazon S3 and load balancers, Bunny CDN.

What belongs here: their own line layouts. What does not: those in W3C form (CloudFront, Incapsula: `w3c.py`).

Sources: Amazon S3 server access log format; Elastic Load Balancing access log entries (classic and application); Bunny
CDN log format.
"""

from __future__ import annotations

from usage_stats_dagster.logs.formats.apache import AGENT, END, REQUEST, TIME
from usage_stats_dagster.logs.formats.base import EPOCH_MILLIS, ISO_TIMES
from usage_stats_dagster.logs.formats.regex import IN_QUOTES, RegexFormat

# A request line with an absolute URL, cut into host and path.
_ABSOLUTE = r'"(?P<method>[^\s"]+)\s+[a-z]+://(?P<host>[^/:\s"]*)(?::[0-9]+)?(?P<path>/[^"]*?)\s+[^\s"]+"'
_IP_PORT = r"(?P<ip>\S+?)(?::[0-9]+)?\s+"
_TIMES_TAKEN = r"[0-9.\-]+\s+[0-9.\-]+\s+[0-9.\-]+\s+"

CLOUD = (
    RegexFormat(
        "s3",
        rf"^\S+\s+(?P<host>\S+)\s+{TIME}(?P<ip>\S+)\s+\S+\s+\S+\s+\S+\s+\S+\s+{REQUEST}(?P<status>[0-9]{{3}})\s+\S+\s+\S+\s+\S+\s+\S+\s+\S+{AGENT}{END}",
    ),
    RegexFormat(
        "elb",
        r"^(?:(?:https?|h2|grpcs|wss?)\s+)?(?P<time>[0-9]{4}-[0-9\-]+T\S+)\s+\S+\s+"
        rf"{_IP_PORT}\S+\s+{_TIMES_TAKEN}(?P<status>[0-9]{{3}})\s+\S+\s+\S+\s+\S+\s+{_ABSOLUTE}(?:\s+\"(?P<user_agent>{IN_QUOTES})\"(?:\s.*)?|\s*)$",
        times=ISO_TIMES,
    ),
    RegexFormat(
        "bunny",
        r"^[A-Z\-]+\|(?P<status>[0-9]{3})\|(?P<time>[0-9]{12,14})\|[0-9]*\|[^|]*\|(?P<ip>[^|]*)\|(?P<referrer>[^|]*)\|"
        r"[a-z]+://(?P<host>[^/:|]*)(?::[0-9]+)?(?P<path>/.*?)\|[^|]*\|(?P<user_agent>.*)\|[^|]*\|[^|]*$",
        times=(EPOCH_MILLIS,),
    ),
)
