"""Raw tracker requests of other collectors, sent again."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from urllib.parse import urlencode

import orjson

from usage_stats_dagster.matomo.sender import SendReport
from usage_stats_dagster.pipeline.replaying import replay
from usage_stats_dagster_tests.matomo_http.platforms import first_then, platform_for, store_in
from usage_stats_dagster_tests.matomo_http.server import Matomo
from usage_stats_dagster_tests.shared import shared


def test_the_fixture_s_requests_are_sent_as_they_are_and_once(tmp_path: Path) -> None:
    path = shared("fixtures/matomo/tracker-requests.jsonl.gz")
    written = [json.loads(x) for x in gzip.decompress(path.read_bytes()).splitlines()]
    copy = tmp_path / "another name.jsonl"
    copy.write_bytes(gzip.decompress(path.read_bytes()))
    with Matomo(store_in(tmp_path)) as matomo:
        matomo.fault = first_then("lost after", at=3)
        platform = platform_for(tmp_path, matomo, matomo={"send_batch": 200, "timeout_seconds": 20})
        files, reports = replay(platform.ws, [path])
        report = reports[5]
        assert isinstance(report, SendReport)
        assert (report.requests, report.resolved, files[0].requests, files[0].rejected) == (2000, 1, {5: 2000}, {})
        assert matomo.store is not None
        assert sum(n for _, n in matomo.store.urls(5)) == sum("bot" not in r["ua"].lower() for r in written)
        sent = [r for batch in matomo.bulk_requests for r in batch]
        ours = {"rec", "queuedtracking", "pv_id"}
        assert [{k: v for k, v in r.items() if k not in ours} for r in sent] == [
            {k: v for k, v in r.items() if k not in ours} for r in written
        ]
        before = len(sent)
        replay(platform.ws, [copy])
        assert sum(map(len, matomo.bulk_requests)) == before


def test_every_form_of_a_line_is_read_and_every_bad_one_is_counted(tmp_path: Path) -> None:
    good = {
        "idsite": "1",
        "rec": "1",
        "url": "https://a.example/é",
        "cdt": "2025-03-01 00:00:01",
        "token_auth": "secret",
    }
    lines = [
        json.dumps({**good, "pv_id": "abcdef"}).encode(),
        b"?" + urlencode(good).encode(),
        b"https://m.example/piwik.php?" + urlencode({**good, "cdt": "1740787202"}).encode(),
        b"",
        b"?idsite=1&url=a",
        b"?cdt=2025-03-01&url=a",
        b"{broken",
        b"?" + urlencode(good).encode() + b"&x=%ff",
        orjson.dumps(good)[:-1] + b',"x":"\xff"}',
        b'{"idsite":1,"cdt":"2025-03-01 00:00:01","x":"\\ud800"}',
    ]
    path = tmp_path / "requests.txt"
    path.write_bytes(b"\n".join(lines))
    with Matomo(store_in(tmp_path)) as matomo:
        files, _ = replay(platform_for(tmp_path, matomo).ws, [path])
        (sent,) = matomo.bulk_requests
    assert [r["url"] for r in sent] == ["https://a.example/é"] * 3
    assert len({r["pv_id"] for r in sent}) == 3
    assert not any("token_auth" in r for r in sent)
    assert files[0].rejected == Counter({"not UTF-8": 2, "unreadable": 2, "no cdt": 1, "no idsite": 1})


def test_the_command_sends_a_file_and_says_what_became_of_it(tmp_path: Path, monkeypatch) -> None:
    from typer.testing import CliRunner

    from usage_stats_dagster.cli.main import app

    path = tmp_path / "export.txt"
    path.write_text("?idsite=1&rec=1&url=https%3A%2F%2Fa.example%2F1&cdt=2025-03-01+00:00:01\nnonsense\n")
    with Matomo(store_in(tmp_path)) as matomo:
        monkeypatch.chdir(tmp_path)
        for key, value in {"MATOMO__URL": matomo.url, "MATOMO__TIMEOUT_SECONDS": "20"}.items():
            monkeypatch.setenv(f"USAGE_STATS_{key}", value)
        done = CliRunner().invoke(app, ["replay", str(path), "--json"])
        assert done.exit_code == 0, done.output
        (row,) = json.loads(done.stdout)
        assert (row["idsite"], row["sent"], row["refused"]) == (1, 1, 0)
        assert "1 lines passed over" in done.stderr
        assert matomo.store is not None
        assert sum(n for _, n in matomo.store.urls(1)) == 1
