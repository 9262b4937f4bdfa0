"""The application: endpoints, errors, CORS, and the index behind them.

What belongs here: putting it together from settings, and how each error goes out. What does not: any endpoint.

Errors are what the readers of each API know: 404 with `detail` for LA Referencia's reports (whatever is wrong), iDigBio's
`error` and `statusCode` for the summary.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import Response

from usage_stats_dagster import __version__
from usage_stats_dagster.api import idigbio, lareferencia
from usage_stats_dagster.api.answer import Refused, answer
from usage_stats_dagster.api.collections import load_collections
from usage_stats_dagster.api.dates import DateError
from usage_stats_dagster.api.periods import UnitError
from usage_stats_dagster.api.sources import load_sources
from usage_stats_dagster.index.interface import DocumentIndex, DocumentIndexError, Selection
from usage_stats_dagster.index.open import open_index
from usage_stats_dagster.settings import Settings, current_settings

_SUMMARY = "/v2/summary/"


def create_app() -> FastAPI:
    """The application of the settings in force: what a server's workers call."""
    settings = current_settings()
    return make_app(settings, lambda: open_index(settings))


def make_app(settings: Settings, opened: Callable[[], DocumentIndex]) -> FastAPI:
    """The application over the index that `opened` opens, on the first request that finds one there.

    Raises SettingsError or MatomoDatabaseError when sources or collections can't be read.
    """
    holder = _Holder(opened)
    sources, collections = load_sources(settings), load_collections(settings)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        holder.close()

    app = FastAPI(
        title=settings.platform.name,
        version=__version__,
        summary="Usage statistics: LA Referencia's reports, iDigBio's summary.",
        lifespan=lifespan,
    )
    reports = lareferencia.router(lambda: lareferencia.Reports(settings, holder.index(), sources))
    for base in dict.fromkeys((settings.api.base_path, "")):
        app.include_router(reports, prefix=base, include_in_schema=base == settings.api.base_path)
    app.include_router(idigbio.router(lambda: idigbio.Summary(settings, holder.index(), collections)))

    @app.get("/health", tags=["service"])
    def health() -> Response:
        """Whether the index answers: 200, or 503 and why not."""
        try:
            holder.index().totals(Selection(sites=()))
        except DocumentIndexError as e:
            return answer({"status": "unavailable", "detail": str(e)}, 503)
        return answer({"status": "ok"})

    for kind in (Refused, DateError, UnitError, DocumentIndexError, RequestValidationError, idigbio.BadRequestError):
        app.add_exception_handler(kind, _refusal)
    app.add_middleware(GZipMiddleware, minimum_size=1024)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=list(settings.api.cors_origins),
        allow_methods=["GET", "POST"],
        allow_headers=["*"],
        max_age=86_400,
    )
    return app


class _Holder:
    """The index, opened when first asked for: a server may start before the first day is indexed."""

    def __init__(self, opened: Callable[[], DocumentIndex]) -> None:
        self._opened = opened
        self._lock = threading.Lock()
        self._index: DocumentIndex | None = None

    def index(self) -> DocumentIndex:
        """The index; raises DocumentIndexError where there is none yet."""
        with self._lock:
            if self._index is None:
                self._index = self._opened()
            return self._index

    def close(self) -> None:
        """Lets go of it."""
        with self._lock:
            if self._index is not None:
                self._index.close()
                self._index = None


def _refusal(request: Request, error: Exception) -> Response:
    """The error as the readers of the API that was asked know it."""
    if isinstance(error, RequestValidationError):
        said = "; ".join(f"{'.'.join(map(str, e['loc'][1:]))}: {e['msg']}" for e in error.errors())
    else:
        said = str(error)
    if not request.url.path.startswith(_SUMMARY):
        return answer({"detail": said}, 404)
    status = 503 if isinstance(error, DocumentIndexError) else 400
    return answer({"error": said, "statusCode": status}, status)
