"""Names of actions by their ids: addresses and keywords, read from `log_action` when an event first asks for them.

What belongs here: which names are known, asking for the others, putting them beside the events. What does not: SQL
(`queries.py`), clients (`database.py`).

An event carries two ids; joined by the server, the same few thousand names would come over the wire a hundred times, at
twice the time of server and client. An action's row is written before the first event that names it and never changed,
so a name read after its events is the name that it had with them.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

import polars as pl

from usage_stats_dagster.matomo import queries
from usage_stats_dagster.matomo.columns import Columns

MOST_NAMES = 200_000
"""Names that are kept: some 30 MB. Beyond, those are forgotten that the events at hand don't ask for."""

_URL = {"type": "action_type", "name": "action_url", "url_prefix": "action_url_prefix"}
_KEYWORD = {"name": "keyword", "type": "keyword_type"}

Ask = Callable[[str], pl.DataFrame]
"""Gives the rows of a query."""


class Actions:
    """What is known of a Matomo's actions. Threads may share it: what one has asked for, the others find."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._lock = Lock()
        self._urls, self._keywords = (queries.RAW_ACTION.to_frame().select("idaction", *of) for of in (_URL, _KEYWORD))

    def named(self, events: pl.DataFrame, ask: Ask) -> pl.DataFrame:
        """Rows of `queries.events_by_id` with the columns of `queries.RAW_EVENT` in place of the ids, in their order."""
        ids = pl.col("idaction_url", "idaction_name").cast(pl.Int64)
        events = events.with_columns(ids)
        with self._lock:
            self._urls = self._completed(self._urls, events["idaction_url"], ask, keywords=False)
            self._keywords = self._completed(self._keywords, events["idaction_name"], ask, keywords=True)
            urls, keywords = self._urls.rename(_URL), self._keywords.rename(_KEYWORD)
        return (
            events.join(urls, left_on="idaction_url", right_on="idaction", how="left", maintain_order="left")
            .join(keywords, left_on="idaction_name", right_on="idaction", how="left", maintain_order="left")
            .drop("idaction_url", "idaction_name")
        )

    def _completed(self, known: pl.DataFrame, ids: pl.Series, ask: Ask, *, keywords: bool) -> pl.DataFrame:
        """The known names and those of the ids; an id that has none stands there with nulls, so that nobody asks again."""
        wanted = ids.drop_nulls().unique().alias("idaction").to_frame()
        new = wanted.join(known, on="idaction", how="anti")
        if not new.height:
            return known
        if known.height + new.height > MOST_NAMES:
            known = known.join(wanted, on="idaction", how="semi")
        query = queries.actions(self._columns, new["idaction"].sort().to_list(), keywords=keywords)
        answer = ask(query).cast(queries.RAW_ACTION)
        found = new.join(answer.select(known.columns), on="idaction", how="left")
        return pl.concat([known, found])
