"""Log formats, one module a family; the list of them all, in the order in which ties are decided."""

from usage_stats_dagster.logs.formats.apache import APACHE, GANDI, ICECAST, OVH
from usage_stats_dagster.logs.formats.base import LogFormat
from usage_stats_dagster.logs.formats.cloud import CLOUD
from usage_stats_dagster.logs.formats.jsonlines import JSON
from usage_stats_dagster.logs.formats.servers import SERVERS
from usage_stats_dagster.logs.formats.w3c import W3C

FORMATS: tuple[LogFormat, ...] = (*APACHE, *W3C, *CLOUD, *SERVERS, GANDI, *JSON, ICECAST)
"""Those that are sniffed."""

_ASKED_FOR = (*FORMATS, OVH)

ALIASES = {
    "combined": "ncsa_extended",
    "vhost_combined": "common_complete",
    "combined_forwarded": "ncsa_extended_forwarded",
    "alb": "elb",
    "cloudfront": "amazon_cloudfront",
}

NAMES = tuple(f.name for f in _ASKED_FOR)


def named(name: str) -> LogFormat | None:
    """The format of that name or alias."""
    name = ALIASES.get(name, name)
    return next((f for f in _ASKED_FOR if f.name == name), None)
