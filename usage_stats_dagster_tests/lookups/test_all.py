import polars as pl

from usage_stats_dagster.lookups.all import lookups_for, version
from usage_stats_dagster.settings import RulesSection, Settings, Site

SETTINGS = Settings(sites=(Site(id=1, url="https://a.example.org"), Site(id=2, url="https://b.example.org")))


def test_sites_share_what_their_rules_share():
    one, two = (lookups_for(SETTINGS, s) for s in SETTINGS.sites)

    assert one.robots is two.robots
    assert one.countries is two.countries
    assert one.referrers.classify(pl.Series(["https://a.example.org/"]))["referer_type"].to_list() == [1]
    assert two.referrers.classify(pl.Series(["https://a.example.org/"]))["referer_type"].to_list() == [3]


def test_versions_follow_the_rules_that_decide():
    def versions(**rules):
        settings = Settings(rules=RulesSection(**rules))
        return lookups_for(settings, Site(id=1)).import_version, version(settings)

    assert versions() == versions(visit_seconds=60)
    for change in ({"robots": ("counter",)}, {"spam_referrers": ("x.example",)}):
        assert all(a != b for a, b in zip(versions(), versions(**change), strict=True))
