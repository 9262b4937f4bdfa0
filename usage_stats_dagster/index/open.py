"""The index that the settings name.

What belongs here: which backend stands behind `[index]`. What does not: the backends.
"""

from __future__ import annotations

from usage_stats_dagster.index.embedded import EmbeddedIndex
from usage_stats_dagster.index.interface import DocumentIndex
from usage_stats_dagster.settings import Settings


def open_index(settings: Settings, *, create: bool = False) -> DocumentIndex:
    """The configured index; `create=True` for who writes: readers get a DocumentIndexError where there is none yet."""
    if settings.index.kind == "opensearch":
        from usage_stats_dagster.index.opensearch.index import OpenSearchIndex  # noqa: PLC0415  (its client is slow to import)

        return OpenSearchIndex(settings.index, write=create)
    return EmbeddedIndex(settings.index.path, create=create)
