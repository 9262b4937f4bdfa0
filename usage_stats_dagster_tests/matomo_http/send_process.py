"""Sends what a platform has to its Matomo, as a process that can be killed: `python -m …send_process SITE,SITE…`.

The settings come from the file that USAGE_STATS_CONFIG names. Ends with 0 when all was sent, with 3 when Matomo stayed away.
"""

import sys

from usage_stats_dagster.pipeline.sending import send_days
from usage_stats_dagster.pipeline.stage import StageReport
from usage_stats_dagster.pipeline.workspace import Workspace
from usage_stats_dagster.settings import load_settings
from usage_stats_dagster_tests.platforms import DAY

if __name__ == "__main__":
    reports = send_days(Workspace(load_settings()), [DAY], [int(s) for s in sys.argv[1].split(",")])
    sys.exit(0 if all(isinstance(r, StageReport) for r in reports) else 3)
