"""Whole little worlds through the pipeline: what comes out is what the oracle says, however the lines arrived."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from usage_stats_dagster_tests.oracle.case import case
from usage_stats_dagster_tests.oracle.delivery import deliveries, whole
from usage_stats_dagster_tests.oracle.worlds import World, worlds

BOUNDED = {
    "deadline": None,
    "derandomize": True,
    "report_multiple_bugs": False,
    "suppress_health_check": list(HealthCheck),
}


def every_table_is_the_oracles(world: World) -> None:
    with case(world, whole(world)) as it:
        it.carry_out()
        it.check()


def any_delivery_comes_to_the_same(world: World, data: st.DataObject) -> None:
    delivery = data.draw(deliveries(world), label="delivery")
    with case(world, delivery) as it:
        it.carry_out(check_between=True)
        it.check()
        with case(world, whole(world)) as other:
            other.carry_out()
            have, want = (c.platform.files("metrics", "documents") for c in (it, other))
            different = sorted(k for k in have.keys() | want.keys() if have.get(k) != want.get(k))
            assert not different, f"other bytes than from one file a site in {different}\n{it.told()}"


@settings(max_examples=60, **BOUNDED)
@given(worlds())
def test_every_table_is_the_oracles(world: World) -> None:
    every_table_is_the_oracles(world)


@settings(max_examples=15, **BOUNDED)
@given(worlds(), st.data())
def test_any_delivery_comes_to_the_same(world: World, data: st.DataObject) -> None:
    any_delivery_comes_to_the_same(world, data)
