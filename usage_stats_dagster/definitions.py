"""The Dagster code location: everything that `defs/` declares, put together in one place.

Spelled out, not found by scanning a folder: it loads the same from an installed wheel as from a checkout.
"""

import dagster as dg

from usage_stats_dagster.defs.checks import SCHEMA_CHECKS
from usage_stats_dagster.defs.filtered_metrics import documents, filtered_metrics
from usage_stats_dagster.defs.imported_logs import day_status, imported_logs
from usage_stats_dagster.defs.indexed_documents import indexed_documents
from usage_stats_dagster.defs.jobs import JOBS
from usage_stats_dagster.defs.matomo_sent import matomo_assets
from usage_stats_dagster.defs.postgres_mirror import mirror_assets
from usage_stats_dagster.defs.sensors import log_folder_sensor, stragglers_schedule
from usage_stats_dagster.defs.visits_events import visits_events
from usage_stats_dagster.defs.warnings import WARNING_CHECKS, early_warnings_job, early_warnings_schedule
from usage_stats_dagster.resources.platform import PlatformResource
from usage_stats_dagster.resources.s3 import s3_resources

ASSETS = [
    imported_logs,
    day_status,
    visits_events,
    filtered_metrics,
    documents,
    indexed_documents,
    *matomo_assets(),
    *mirror_assets(),
]

defs = dg.Definitions(
    assets=ASSETS,
    asset_checks=[*SCHEMA_CHECKS, *WARNING_CHECKS],
    jobs=[*JOBS, early_warnings_job],
    sensors=[log_folder_sensor],
    schedules=[stragglers_schedule, early_warnings_schedule],
    resources={"platform": PlatformResource(), **s3_resources()},
    executor=dg.in_process_executor,  # a step in a process of its own costs two seconds, more than most days' work
)
