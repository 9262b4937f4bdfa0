"""No address of a visitor is anywhere in what a run leaves behind: lake, ledger, index, state, output, Dagster's storage.

An address of a visitor is what stands where the log's format has the client's address, each of a list of
X-Forwarded-For included, and any in a line that no format could read. What a visitor asked for, and the page that he
came from, are kept as logged: an address in a URL is part of it, as a number of an item is (docs/privacy.md).
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from usage_stats_dagster.logs.addresses import blot
from usage_stats_dagster_tests.crash.commands import usage_stats
from usage_stats_dagster_tests.platforms import PDF, line
from usage_stats_dagster_tests.privacy.finding import Addresses, found_below

PLAIN = ("203.0.113.200", "198.51.100.37", "2001:db8:1234:5678::9a", "2001:db8:7777:0:1:2:3:4")
LISTED = ("203.0.113.61", "198.51.100.62", "2001:db8:6363:6363::63")
BROKEN = ("203.0.113.171", "198.51.100.172", "2001:db8:1717:1717::17", "2001:10:20:30:40:50:60:70")
ALL = Addresses([*PLAIN, *LISTED, *BROKEN])

SETTINGS = """
[platform]
grace_seconds = 0
[rules]
store_ips = {store_ips}
[[sites]]
id = 1
platform = "dspace"
url = "https://repo.example.org"
[[sites]]
id = 2
format = "nginx_json"
"""


def logs() -> dict[str, str]:
    """Good lines, and broken ones of many kinds, with addresses as servers and proxies write them."""
    v4, w4, v6, digits = BROKEN
    good = [line(f"10:0{n}:00", PDF if n % 2 else "/handle/1/1", ip=ip) for n, ip in enumerate(PLAIN)]
    mapped = [
        line("11:00:00", ip=f"{LISTED[0]}, {LISTED[1]}, 10.1.2.3"),
        line("11:01:00", ip=f"unknown, [{LISTED[2]}]:4711"),
        line("11:02:00", ip=f"::ffff:{PLAIN[0]}"),
        line("11:03:00", ip=f"{PLAIN[1]}:51234"),
        line("11:04:00", "/nowhere", ip=PLAIN[2], status=404),
        line("11:05:00", "/handle/1/2", ip=PLAIN[3], agent="Googlebot/2.1"),
    ]
    broken = [
        f"{v4} is no log line",
        f"{v6} neither",
        f"{digits} - - [01/Mar/2025:10:00:00 +0000] GET",
        f"client={v4};peer=[{v6}]:443",
        f"{v4}GET /glued HTTP/1.1",
        f"{v6}GET /glued HTTP/1.1",
        f'"{w4}, {v4}" - - [01/Mar/2025 bad date] "GET / HTTP/1.1" 200 1',
        line("10:00:00", ip=v4).replace("/Mar/", "/Foo/"),
        "x" * 190 + f" {v4} and more",
        "y" * 195 + f" {v6} and more",
        f"{w4} " + "z" * 2_000_000,
        f"\x00\x01{v4}\x00",
    ]
    entry = {"time_iso8601": "2025-03-01T12:00:00+00:00", "request": f"GET {PDF} HTTP/1.1", "status": 200}
    as_json = [
        json.dumps({**entry, "remote_addr": PLAIN[0], "http_user_agent": "Mozilla/5.0 Firefox/128.0"}),
        json.dumps({**entry, "remote_addr": PLAIN[2], "http_x_forwarded_for": LISTED[1]}),
        json.dumps({"remote_addr": v4}),
        json.dumps({**entry, "remote_addr": v6})[:-9],
    ]
    return {
        "1/a.log": "\n".join([*good, *mapped, *broken]) + "\n",
        "1/unknown.log": f"{v4} what is\n{v6} this\n",
        "1/binary.log": f"\x00\x00{v4}\x00".join("\x01" * 9),
        "2/access.json": "\n".join(as_json) + "\n",
        "2/cut.log": f"{line('10:00:00', ip=v4)[:60]}",
    }


def left_behind(folder: Path, *, store_ips: bool) -> list[str]:
    """Runs the graph and every command that shows something; gives where addresses stand afterwards."""
    (folder / "usage_stats.toml").write_text(SETTINGS.format(store_ips=str(store_ips).lower()))
    for name, text in logs().items():
        path = folder / "logs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    home = folder / "dagster_home"
    home.mkdir()
    shown = folder / "shown"
    shown.mkdir()
    commands = [
        ["run"], ["run", "--day", "2025-03-01"], ["status"], ["account"], ["logs"], ["rejects"], ["rejects", "--format", "json"],
        ["items", "--countries"], ["volumes", "--by", "day"], ["doctor"], ["run", "--plain", "--day", "2025-03-01"],
    ]  # fmt: skip
    for n, arguments in enumerate(commands):
        done = usage_stats(folder, *arguments, DAGSTER_HOME=str(home), USAGE_STATS_SECRET="")
        assert done.returncode == 0, (arguments, done.stderr)
        (shown / f"{n} {arguments[0]}").write_text(done.stdout + done.stderr)
    assert len(list(home.rglob("*.db"))) >= 2, "Dagster kept its storage elsewhere"
    assert "no_match" in "".join(p.read_text() for p in shown.iterdir())
    return found_below(folder, ALL, leave_out=[folder / "logs"])


def test_no_address_of_a_visitor_is_left_behind(tmp_path: Path) -> None:
    assert left_behind(tmp_path, store_ips=False) == []
    assert (tmp_path / "data/visitor.key").stat().st_mode & 0o077 == 0


def test_the_search_finds_what_it_looks_for(tmp_path: Path) -> None:
    found = left_behind(tmp_path, store_ips=True)
    for table in ("hits", "visits"):
        for address in (PLAIN[0], PLAIN[2]):
            assert [
                f for f in found if f.startswith(f"data/lake/{table}/") and "column location_ip" in f and address in f
            ]
    assert not [f for f in found if not f.startswith(("data/lake/hits/", "data/lake/visits/"))]


@pytest.mark.parametrize(
    "value",
    [
        "x 203.0.113.200 y",
        "200.113.0.203.in-addr.arpa",
        b"\xcb\x00\x71\xc8",
        3405803976,
        -889163320,
        b"20010DB812345678000000000000009A",
    ],
)
def test_forms(value: object) -> None:
    assert ALL.in_value(value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("203.0.113.171GET [01/Mar/2025:10:00:00 +0000]", "x.x.x.xGET [01/Mar/2025:10:00:00 +0000]"),
        ("client2001:db8::7 12:00:00.123 Name::Space", "clientx.x.x.x 12:00:00.123 Name::Space"),
        ("2001:10:20:30:40:50:60:70", "x.x.x.x"),
        ("y" * 55 + "203.0.113.171", "y" * 55 + "x.x.x"),
    ],
)
def test_blotted(text: str, shown: str) -> None:
    assert blot(text, 60) == shown
