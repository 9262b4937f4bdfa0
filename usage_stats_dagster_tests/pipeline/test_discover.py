"""Which files are logs, whose they are, and what their paths say."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from usage_stats_dagster.logs.discover import discover, read_path
from usage_stats_dagster.settings import Site
from usage_stats_dagster_tests.platforms import settings


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")


def test_numeric_folders_are_sites_at_any_depth(tmp_path: Path) -> None:
    touch(tmp_path / "logs", "1/a.log", "1/deep/er/b.log.gz", "2/c.log", "1/.hidden", "1/c.log.tmp", "1/d.log~")
    found = discover(settings(tmp_path, sites=[]))
    assert [(f.idsite, f.path.name) for f in found.logs] == [(1, "a.log"), (1, "b.log.gz"), (2, "c.log")]
    assert found.problems == []


def test_an_unknown_folder_is_named_and_stops_nothing(tmp_path: Path) -> None:
    touch(tmp_path / "logs", "1/a.log", "77/b.log", "www/c.log", "stray.log")
    found = discover(settings(tmp_path))
    assert [f.idsite for f in found.logs] == [1]
    text = " ".join(f"{Path(p).name}: {m}" for p, m in found.problems)
    assert "77: no site is called '77': name the folder by a site's id (1)" in text
    assert "www: no site is called 'www'" in text
    assert "stray.log: 1 files lie beside the sites' folders" in text


def test_a_directory_named_like_a_log_is_looked_into(tmp_path: Path) -> None:
    touch(tmp_path / "logs", "1/access.log/real.log")
    assert [f.path.name for f in discover(settings(tmp_path)).logs] == ["real.log"]


def test_a_site_may_name_its_own_globs(tmp_path: Path) -> None:
    touch(
        tmp_path / "elsewhere", "web1/access-2025-03-01.log", "web1/error-2025-03-01.log", "web2/access-2025-03-01.log"
    )
    touch(tmp_path / "logs", "1/not-this.log")
    pattern = r"/(?P<server>web\d)/access-(?P<date>\d{4}-\d{2}-\d{2})"
    site = {"id": 1, "logs": [f"{tmp_path}/elsewhere/**/access-*.log"], "path_pattern": pattern}
    found = discover(settings(tmp_path, sites=[site]))
    assert [(f.path.name, f.server, f.log_date) for f in found.logs] == [
        ("access-2025-03-01.log", "web1", date(2025, 3, 1)),
        ("access-2025-03-01.log", "web2", date(2025, 3, 1)),
    ]


def test_a_folder_given_for_one_run_stands_in_and_may_be_flat(tmp_path: Path) -> None:
    touch(tmp_path / "logs", "1/no.log")
    touch(tmp_path / "flat", "a.log", "b.log")
    found = discover(settings(tmp_path), logs_dir=tmp_path / "flat")
    assert [(f.idsite, f.path.name) for f in found.logs] == [(1, "a.log"), (1, "b.log")]
    touch(tmp_path / "sites", "1/c.log")
    assert [f.path.name for f in discover(settings(tmp_path), logs_dir=tmp_path / "sites").logs] == ["c.log"]
    two = settings(tmp_path, sites=[{"id": 1}, {"id": 2}])
    assert "say whose they are with --sites" in discover(two, logs_dir=tmp_path / "flat").problems[0][1]
    assert [f.idsite for f in discover(two, sites=[2], logs_dir=tmp_path / "flat").logs] == [2, 2]


@pytest.mark.parametrize(
    ("name", "day"),
    [
        ("access.log", None),
        ("access.log-20250301.gz", date(2025, 3, 1)),
        ("2025/access_2025-03-01_web1.log", date(2025, 3, 1)),
        ("access.2025_03_01.log", date(2025, 3, 1)),
        ("ex20250301.log", date(2025, 3, 1)),
        ("access-2025-02-30.log", None),
        ("access-20250301123000.log", None),
        ("2024-01-01/access-2025-03-01.log", date(2025, 3, 1)),
        ("12345678901.log", None),
    ],
)
def test_the_date_in_a_path(name: str, day: date | None) -> None:
    assert read_path(Path(name), Site(id=1))[0] == day
