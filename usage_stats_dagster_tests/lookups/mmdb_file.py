"""Writes a small MMDB file (MaxMind DB format 2.0, IPv4, 24-bit records), so that tests need no one's database."""

import ipaddress

MARK = b"\xab\xcd\xefMaxMind.com"


def write_mmdb(path, networks, database_type="Test-Country"):
    """`networks`: network to record (a dict of strings and dicts)."""
    nodes = [[None, None]]
    data = b""
    for network, record in networks.items():
        net = ipaddress.ip_network(network)
        bits = f"{int(net.network_address):032b}"[: net.prefixlen]
        node = 0
        for bit in map(int, bits[:-1]):
            if nodes[node][bit] is None:
                nodes.append([None, None])
                nodes[node][bit] = len(nodes) - 1
            node = nodes[node][bit]
        nodes[node][int(bits[-1])] = ("data", len(data))
        data += encoded(record)
    count = len(nodes)

    def pointer(child):
        value = count if child is None else count + 16 + child[1] if isinstance(child, tuple) else child
        return value.to_bytes(3, "big")

    tree = b"".join(pointer(left) + pointer(right) for left, right in nodes)
    about = {
        "binary_format_major_version": short(2),
        "binary_format_minor_version": short(0),
        "build_epoch": bytes([8, 2]) + (1_740_000_000).to_bytes(8, "big"),
        "database_type": database_type,
        "description": {},
        "ip_version": short(4),
        "languages": bytes([0, 4]),
        "node_count": bytes([6 << 5 | 4]) + count.to_bytes(4, "big"),
        "record_size": short(24),
    }
    path.write_bytes(tree + bytes(16) + data + MARK + encoded(about))
    return path


def short(number):
    return bytes([5 << 5 | 2]) + number.to_bytes(2, "big")


def encoded(value):
    """A dict or a string in the format's encoding; bytes are encoded already."""
    if isinstance(value, dict):
        return bytes([7 << 5 | len(value)]) + b"".join(encoded(k) + encoded(v) for k, v in value.items())
    if isinstance(value, str):
        return bytes([2 << 5 | len(value)]) + value.encode()
    return value
