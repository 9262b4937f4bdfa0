"""LA Referencia's metadata database as the read API's sources."""

import pytest

from usage_stats_dagster.api.sources import Source, load_sources
from usage_stats_dagster.index.interface import Selection
from usage_stats_dagster.settings import load_settings

pytestmark = pytest.mark.services


def test_sources_of_the_metadata_are_asked_for_by_their_names(mariadb):
    found = load_sources(load_settings(matomo={"sources_url": mariadb.database("lareferenciastatsdb")}))
    repository = found.named("OpenDOAR_1003")
    assert repository == Source("opendoar_1003", 3, "R", "Repositorio 3", "AR", "oai:repositorio3.example.org", 2, 1)
    assert found.of_identifier("oai:repositorio3.example.org:1113/5") == repository
    assert found.sites_of_item(repository) == (3, 2, 1)
    assert found.documents_of(found.named("nacional_br")) == Selection(sites=(2, 1), country="BR")
    assert found.documents_of(found.named("lareferencia")) == Selection()
