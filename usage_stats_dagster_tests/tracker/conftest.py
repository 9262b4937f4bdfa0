"""Shared between the tracker's tests."""

import pytest

from usage_stats_dagster_tests.tracker.matomo import World, load


@pytest.fixture(scope="session")
def world() -> World:
    """The fixture logs by our code and by Matomo."""
    return load()
