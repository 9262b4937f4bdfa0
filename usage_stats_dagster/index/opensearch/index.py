"""A DocumentIndex in OpenSearch.

What belongs here: the protocol's methods, the platform's template and state index. What does not: how a period is
replaced (`replace.py`), how a question is asked (`questions.py`).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date

import polars as pl

from usage_stats_dagster.documents.contract import index_body
from usage_stats_dagster.index.interface import (
    EVERYTHING,
    Grain,
    Granularity,
    IndexReport,
    Replacement,
    Selection,
)
from usage_stats_dagster.index.nearest import nearest
from usage_stats_dagster.index.opensearch import questions
from usage_stats_dagster.index.opensearch.bulk import Bulk
from usage_stats_dagster.index.opensearch.http import IndexAnswerError, OpenSearchHttp
from usage_stats_dagster.index.opensearch.lease import Lease, end_of_the_dead
from usage_stats_dagster.index.opensearch.rebuild import rebuild
from usage_stats_dagster.index.opensearch.records import Records
from usage_stats_dagster.index.opensearch.replace import CHANGES, Writer
from usage_stats_dagster.index.opensearch.site import SiteIndices
from usage_stats_dagster.index.opensearch.together import Stretch, stretches
from usage_stats_dagster.index.opensearch.view import View
from usage_stats_dagster.settings import IndexSection

_NAMED_SITES = 40  # a longer list does not fit into a request's line
_SITES_AT_ONCE = 4
"""Sites are independent of each other, and a site waits for the server most of the time."""


class OpenSearchIndex:
    """The documents of a platform, `{prefix}-{idsite}` a site. Threads may share the object."""

    def __init__(self, options: IndexSection, *, write: bool = True) -> None:
        self._options = options
        self.http = OpenSearchHttp(options, patient=write)
        self._state = f"{options.prefix}.state"
        self._records = Records(self.http, self._state)
        self._lock = threading.Lock()
        self._is_ready = False
        self._looked_for_the_dead: set[int] = set()

    def close(self) -> None:
        """As DocumentIndex.close."""
        self.http.close()

    def __enter__(self) -> OpenSearchIndex:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- replacing

    def replace(
        self, idsite: int, start: date, end: date, documents: pl.DataFrame, *, grain: Grain = "day"
    ) -> IndexReport:
        """As DocumentIndex.replace. Only documents that changed are sent; nothing is, if the period is as it was."""
        return self.replace_together([Replacement(idsite, start, end, documents, grain)])[0]

    def replace_together(self, replacements: Sequence[Replacement]) -> list[IndexReport]:
        """As DocumentIndex.replace_together: a site's dates that follow one another in one step, several sites at a time."""
        sites = stretches(replacements)
        reports: dict[int, IndexReport] = {}
        if len(sites) == 1:
            reports |= self._replace_site(sites[0])
        else:
            with ThreadPoolExecutor(_SITES_AT_ONCE, thread_name_prefix="site") as pool:
                running = [pool.submit(self._replace_site, of_site) for of_site in sites]
                try:
                    for future in running:
                        reports |= future.result()
                finally:
                    for future in running:
                        future.cancel()
        return [reports[n] for n in range(len(replacements))]

    def _replace_site(self, of_site: list[Stretch]) -> dict[int, IndexReport]:
        reports: dict[int, IndexReport] = {}
        with ThreadPoolExecutor(1, thread_name_prefix="coder") as coder:
            for stretch in of_site:
                reports |= self._replace_stretch(stretch, coder)
        return reports

    def _replace_stretch(self, stretch: Stretch, coder: Executor) -> dict[int, IndexReport]:
        period = stretch.period(coder)
        writer, changes = self._writer(period.idsite), pl.DataFrame(schema=CHANGES)
        if writer.is_as_wanted(period):
            # A writer may have been killed when all was written but the end of its lease.
            if period.idsite not in self._looked_for_the_dead:
                self._looked_for_the_dead.add(period.idsite)
                end_of_the_dead(self.http, self._state, period.idsite)
        else:
            with self._leased(period.idsite) as lease:
                changes = writer.replace(period, lease)
        return stretch.reports(changes)

    def rebuild(
        self, idsite: int, periods: Iterable[pl.DataFrame], *, grain: Grain = "day", replace_foreign: bool = False
    ) -> int:
        """As DocumentIndex.rebuild: in a new index, which takes the old one's place when it is whole."""
        with self._leased(idsite) as lease:
            return rebuild(self._writer(idsite), idsite, periods, grain, lease, replace_foreign=replace_foreign)

    def _writer(self, idsite: int) -> Writer:
        options = self._options
        site = SiteIndices(self.http, options.prefix, idsite, options.replicas)
        return Writer(site, self._records, Bulk(self.http, options.bulk_documents, options.bulk_requests))

    @contextmanager
    def _leased(self, idsite: int) -> Iterator[Lease]:
        self._prepare()
        with Lease(self.http, self._state, idsite) as lease:
            yield lease

    def _prepare(self) -> None:
        """The template of the platform's indices, and its state index; once a process."""
        with self._lock:
            if self._is_ready:
                return
            prefix = self._options.prefix
            template = {
                "index_patterns": [f"{prefix}.site-*"],
                "priority": 200,
                "template": index_body(self._options.replicas),
            }
            self.http.ask("PUT", f"/_index_template/{prefix}.documents", template)
            state = {
                "settings": {"index": {"number_of_shards": 1, "number_of_replicas": self._options.replicas}},
                "mappings": {
                    "dynamic": False,
                    "properties": {"index": {"type": "keyword"}, "idsite": {"type": "long"}, "date": {"type": "date"}},
                },
            }
            try:
                self.http.ask("PUT", f"/{self._state}", state)
            except IndexAnswerError as e:
                if e.kind != "resource_already_exists_exception":
                    raise
            self._is_ready = True

    # ---- asking

    def _view(self, where: Selection) -> View:
        prefix = self._options.prefix
        named = where.sites is not None and 0 < len(where.sites) <= _NAMED_SITES
        names = ",".join(f"{prefix}-{s}" for s in sorted(set(where.sites or ()))) if named else f"{prefix}-*"
        return View(self.http, names)

    def totals(self, where: Selection = EVERYTHING) -> pl.DataFrame:
        """As DocumentIndex.totals."""
        return questions.figures(self._view(where), where)

    def by_site(self, where: Selection = EVERYTHING, by: Granularity | None = None) -> pl.DataFrame:
        """As DocumentIndex.by_site."""
        return questions.figures(self._view(where), where, "idsite", by)

    def by_period(self, where: Selection, by: Granularity) -> pl.DataFrame:
        """As DocumentIndex.by_period."""
        return questions.figures(self._view(where), where, None, by)

    def by_level(self, where: Selection = EVERYTHING, by: Granularity | None = None) -> pl.DataFrame:
        """As DocumentIndex.by_level."""
        return questions.figures(self._view(where), where, "level", by)

    def by_country(
        self,
        where: Selection = EVERYTHING,
        by: Granularity | None = None,
        *,
        metric: str = "views",
        limit: int | None = None,
    ) -> pl.DataFrame:
        """As DocumentIndex.by_country."""
        return questions.top_countries(self._view(where), where, by, metric, limit)

    def items(
        self,
        where: Selection = EVERYTHING,
        by: Granularity | None = None,
        *,
        metric: str = "views",
        limit: int | None = None,
        countries: bool = False,
    ) -> pl.DataFrame:
        """As DocumentIndex.items."""
        return questions.top_items(self._view(where), where, by, metric, limit, countries=countries)

    def nearest(self, identifier: str, limit: int = 3) -> list[str]:
        """As DocumentIndex.nearest: by shared three-letter pieces, then by difflib's ratio. Asks for every identifier."""
        return nearest(questions.identifiers(self._view(EVERYTHING)), identifier, limit)

    def sources(self, where: Selection = EVERYTHING) -> pl.DataFrame:
        """As DocumentIndex.sources."""
        return questions.sources(self._view(where), where)
