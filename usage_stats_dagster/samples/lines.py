"""The sample's requests as lines of a log, with what real logs have besides, in files as servers rotate them.

What belongs here: writing formats, broken lines, compression. What does not: which requests there are
(`sessions.py`), and reading logs (`logs/`).
"""

from __future__ import annotations

import gzip
import lzma
import os
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import zstandard

_BAD_BYTE = "\ue0e9"
"""Stands for a byte that is no UTF-8 (é as Latin-1 writes it) until the text becomes bytes."""

_BROKEN = (
    "\\x16\\x03\\x01\\x02\\x00\\x01\\x00\\x01\\xfc\\x03\\x03",
    '198.51.100.7 - - [{stamp}] "GET /handle/123456789/12 HTT',
    "AH00558: apache2: Could not reliably determine the server's fully qualified domain name",
    '198.51.100.7 - - [{stamp}] "-" 408 - "-" "-"',
)

Formatter = Callable[[str], pl.Expr]


def combined(host: str, *, client: pl.Expr | None = None) -> pl.Expr:
    """Apache's combined format; `client` stands in for the address when something else fills the first field."""
    del host
    return _common(pl.col("address") if client is None else client)


def vhost_combined(host: str) -> pl.Expr:
    """Apache's `vhost_combined`: combined behind the virtual host and its port."""
    return _common(pl.concat_str(pl.lit(f"{host}:443 "), pl.col("address")))


def behind_proxy(host: str) -> pl.Expr:
    """Combined where the first field is the X-Forwarded-For list: the client, then the balancers on its way."""
    return combined(host, client=pl.concat_str(pl.col("address"), pl.lit(", 10.0.0.7")))


def _common(client: pl.Expr) -> pl.Expr:
    size = pl.when(pl.col("size") == 0).then(pl.lit("-")).otherwise(pl.col("size").cast(pl.String))
    return pl.concat_str(
        client, pl.lit(" - - ["), pl.col("stamp"), pl.lit('] "'), pl.col("method"), pl.lit(" "), pl.col("path"),
        pl.lit(' HTTP/1.1" '), pl.col("status").cast(pl.String), pl.lit(" "), size, pl.lit(' "'), pl.col("referrer"),
        pl.lit('" "'), pl.col("agent"), pl.lit('"'),
    )  # fmt: skip


def stamp(first_day: date) -> pl.Expr:
    """The time of the request as Apache writes it, in UTC, from `time` (seconds since the first midnight)."""
    start = datetime.combine(first_day, time(), tzinfo=UTC)
    moment = pl.lit(start).dt.replace_time_zone(None) + pl.duration(seconds=pl.col("time").floor().cast(pl.Int64))
    return moment.dt.strftime("%d/%b/%Y:%H:%M:%S +0000")


def with_bad_bytes(rng: np.random.Generator, requests: pl.DataFrame) -> pl.DataFrame:
    """A few requests whose path or referrer holds a byte that is no UTF-8."""
    n = requests.height
    in_path = pl.Series(rng.random(n) < 0.0003)
    in_referrer = pl.Series(rng.random(n) < 0.0003)
    return requests.with_columns(
        path=pl.when(in_path & pl.col("path").str.contains(r"[?&]")).then(pl.col("path") + f"&t={_BAD_BYTE}").otherwise("path"),
        referrer=pl.when(in_referrer & (pl.col("referrer") != "-"))
        .then(pl.col("referrer") + f"pesquis{_BAD_BYTE}")
        .otherwise("referrer"),
    )  # fmt: skip


def write_log(
    rng: np.random.Generator, path: Path, lines: pl.Series, *, closed: datetime, overlong: int = 0
) -> dict[str, int]:
    """Writes a log, compressed as its name says, with one to three broken lines; `overlong` adds one line of that length.

    The file's time of change is `closed`, as if rotated then. Returns counts: lines, broken, bytes (on disk).
    """
    texts: list[str] = lines.to_list()
    extra = [_BROKEN[i] for i in rng.integers(0, len(_BROKEN), int(rng.integers(1, 4)))]
    if overlong:
        extra.append('203.0.113.9 - - [{stamp}] "GET /search?q=' + "A" * overlong + ' HTTP/1.1" 414 - "-" "-"')
    stamp_text = f"{closed - timedelta(hours=9):%d/%b/%Y:%H:%M:%S} +0000"
    for text in extra:
        texts.insert(int(rng.integers(0, len(texts) + 1)), text.replace("{stamp}", stamp_text))
    body = ("\n".join(texts) + "\n").encode().replace(_BAD_BYTE.encode(), b"\xe9")
    packed = _COMPRESSORS.get(path.suffix, bytes)(body)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(packed)
    os.utime(path, (closed.timestamp(), closed.timestamp()))
    return {"lines": len(texts), "broken": len(extra), "bytes": len(packed)}


_COMPRESSORS: Mapping[str, Callable[[bytes], bytes]] = {
    ".gz": lambda body: gzip.compress(body, 6, mtime=0),
    ".xz": lambda body: lzma.compress(body, preset=1),
    ".zst": lambda body: zstandard.ZstdCompressor(level=3).compress(body),
}
