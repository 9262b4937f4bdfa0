"""Settings: file and environment, and a message for every kind of mistake that names the key and the choices."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from usage_stats_dagster.settings import SettingsError, current_settings, load_settings


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def writer(text: str) -> None:
        path = tmp_path / "my.toml"
        path.write_text(text)
        monkeypatch.setenv("USAGE_STATS_CONFIG", str(path))

    return writer


def test_defaults_without_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    s = load_settings()
    assert (s.storage.root, s.ledger.url, s.logs_dir) == ("data/lake", "sqlite:///data/ledger.db", "logs")
    assert s.rules.double_click_seconds == 30
    assert s.platform.time_zone == "UTC"


def test_the_environment_wins_over_the_file_key_by_key(write, monkeypatch: pytest.MonkeyPatch) -> None:
    write('[storage]\nroot = "a"\nregion = "r"\n[platform]\nname = "P"\n')
    monkeypatch.setenv("USAGE_STATS_STORAGE__ROOT", "b")
    s = load_settings()
    assert (s.storage.root, s.storage.region, s.platform.name) == ("b", "r", "P")


def test_a_changed_file_counts_at_once(write) -> None:
    write('[platform]\nname = "one"\n')
    assert current_settings().platform.name == "one"
    write('[platform]\nname = "two"\n[rules]\ndouble_click_seconds = 10\n')
    assert current_settings().platform.name == "two"


def test_expected_files_by_date(write) -> None:
    write("[[sites]]\nid = 1\nfiles_per_day = [{files = 1, until = 2024-12-31}, {files = 2, since = 2025-01-01}]\n")
    site = load_settings().site(1)
    assert [site.expected_files(date(y, 6, 1)) for y in (2024, 2025)] == [1, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[storage\n", "not TOML"),
        ("[storag]\nroot = 'x'\n", "storag: no such key; the keys here are: platform, storage,"),
        ("[storage]\nrot = 'x'\n", "storage.rot: no such key; the keys here are: root, endpoint, region"),
        ("[matomo]\nmode = 'db'\n", "matomo.mode: Input should be 'embedded', 'database' or 'api' (is 'db')"),
        ("[platform]\ntime_zone = 'Brasil'\n", "platform.time_zone: no such time zone 'Brasil'"),
        ("[platform]\nstart_date = 'soon'\n", "platform.start_date: "),
        ("[rules]\nsteps = ['robots', 'magic']\n", "rules.steps.1: Input should be 'robots', 'behaviour'"),
        ("[rules]\nrobots_extra = ['(']\n", "rules.robots_extra.0: not a regular expression"),
        ("[rules]\ndouble_click_seconds = -1\n", "rules.double_click_seconds: "),
        ("[[sites]]\nname = 'no id'\n", "sites.0.id: Field required"),
        ("[[sites]]\nid = 1\n[[sites]]\nid = 1\n", "id [1] stands twice"),
        ("[[sites]]\nid = 'one'\n", "sites.0.id: "),
        ("[[sites]]\nid = 1\nplatform = 'dspce'\n", "sites.0.platform: Input should be 'auto', 'dspace'"),
        ("[[sites]]\nid = 1\nurl = 'repo.example.org'\n", "sites.0.url: 'repo.example.org' is no URL"),
        ("[[sites]]\nid = 1\ncountry = 'Brazil'\n", "sites.0.country: "),
        ("[[sites]]\nid = 1\nexclude = ['[']\n", "sites.0.exclude.0: not a regular expression"),
        ("[[sites]]\nid = 1\nlevel = 'X'\n", "sites.0.level: Input should be 'R', 'N' or 'L'"),
    ],
)
def test_mistakes_are_named(text: str, message: str, write) -> None:
    write(text)
    with pytest.raises(SettingsError) as e:
        load_settings()
    assert message in str(e.value)
    assert "my.toml" in str(e.value)


def test_a_file_that_is_not_there_and_a_wrong_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("USAGE_STATS_CONFIG", str(tmp_path / "none.toml"))
    with pytest.raises(SettingsError, match=r"USAGE_STATS_CONFIG names .*none\.toml, which is no file"):
        load_settings()
    monkeypatch.delenv("USAGE_STATS_CONFIG")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("USAGE_STATS_RULES__DOUBLE_CLICK_SECONDS", "thirty")
    with pytest.raises(SettingsError, match=r"rules\.double_click_seconds: .*\(is 'thirty'\)"):
        load_settings()


def test_the_example_has_every_key_and_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    from usage_stats_dagster.settings import RulesSection

    path = Path(__file__).resolve().parents[1] / "examples" / "usage_stats.toml"
    monkeypatch.setenv("USAGE_STATS_CONFIG", str(path))
    s = load_settings()
    assert s.site(2).item_rules[0].action == "request"
    text = path.read_text()
    assert [k for k in RulesSection.model_fields if k not in text] == []
