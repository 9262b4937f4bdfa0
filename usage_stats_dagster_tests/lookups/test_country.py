import polars as pl
import pytest

from usage_stats_dagster.lookups.country import CountryDatabaseError, country_lookup
from usage_stats_dagster_tests.lookups.mmdb_file import write_mmdb


def test_bundled_delegations():
    ips = [
        "8.8.8.8",
        "200.130.0.1",
        "2001:4860:4860::8888",
        "10.0.0.1",
        "192.0.2.1",
        "host.example.org",
        "",
        "-",
        None,
        "8.8.8.8",
    ]

    found = country_lookup(None)(pl.Series(ips))

    assert found.to_list() == ["us", "br", "us", *["xx"] * 6, "us"]


@pytest.mark.parametrize(
    ("content", "says"), [(None, "no file"), (b"", "no MMDB file"), (b"GIF89a" * 99, "no MMDB file")]
)
def test_a_database_that_can_not_be_used_is_named(tmp_path, content, says):
    path = tmp_path / "GeoLite2-Country.mmdb"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(CountryDatabaseError, match=says) as error:
        country_lookup(str(path))

    assert str(path) in str(error.value)


def test_the_operators_database(tmp_path):
    networks = {
        "8.8.0.0/16": {"country": {"iso_code": "US"}},
        "9.0.0.0/8": {"registered_country": {"iso_code": "DE"}},
        "11.0.0.0/8": {"continent": {"code": "EU"}},
        "12.0.0.0/8": {"country": {"iso_code": "None"}},
    }
    countries = country_lookup(str(write_mmdb(tmp_path / "c.mmdb", networks)))
    ips = pl.Series(
        [
            "8.8.8.8",
            "9.1.1.1",
            "11.1.1.1",
            "12.1.1.1",
            "10.0.0.1",
            "2001:db8::1",
            "host.example.org",
            "",
            None,
            "8.8.8.8",
        ]
    )

    assert countries(ips).to_list() == ["us", "de", *["xx"] * 7, "us"]
    assert countries(ips.reverse()).to_list() == ["us", *["xx"] * 7, "de", "us"]


def test_a_database_without_countries_is_refused_with_its_type(tmp_path):
    path = write_mmdb(tmp_path / "asn.mmdb", {"8.0.0.0/8": {"organization": "x"}}, database_type="Test-ASN")

    with pytest.raises(CountryDatabaseError, match="'Test-ASN' without countries"):
        country_lookup(str(path))


def test_the_version_is_the_databases(tmp_path):
    one = write_mmdb(tmp_path / "one.mmdb", {"8.0.0.0/8": {"country": {"iso_code": "US"}}})
    two = write_mmdb(tmp_path / "two.mmdb", {"8.0.0.0/8": {"country": {"iso_code": "FR"}}})

    versions = {country_lookup(None).version, country_lookup(str(one)).version, country_lookup(str(two)).version}

    assert len(versions) == 3
