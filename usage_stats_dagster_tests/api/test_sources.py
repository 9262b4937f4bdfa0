"""Which sites' documents a source means, by level, and what is taken where the settings say nothing."""

from __future__ import annotations

import pytest

from usage_stats_dagster.api.sources import Source, Sources, UnknownSourceError, load_sources
from usage_stats_dagster.index.interface import Selection
from usage_stats_dagster.settings import load_settings

REGION, BRAZIL, CHILE = Source("la", 1, "L"), Source("br", 2, "N", country="BR"), Source("cl", 3, "N", country="CL")
ONE = Source("one", 4, "R", country="BR", prefix="oai:One.example.org")
FAR = Source("far", 5, "R", country="BR", prefix="10.1590", national=3, regional=9)
BARE = Source("bare", 6, "R")
ALL = Sources([REGION, BRAZIL, CHILE, ONE, FAR, BARE])


@pytest.mark.parametrize(
    ("source", "item", "documents"),
    [
        (ONE, (4, 2, 1), Selection(sites=(4, 2, 1), identifier_prefix="oai:One.example.org")),
        (FAR, (5, 3, 9), Selection(sites=(5, 3, 9), identifier_prefix="10.1590")),
        (BARE, (6, 1), Selection(sites=(6,))),
        (BRAZIL, (2, 1), Selection(sites=(2, 4, 5, 1), country="BR")),
        (CHILE, (3, 1), Selection(sites=(3, 1), country="CL")),
        (REGION, (1, 2, 3), Selection()),
    ],
)
def test_the_sites_of_a_source(source, item, documents):
    assert ALL.named(source.id.upper()) is source
    assert ALL.sites_of_item(source) == item
    assert ALL.documents_of(source) == documents


@pytest.mark.parametrize(
    ("identifier", "owner"),
    [
        ("oai:One.example.org:1/2", ONE),
        ("oai:one.example.org:x", ONE),
        ("oai:one.example.orgx:1", None),
        ("oai:one.example:1", None),
        ("10.1590/S0102", FAR),
        ("10.15901/S0102", None),
        ("free text", None),
    ],
)
def test_whose_an_identifier_is(identifier, owner):
    assert ALL.of_identifier(identifier) is owner


def test_every_site_is_a_source_and_a_listed_one_takes_what_the_site_says():
    listed = {"id": "Opendoar::1", "site": 7, "identifier_prefix": "oai:http://host.example.org/path"}
    found = load_sources(
        load_settings(sites=[{"id": 7, "level": "N", "country": "br", "name": "Seven"}], api={"sources": [listed]})
    )
    assert found.named("opendoar::1") == Source("Opendoar::1", 7, "N", "Seven", "BR", "oai:host.example.org")
    assert found.named("SITEID::7").site == found.named("7").site == 7
    with pytest.raises(UnknownSourceError, match="no source '8'"):
        found.named("8")
