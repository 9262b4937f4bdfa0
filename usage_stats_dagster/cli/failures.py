"""Which exceptions are answers, not defects: what may go wrong outside this program, with messages that say what to do."""

from __future__ import annotations


def failures() -> tuple[type[Exception], ...]:
    """The expected ones; imported here so that a command pays for them only when it needs them."""
    from usage_stats_dagster.index.interface import DocumentIndexError  # noqa: PLC0415
    from usage_stats_dagster.lake.lock import LockedError  # noqa: PLC0415
    from usage_stats_dagster.lake.store import LakeError  # noqa: PLC0415
    from usage_stats_dagster.ledger.ledger import LedgerError  # noqa: PLC0415
    from usage_stats_dagster.matomo.database import MatomoDatabaseError  # noqa: PLC0415
    from usage_stats_dagster.matomo.http import MatomoError  # noqa: PLC0415
    from usage_stats_dagster.pipeline.stage import StageError  # noqa: PLC0415
    from usage_stats_dagster.settings import SettingsError  # noqa: PLC0415

    return (
        DocumentIndexError,
        LockedError,
        LakeError,
        LedgerError,
        MatomoDatabaseError,
        MatomoError,
        StageError,
        SettingsError,
        OSError,
    )
