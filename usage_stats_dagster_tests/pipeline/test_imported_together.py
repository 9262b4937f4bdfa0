"""Small logs are judged several at a time, large ones begun ahead: each leaves what it leaves alone, and is told the same."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from usage_stats_dagster.logs.judge import ReadOptions
from usage_stats_dagster.pipeline import imports, one_log, small_logs
from usage_stats_dagster_tests.platforms import FIREFOX, PDF, Platform, line

SITES: list[dict[str, Any]] = [
    {"id": 1, "platform": "dspace", "url": "https://repo.example.org"},
    {"id": 2, "platform": "dspace", "exclude": ["^/about"]},
    {"id": 3, "platform": "ojs", "format": "ncsa_extended"},
    {"id": 4, "platform": "generic", "format_regex": r"(?P<ip>\S+) (?P<time>\S+) (?P<path>\S+)"},
]
URLS = (PDF, "/handle/1/1", "/about", "/a.css", "/handle/1/%31", "/search?query=é")
REFERRERS = ("-", "https://www.google.com/search?q=a", "https://semalt.com/x")
START = datetime(2025, 3, 30, 20)


def text(rng: random.Random, count: int) -> bytes:
    """So many lines of two days, some of them twice."""
    rows = [
        line(
            START + timedelta(seconds=rng.randrange(30_000)),
            rng.choice(URLS),
            ip=f"192.0.2.{rng.randrange(4)}",
            agent=rng.choice((FIREFOX, "Googlebot/2.1", "-")),
            status=rng.choice((200, 200, 404, 302)),
            referrer=rng.choice(REFERRERS),
        )
        for _ in range(count)
    ]
    rows += rng.choices(rows, k=count // 5) if rows else []
    return "".join(f"{row}\n" for row in rows).encode()


W3C = b"#Fields: date time c-ip cs-method cs-uri-stem sc-status\n2025-03-30 10:00:00 192.0.2.1 GET /handle/1/1 200\n"
OF_ITS_OWN = b"192.0.2.1 2025-03-30T10:00:00Z /handle/1/1\n192.0.2.2 2025-03-30T23:00:00Z /b\nnonsense\n"

KINDS: dict[str, Callable[[random.Random], bytes]] = {
    "": lambda r: text(r, r.randrange(1, 60)),
    "of many lines": lambda r: text(r, 1500),
    "with what nobody can read": lambda r: text(r, 5) + b"nonsense 192.0.2.9\n\n# a comment\n" + text(r, 5),
    "no utf-8": lambda r: text(r, 5).replace(b"%31", b"\xff\xfe"),
    "of NULs": lambda r: text(r, 3) + b"\0\0\0\n" + text(r, 3),
    "with a mark": lambda r: b"\xef\xbb\xbf" + text(r, 5),
    "without its last line end": lambda r: text(r, 5)[:-1],
    "of other line ends": lambda r: text(r, 5).replace(b"\n", b"\r\n"),
    "with a long line": lambda r: text(r, 5) + b"x" * (1 << 21) + b"\n" + text(r, 5),
    "with a log-in": lambda r: text(r, 9).replace(b" - - ", b" - a user ", 3),
    "empty": lambda _: b"",
    "blank": lambda _: b"\n\n",
    "binary": lambda r: r.randbytes(2000),
    "packed": lambda r: gzip.compress(text(r, 30), mtime=0),
    "cut off": lambda r: gzip.compress(text(r, 900), mtime=0)[:-40],
    "of columns": lambda _: W3C,
    "of its own": lambda _: OF_ITS_OWN,
}  # fmt: skip


def write(platform: Platform, seed: int) -> None:
    """Logs of all kinds for each site, and some that hold another's lines: copied, gone on, put together."""
    rng = random.Random(seed)
    for site in SITES:
        written: list[bytes] = []
        for k in range(rng.randrange(2, 9)):
            kind = rng.choice(("", "", "", *KINDS, "a copy", "gone on", "put together"))
            if kind in KINDS:
                content = OF_ITS_OWN if site["id"] == 4 and not kind else KINDS[kind](rng)
            else:
                old = rng.choice(written) if written else text(rng, 9)
                content = {"a copy": old, "gone on": old + text(rng, 9), "put together": text(rng, 2) + old}[kind]
            written.append(content)
            platform.log(f"access-{k}.log" + (".gz" if content[:2] == b"\x1f\x8b" else ""), content, site["id"])


def grow(platform: Platform, seed: int) -> None:
    """Some logs go on, one is replaced by another's beginning, and there are more."""
    rng = random.Random(seed)
    for site in SITES:
        for path in sorted((platform.folder / "logs" / str(site["id"])).iterdir()):
            if path.suffix == ".log" and rng.random() < 0.5:
                path.write_bytes(path.read_bytes() + text(rng, 7))
        paths = sorted((platform.folder / "logs" / str(site["id"])).iterdir())
        platform.log("shorter.log", rng.choice(paths).read_bytes()[:700], site["id"])
        platform.log("later.log", text(rng, 20), site["id"])


def imported(
    folder: Path,
    seed: int,
    together: int,
    held: int = small_logs.HELD_BYTES,
    *,
    ahead: bool = True,
    block: int = 1 << 20,
) -> tuple[Any, ...]:
    """Every file of the lake, what was told of each path, and the ledger's logs and days, after two imports."""
    platform = Platform.make(folder, sites=SITES)
    write(platform, seed)
    told: list[Any] = []
    with pytest.MonkeyPatch.context() as m:
        m.setenv("USAGE_STATS_SECRET", "a key for tests")
        m.setattr(imports, "MOST_TOGETHER", together)
        m.setattr(small_logs, "HELD_BYTES", held)
        m.setattr(one_log, "ReadOptions", partial(ReadOptions, block_bytes=block))
        if not ahead:
            m.setattr(
                imports,
                "import_in_turn",
                lambda ws, logs, *days: ((f, one_log.import_path(ws, f, *days)) for f in logs),
            )
        for _ in range(2):
            report = imports.import_logs(platform.ws)
            told += [(Path(p.path).relative_to(folder), p.action, p.lines, p.days, p.message) for p in report.paths]
            grow(platform, seed)
    lake = {str(p.relative_to(folder)): p.read_bytes() for p in sorted((folder / "lake").rglob("*")) if p.is_file()}
    # Numbers of rows are in the order in which sites come to their end.
    ws = platform.ws
    rows = sorted(ws.ledger.logs(), key=lambda r: (r["idsite"], r["id"]))
    logs = [{k: v for k, v in r.items() if k != "id" and not k.endswith("_at")} for r in rows]
    days = [{k: v for k, v in r.items() if not k.endswith("_at")} for r in ws.ledger.statuses()]
    here = str(folder)
    return tuple(str(part).replace(here, "") for part in (told, logs, days)), {
        name: content.replace(here.encode(), b"") for name, content in lake.items()
    }


@settings(max_examples=7, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(seed=3, most=40, held=small_logs.HELD_BYTES)  # two logs go on where the same one ended
@given(seed=st.integers(0, 10_000), most=st.integers(2, 40), held=st.sampled_from((1, 5_000, small_logs.HELD_BYTES)))
def test_together_is_as_alone(seed: int, most: int, held: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    alone = imported(tmp_path_factory.mktemp("alone"), seed, 1, ahead=False)
    assert imported(tmp_path_factory.mktemp("together"), seed, most, held) == alone
    assert any("hits/" in name for name in alone[1])


@settings(max_examples=7, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(seed=3, block=1 << 20)  # as above
@given(seed=st.integers(0, 10_000), block=st.sampled_from((4_000, 20_000, 1 << 20)))
def test_begun_ahead_is_as_in_turn(seed: int, block: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Large logs: the next is begun while the last blocks of one are worked on."""
    in_turn = imported(tmp_path_factory.mktemp("turn"), seed, 1, ahead=False, block=block)
    assert imported(tmp_path_factory.mktemp("ahead"), seed, 1, block=block) == in_turn


def test_logs_of_several_sites_are_judged_in_one_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    platform = Platform.make(
        tmp_path, sites=[*SITES[:1], {"id": 5, "platform": "dspace"}, {"id": 6, "platform": "ojs"}]
    )
    for site in (1, 5, 6):
        for k in range(2):
            platform.log(f"access-{k}.log", text(random.Random(site * 10 + k), 40), site)
    judged: list[int] = []
    whole = small_logs.judge_together
    monkeypatch.setattr(small_logs, "judge_together", lambda alone: (judged.append(len(alone)), whole(alone))[1])
    report = imports.import_logs(platform.ws)
    assert [p.action for p in report.paths] == ["imported"] * 6
    assert judged == [6]
