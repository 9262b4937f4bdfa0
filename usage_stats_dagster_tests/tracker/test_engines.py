"""The transforms on Polars and on DuckDB: row for row equal tables."""

from __future__ import annotations

from datetime import date

import duckdb
import polars as pl
import polars.selectors as cs
from hypothesis import given, settings
from polars.testing import assert_frame_equal

from usage_stats_dagster import engine
from usage_stats_dagster.engine import Frame, wrap
from usage_stats_dagster.schemas import EVENTS, HITS, VISITS
from usage_stats_dagster.tracker.events import events
from usage_stats_dagster.tracker.prepare import prepare
from usage_stats_dagster.tracker.sessions import sessions
from usage_stats_dagster.tracker.visits import visits
from usage_stats_dagster_tests.tracker.matomo import SITE, World
from usage_stats_dagster_tests.tracker.ready import ready
from usage_stats_dagster_tests.tracker.worlds import CLIENTS, DAY, worlds


class Polars:
    """Tables as Polars' lazy frames."""

    def __call__(self, table: pl.DataFrame) -> Frame:
        return wrap(table.lazy())


class DuckDB:
    """Tables as relations of one connection."""

    def __init__(self) -> None:
        # No extension is fetched: without ICU, DuckDB hands out times in UTC.
        self.connection = duckdb.connect(config={"autoinstall_known_extensions": False})

    def __call__(self, table: pl.DataFrame) -> Frame:
        return wrap(self.connection.from_arrow(table.to_arrow()))


def both_tables(
    on: Polars | DuckDB, hits: pl.DataFrame, day: date, agents: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Events and visits of prepared hits, in one order."""
    found = sessions(on(hits), day)
    made_events, made_visits = engine.collect(events(found, 4)), engine.collect(visits(found, on(agents), 4))
    return EVENTS.conform(made_events).sort("idlink_va"), VISITS.conform(made_visits).sort("idvisit")


@given(worlds())
@settings(max_examples=6, deadline=None)
def test_duckdb_gives_what_polars_gives(hits: pl.DataFrame) -> None:
    """The transforms are engine-neutral: row for row equal."""
    for ours, theirs in zip(
        both_tables(Polars(), hits, DAY, CLIENTS), both_tables(DuckDB(), hits, DAY, CLIENTS), strict=True
    ):
        assert_frame_equal(ours, theirs)


def test_duckdb_gives_what_polars_gives_of_real_logs(world: World) -> None:
    """The same of a day of the fixture logs."""
    of_day = world.hits.filter(pl.col("day") == DAY).select(HITS.columns.keys())
    hits, said = ready(of_day, SITE)
    hits = prepare(hits, SITE, said).with_columns(cs.categorical().cast(pl.String)).collect()
    ours, theirs = both_tables(Polars(), hits, DAY, said.agents), both_tables(DuckDB(), hits, DAY, said.agents)
    assert [len(t) for t in ours] == [2243, 710]
    for polars, duck in zip(ours, theirs, strict=True):
        assert_frame_equal(polars, duck)
