"""Whole little worlds through the pipeline: what comes out is what the oracle says, to the last row."""

from hypothesis import HealthCheck, given, settings

from usage_stats_dagster_tests.oracle.delivery import case, whole
from usage_stats_dagster_tests.oracle.worlds import World, worlds


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
@given(worlds())
def test_every_table_is_the_oracles(world: World) -> None:
    with case(world) as it:
        delivery = whole(world)
        it.carry_out(delivery)
        it.check(delivery)
