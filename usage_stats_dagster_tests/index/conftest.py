"""The indices that tests of the protocol run over: the embedded one, and a real OpenSearch."""

import pytest

from usage_stats_dagster.index.embedded import EmbeddedIndex
from usage_stats_dagster.index.opensearch.index import OpenSearchIndex
from usage_stats_dagster_tests.opensearch_server import removed, section

KINDS = ("embedded", pytest.param("opensearch", marks=pytest.mark.services))


def opened(kind, request, folder):
    """A new, empty index of the kind; closed and removed at the end."""
    if kind == "embedded":
        with EmbeddedIndex(folder / "index.db") as index:
            yield index
        return
    options = section(request.getfixturevalue("opensearch"))
    with OpenSearchIndex(options) as index:
        yield index
    removed(options)


@pytest.fixture(params=KINDS)
def index(request, tmp_path):
    yield from opened(request.param, request, tmp_path)


@pytest.fixture(scope="module", params=KINDS)
def shared_index(request, tmp_path_factory):
    """One index for all examples of a property."""
    yield from opened(request.param, request, tmp_path_factory.mktemp("index"))
