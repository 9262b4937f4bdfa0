"""Makes the benchmarks' log: seeded, combined format, one site, of any length, a few seconds a million lines.

`python -m benchmarks.generate --lines 2000000 [--days 4] [--gzip] [--seed 1]` writes below benchmarks/data/ and prints
the folder; an existing one is kept. The mix: 45 % static files, 4 % errors, 2 % redirects, the rest content; 20,000
items and 4,000 user agents with a few favourites each; 7 addresses per 100 lines; sessions of about eight
lines; 0.05 % garbage and as many lines with escaped quotes.
"""

from __future__ import annotations

import argparse
import gzip
import os
import shutil
import subprocess
import time
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl

DATA = Path(__file__).parent / "data"
FIRST_DAY = date(2025, 3, 1)
HOST = "https://repo.example.org"
DAY = 86_400
BLOCK = 500_000
VERSION = 1  # raise it when the bytes made for a seed change

ITEMS, AGENTS = 20_000, 4_000
CONTENT, STATIC, ERROR, REDIRECT = range(4)
MIX = (0.49, 0.45, 0.04, 0.02)
SESSION_LINES, PAUSE = 8, 12.0
GARBAGE = (
    r'203.0.113.7 - - [01/Mar/2025:00:00:00 +0000] "\x16\x03\x01\x02\x00\x01\xfc\x03\x03" 400 226 "-" "-"',
    '203.0.113.8 - - [01/Mar/2025:11:11:11 +0000] "GET /handle/123456789/77 HT',
    "[error] client denied by server configuration: /var/www/html/server-status",
    '198.51.100.9 - - [01/Mar/2025:12:00:00 +0000] "-" 408 - "-" "-"',
)


def folder_of(lines: int, days: int, *, packed: bool, seed: int) -> Path:
    """Where that log lies: below it `logs/1/`."""
    return DATA / f"v{VERSION}-{lines}-lines-{days}-days-seed-{seed}{'-gz' if packed else ''}"


def ensure(lines: int, days: int = 1, *, packed: bool = False, seed: int = 1) -> Path:
    """The folder of that log, made when absent. Raises ValueError for sizes that make no log."""
    folder = folder_of(lines, days, packed=packed, seed=seed)
    if folder.is_dir():
        return folder
    if lines < days or days < 1:
        msg = f"{lines} lines over {days} days make no log: ask for at least a line a day"
        raise ValueError(msg)
    unfinished = folder.with_name(folder.name + ".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    target = unfinished / "logs" / "1"
    target.mkdir(parents=True)
    if packed:
        _pack(ensure(lines, days, seed=seed) / "logs" / "1", target)
    else:
        _write(target, lines, days, np.random.default_rng([seed, lines, days]))
    old = time.time() - 3600  # or a log just made would be left alone as one still being written
    for file in target.iterdir():
        os.utime(file, (old, old))
    unfinished.rename(folder)
    return folder


def _write(folder: Path, lines: int, days: int, rng: np.random.Generator) -> None:
    addresses, visitor_agent = _visitors(max(100, lines // 10), rng)
    agents = _agents()
    requests, first_static, first_error, first_redirect = _requests(rng)
    referrers = _referrers(requests)

    visitor, when = _sessions(lines, days, len(addresses), rng)
    order = np.argsort(when, kind="stable")
    visitor, when = visitor[order], when[order]
    item_share = np.cumsum(1 / np.arange(1, ITEMS + 1) ** 0.9)
    item_share /= item_share[-1]
    clock = pl.Series([f"{s // 3600:02d}:{s // 60 % 60:02d}:{s % 60:02d} +0000" for s in range(DAY)])
    cuts = np.searchsorted(when, np.arange(days + 1) * DAY)
    for d in range(days):
        day = FIRST_DAY + timedelta(days=d)
        with (folder / f"access-{day}.log").open("wb") as out:
            for start in range(cuts[d], cuts[d + 1], BLOCK):
                rows = slice(start, min(start + BLOCK, cuts[d + 1]))
                n = rows.stop - rows.start
                kind = rng.choice(4, n, p=MIX)
                item = np.searchsorted(item_share, rng.random(n))
                request, status = _choose(rng, kind, item, (first_static, first_error, first_redirect, len(requests)))
                who = visitor[rows]
                block = pl.select(
                    address=addresses.gather(who),
                    clock=clock.gather(when[rows] - d * DAY),
                    request=requests.gather(request),
                    status=pl.Series(status).cast(pl.String),
                    size=pl.Series((9000 * np.exp(rng.standard_normal(n))).astype(np.int64)).cast(pl.String),
                    referrer=referrers.gather(_referrer_of(rng, kind, item, len(referrers))),
                    agent=agents.gather(visitor_agent[who]),
                )
                out.write(_bytes(block, day, rng))


def _bytes(block: pl.DataFrame, day: date, rng: np.random.Generator) -> memoryview:
    """The block's lines, each with its newline, as they stand one after another in Arrow's buffer."""
    parts = [
        pl.col("address"), pl.lit(f" - - [{day:%d/%b/%Y}:"), pl.col("clock"), pl.lit('] "'), pl.col("request"), pl.lit(' HTTP/1.1" '),
        pl.col("status"), pl.lit(" "), pl.col("size"), pl.lit(' "'), pl.col("referrer"), pl.lit('" "'), pl.col("agent"), pl.lit('"\n'),
    ]  # fmt: skip
    odd = rng.random(block.height)
    garbage = pl.Series(GARBAGE).gather(rng.integers(0, len(GARBAGE), block.height))
    line = (
        pl.when(pl.Series(odd < 0.0005))
        .then(garbage + "\n")
        .when(pl.Series(odd > 0.9995))
        .then(pl.concat_str(*parts[:-1], pl.lit(r" \"embedded\" "), parts[-1]))
        .otherwise(pl.concat_str(*parts))
    )
    array = block.select(line=line)["line"].rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    return memoryview(array.buffers()[2])[: np.frombuffer(array.buffers()[1], dtype=np.int64)[len(array)]]


def _visitors(n: int, rng: np.random.Generator) -> tuple[pl.Series, np.ndarray]:
    a, b, c, d = rng.integers(0, 256, (4, n))
    first = np.array([24, 41, 67, 73, 81, 86, 91, 114, 126, 177, 179, 181, 186, 189, 190, 200, 201])[a % 17]
    frame = pl.DataFrame({"a": first, "b": b, "c": c, "d": d, "new": rng.random(n) < 0.02})
    four = pl.format("{}.{}.{}.{}", "a", "b", "c", "d")
    six = pl.format("2804:14c:{}:{}::{}", "b", "c", "d")
    share = 1 / np.arange(1, AGENTS + 1) ** 0.8
    agent = np.searchsorted(np.cumsum(share / share.sum()), rng.random(n))
    return frame.select(pl.when("new").then(six).otherwise(four)).to_series(), np.minimum(agent, AGENTS - 1)


def _agents() -> pl.Series:
    """Browsers of many versions; every tenth agent is a robot, of which COUNTER's list knows about two in three."""
    robots = (
        "Googlebot/2.{}",
        "bingbot/2.{}",
        "GPTBot/1.{}",
        "SemrushBot/7.{}",
        "python-requests/2.{}",
        "ImportTool/0.{}",
    )
    systems = (
        "Windows NT 10.0; Win64; x64",
        "Macintosh; Intel Mac OS X 10_15_7",
        "X11; Linux x86_64",
        "Linux; Android 13; K",
    )
    out = []
    for i in range(AGENTS):
        if i % 10 == 9:
            name = robots[i // 10 % len(robots)].format(i // 60)
            out.append(
                f"Mozilla/5.0 (compatible; {name}; +http://robots.example/{i})"
                if "/1" in name or "bot" in name
                else name
            )
        else:
            version = f"{90 + i % 45}.0.{i}.{i % 7}"
            webkit = "AppleWebKit/537.36 (KHTML, like Gecko)"
            out.append(f"Mozilla/5.0 ({systems[i % 4]}) {webkit} Chrome/{version} Safari/537.36")
    return pl.Series(out)


def _requests(rng: np.random.Generator) -> tuple[pl.Series, int, int, int]:
    """`METHOD path` of all kinds, and where static, errors and redirects begin: items' pages, files, others come first."""
    numbers = rng.permutation(np.arange(1, ITEMS * 3))[:ITEMS].tolist()
    content = [f"GET /handle/123456789/{n}" for n in numbers]
    files = [f"/bitstream/123456789/{n}/1/{'tese%20final' if n % 4 == 0 else 'tese'}.pdf" for n in numbers]
    content += [f"GET {f}" for f in files]
    content += [f"GET /discover?query=tema+{i}&page={i % 9}" for i in range(500)]
    content += [f"GET /browse?type=author&value=Silva%2C+{i}" for i in range(500)]
    static = [f"GET /themes/Mirage2/file-{i}.{('css', 'js', 'png', 'svg', 'woff2')[i % 5]}" for i in range(60)]
    static += [f"GET {f}.jpg" for f in files]
    errors = [f"GET /wp-content/plugins/p{i}/readme.txt" for i in range(300)]
    redirects = [f"GET /xmlui/handle/123456789/{i}" for i in range(300)]
    return (
        pl.Series(content + static + errors + redirects),
        len(content),
        len(content) + len(static),
        len(content) + len(static) + len(errors),
    )


def _choose(
    rng: np.random.Generator, kind: np.ndarray, item: np.ndarray, bounds: tuple[int, int, int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """The request (a row of `_requests`) and the status of each line."""
    n, luck = len(kind), rng.random(len(kind))
    static, error, redirect, end = bounds
    request = np.where(luck < 0.5, item, np.where(luck < 0.88, ITEMS + item, 2 * ITEMS + rng.integers(0, 1000, n)))
    thumbnail = static + 60 + item
    request = np.where(kind == STATIC, np.where(luck < 0.3, thumbnail, static + rng.integers(0, 60, n)), request)
    request = np.where(kind == ERROR, rng.integers(error, redirect, n), request)
    request = np.where(kind == REDIRECT, rng.integers(redirect, end, n), request)
    status = np.select([kind == ERROR, kind == REDIRECT, luck > 0.95], [404, 302, 304], 200)
    return request, status


def _referrers(requests: pl.Series) -> pl.Series:
    """None, search engines and sites; then the pages of the items, which lead to one another and to static files."""
    outside = [
        "-",
        "https://www.google.com/",
        "https://scholar.google.com/",
        "https://www.bing.com/",
        "https://t.co/abc",
    ]
    outside += [f"https://www.site-{i}.example/page?id={i}" for i in range(495)]
    return pl.concat([pl.Series(outside), HOST + requests.head(ITEMS).str.slice(4)])


def _referrer_of(rng: np.random.Generator, kind: np.ndarray, item: np.ndarray, size: int) -> np.ndarray:
    n, luck = len(kind), rng.random(len(kind))
    outside = size - ITEMS
    inside = outside + item
    others = np.where(luck < 0.3, 0, np.where(luck < 0.55, rng.integers(1, 5, n), rng.integers(0, outside, n)))
    return np.where(luck > np.where(kind == STATIC, 0.3, 0.65), inside, others)


def _sessions(lines: int, days: int, visitors: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Each line's visitor, and its second since the first midnight: sessions of about eight lines, some seconds apart."""
    length = rng.geometric(1 / SESSION_LINES, lines // SESSION_LINES * 2 + 50)
    n = int(np.searchsorted(np.cumsum(length), lines)) + 1
    length = length[:n]
    first = np.cumsum(length) - length
    visitor = np.repeat(rng.integers(0, visitors, n, dtype=np.int32), length)[:lines]
    pause = rng.exponential(PAUSE, lines)
    elapsed = np.cumsum(pause)
    begin = first[first < lines]
    elapsed -= np.repeat(elapsed[begin], length[: len(begin)])[:lines]
    # More is asked for by day than by night: the sum of two uniform draws.
    hour = (rng.random(len(begin)) + rng.random(len(begin))) / 2
    start = rng.integers(0, days, len(begin)) * DAY + hour * DAY
    when = np.repeat(start, length[: len(begin)])[:lines] + elapsed
    return visitor, (when % (days * DAY)).astype(np.int32)


def _pack(source: Path, target: Path) -> None:
    for file in sorted(source.iterdir()):
        packed = target / (file.name + ".gz")
        tool = shutil.which("gzip")
        if tool:
            with packed.open("wb") as out:
                subprocess.run([tool, "-6nc", str(file)], stdout=out, check=True)
        else:
            with file.open("rb") as plain, gzip.GzipFile(packed, "wb", 6, mtime=0) as out:
                shutil.copyfileobj(plain, out, 1 << 20)


def main() -> None:
    """Makes one log and prints its folder and size."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lines", type=int, default=2_000_000)
    parser.add_argument("--days", type=int, default=1)
    parser.add_argument("--gzip", action="store_true", help="packed as well")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    started = time.perf_counter()
    folder = ensure(args.lines, args.days, packed=args.gzip, seed=args.seed)
    size = sum(f.stat().st_size for f in (folder / "logs" / "1").iterdir())
    print(f"{folder}\n{args.lines:,} lines, {size / 1e6:,.0f} MB, {time.perf_counter() - started:.1f} s")


if __name__ == "__main__":
    main()
