"""IP addresses as logs write them: cleaned, masked, blotted out.

What belongs here: the address of a visitor from `::ffff:1.2.3.4`, `[2001:db8::1]:443`, `1.2.3.4:5678` or the list of
X-Forwarded-For, its network, and IP literals in text that people see. What does not: countries (`lookups/`).
"""

from __future__ import annotations

import ipaddress
import re
import socket
from functools import lru_cache

import polars as pl

_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = rf"^{_OCTET}\.{_OCTET}\.{_OCTET}\.{_OCTET}$"
_NO_PREFIX = bytes(8)
_LONGEST = 45  # characters of an address, ::ffff: and dots included
_IP_LITERAL = re.compile(
    r"(?<!\d)\d{1,3}(?:\.\d{1,3}){3}(?!\d)|(?<![0-9A-Fa-f:])(?=[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:)[0-9A-Fa-f:.]{2,}"
)
_PORT = re.compile(r"^(?:\[([^\]]+)\](?::\d+)?|([0-9.]+):\d+)$")
_TIME = re.compile(r"^\d{1,4}(?::\d{2}){1,3}(?:\.\d*)?$")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _address(text: str) -> Address | None:
    text = text.strip().strip('"')
    bare = _PORT.match(text)
    text = (bare.group(1) or bare.group(2)) if bare else text
    try:
        found = ipaddress.ip_address(text.split("%", 1)[0])
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, ipaddress.IPv6Address) else found


@lru_cache(maxsize=1 << 16)
def _visitor(text: str) -> tuple[str, str | None]:
    """(clean address, network); the text itself and None for what is no address (a host name, `-`)."""
    if plain := _plain_ipv6(text):
        return plain
    listed = [a for part in text.split(",") if (a := _address(part)) is not None]
    if not listed:
        return text.strip(), None
    chosen = next((a for a in listed if a.is_global), listed[0]) if len(listed) > 1 else listed[0]
    host_bits = 16 if chosen.version == 4 else 80
    return str(chosen), str(type(chosen)(int(chosen) >> host_bits << host_bits))


def _plain_ipv6(text: str) -> tuple[str, str] | None:
    """The same for IPv6 as most write it, by the system's own functions, ten times as fast; None for anything else."""
    if ":" not in text:
        return None
    try:
        packed = socket.inet_pton(socket.AF_INET6, text)
    except (OSError, ValueError):
        return None
    if packed.startswith(_NO_PREFIX):  # embedded IPv4, loopback
        return None
    network = packed[:6] + bytes(10)
    return socket.inet_ntop(socket.AF_INET6, packed), socket.inet_ntop(socket.AF_INET6, network)


def clean(raw: pl.Series) -> pl.DataFrame:
    """`ip` (clean; of a list the first public address, else the first) and `location_ip` (its /16 or /48; null when none).

    Plain IPv4 is masked over the column; each other spelling is looked at once.
    """
    plain = raw.str.contains(_IPV4).fill_null(value=False)
    parts = raw.to_frame("ip").select("ip", pl.col("ip").str.splitn(".", 3).alias("part")).unnest("part")
    network = pl.concat_str("field_0", pl.lit("."), "field_1", pl.lit(".0.0"))
    if plain.all():
        return parts.select("ip", network.alias("location_ip"))
    other = raw.filter(~plain).drop_nulls().unique()
    seen = [_visitor(text) for text in other.to_list()]
    spelled = pl.DataFrame(
        {"ip": other, "clean": [c for c, _ in seen], "network": [n for _, n in seen]},
        schema={"ip": pl.String, "clean": pl.String, "network": pl.String},
    )
    joined = parts.join(spelled, on="ip", how="left", maintain_order="left")
    return joined.select(
        pl.when(plain).then("ip").otherwise("clean").alias("ip"),
        pl.when(plain).then(network).otherwise("network").alias("location_ip"),
    )


def blot(text: str, length: int) -> str:
    """The first `length` characters of the text, IPv4 and IPv6 literals in it written x.x.x.x: what is kept of a line that
    nobody could read, or shown to people, must not carry them. An address that the cut would split counts whole.

    Rather too much than too little: a version of four numbers is taken for an address; times and `Name::Space` are not.
    """
    return _IP_LITERAL.sub(_blotted, text[: length + _LONGEST])[:length]


def _blotted(m: re.Match[str]) -> str:
    found = m.group()
    glued = m.start() > 0 and m.string[m.start() - 1].isalnum()
    is_word = glued and not any(c.isdigit() for c in found)
    return found if is_word or _TIME.match(found) else "x.x.x.x"
