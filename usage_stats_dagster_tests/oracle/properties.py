"""What always holds, as functions of a world: the tests here run them with fixed seeds, `soak.py` with fresh ones."""

from __future__ import annotations

from hypothesis import strategies as st

from usage_stats_dagster_tests.oracle.case import Case, case, cut_small
from usage_stats_dagster_tests.oracle.delivery import Delivery, deliveries, whole
from usage_stats_dagster_tests.oracle.worlds import World


def every_table_is_the_oracles(world: World) -> None:
    """Outcomes, hits, visits, events, metrics, steps, documents and index are what the oracle makes of the lines."""
    with case(world, whole(world)) as it:
        it.carry_out()
        it.check()


def any_delivery_comes_to_the_same(world: World, data: st.DataObject) -> None:
    """However the lines arrive."""
    comes_to_the_same(world, data.draw(deliveries(world), label="delivery"))


def comes_to_the_same(world: World, delivery: Delivery) -> None:
    """After each whole run the platform is what the oracle makes of what has arrived, in the end as from one file a site."""
    with case(world, delivery) as it:
        it.carry_out(check_between=True)
        it.check()
        with case(world, whole(world)) as other:
            other.carry_out()
            _same_bytes(it, other, "metrics", "documents")


def any_cut_comes_to_the_same(world: World) -> None:
    """However large the pieces are in which the pipeline works: the same bytes in every table."""
    with case(world, whole(world)) as it, case(world, whole(world)) as other:
        with cut_small(max(len(s.lines) for s in world.sites)):
            it.carry_out()
        it.check()
        other.carry_out()
        _same_bytes(it, other, "hits", "visits", "events", "metrics", "documents")


def _same_bytes(it: Case, other: Case, *tables: str) -> None:
    have, want = (c.platform.files(*tables) for c in (it, other))
    different = sorted(k for k in have.keys() | want.keys() if have.get(k) != want.get(k))
    assert not different, f"other bytes than from one file a site, made as usual, in {different}\n{it.told()}"
