"""The index that the settings name.

What belongs here: which backend stands behind `[index]`. What does not: the backends.
"""

from __future__ import annotations

from usage_stats_dagster.index.embedded import EmbeddedIndex
from usage_stats_dagster.index.interface import DocumentIndex, DocumentIndexError
from usage_stats_dagster.settings import Settings


def open_index(settings: Settings, *, create: bool = False) -> DocumentIndex:
    """The configured index; `create=True` for who writes: readers get a DocumentIndexError where there is none yet."""
    if settings.index.kind != "embedded":
        msg = f"index.kind = {settings.index.kind!r} can't be opened by this version: use 'embedded'"
        raise DocumentIndexError(msg)
    return EmbeddedIndex(settings.index.path, create=create)
