"""One index of documents behind one server, for each kind of index: golden days, odd identifiers, a year of days."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import date, timedelta
from typing import Any

import pytest

from usage_stats_dagster.api.app import make_app
from usage_stats_dagster.index.interface import DocumentIndex
from usage_stats_dagster.index.open import open_index
from usage_stats_dagster.settings import Settings, load_settings
from usage_stats_dagster_tests.api import golden
from usage_stats_dagster_tests.api.server import Client, serving
from usage_stats_dagster_tests.index.documents import IDENTIFIERS, document, frame

ODD_SITE, YEAR_SITE = 11, 12
ODD_DAY = date(2025, 6, 12)
YEAR = [date(2024, 2, 1) + timedelta(n) for n in range(366)]
"""Days that cross a leap day and the turn of a year."""

SOURCES = [
    {"id": "LAReferencia", "site": 1, "level": "L"},
    {"id": "nacional_br", "site": 2, "level": "N", "country": "br"},
    {
        "id": "OPENDOAR::1003",
        "site": 3,
        "level": "R",
        "national": 2,
        "identifier_prefix": "oai:https://agregador.example.org/oai",
    },
    {"id": "year", "site": YEAR_SITE, "level": "R"},
]


def year_document(day: date) -> dict:
    n = day.toordinal() % 7 + 1
    return document(
        YEAR_SITE, day, "oai:year.example.org:1", {"br": n, "ar": 1}, identifier_prefix="oai:year.example.org"
    )


@pytest.fixture(
    scope="session", params=["embedded", pytest.param("opensearch", marks=[pytest.mark.services, pytest.mark.slow])]
)
def platform(request, tmp_path_factory) -> Iterator[tuple[Settings, DocumentIndex]]:
    """Settings and the filled index."""
    with ExitStack() as stack:
        index: dict[str, Any] = {"kind": "embedded", "path": str(tmp_path_factory.mktemp("api") / "index.db")}
        if request.param == "opensearch":
            url = request.getfixturevalue("opensearch")
            index = {"kind": "opensearch", "url": url, "prefix": f"api_{uuid.uuid4().hex}"}
        settings = load_settings(index=index, api={"sources": SOURCES}, sites=[{"id": YEAR_SITE}, {"id": ODD_SITE}])
        documents = stack.enter_context(closing(open_index(settings, create=True)))
        for s in golden.SITES:
            documents.replace(s, golden.DAY, golden.DAY, golden.documents(s))
        odd = [document(ODD_SITE, ODD_DAY, i, {"fr": n, "xx": 1}) for n, i in enumerate(IDENTIFIERS, 1)]
        documents.replace(ODD_SITE, ODD_DAY, ODD_DAY, frame(*odd))
        documents.replace(YEAR_SITE, YEAR[0], YEAR[-1], frame(*map(year_document, YEAR)))
        yield settings, documents


@pytest.fixture(scope="session")
def served(platform) -> Iterator[Callable[..., Client]]:
    """A client of a server over the index; its settings may differ: `served(api={…}, collections=[…])`."""
    settings, documents = platform
    with ExitStack() as stack:

        def serve(**differing: Any) -> Client:
            api = {"sources": SOURCES} | differing.pop("api", {})
            given = load_settings(index=settings.index, sites=settings.sites, api=api, **differing)
            return stack.enter_context(serving(make_app(given, lambda: _Shared(documents))))

        yield serve


class _Shared:
    """The index as a server's own, which closes it when it stops."""

    def __init__(self, documents: DocumentIndex) -> None:
        self._documents = documents

    def __getattr__(self, name: str) -> Any:
        return (lambda: None) if name == "close" else getattr(self._documents, name)


@pytest.fixture(scope="session")
def client(served) -> Client:
    """The server with the settings that most tests are about."""
    return served()
