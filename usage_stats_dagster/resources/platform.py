"""The platform as a Dagster resource: settings in force, lake, ledger and index.

What belongs here: opening the workspace for a step. What does not: anything that the workspace does.
"""

from pathlib import Path

import dagster as dg
from pydantic import Field

from usage_stats_dagster.pipeline.workspace import Workspace
from usage_stats_dagster.settings import current_settings


class PlatformResource(dg.ConfigurableResource):
    """Opens the platform that `usage_stats.toml` and the environment describe."""

    logs_dir: str | None = Field(None, description="a folder that stands in for the configured log folders")

    def workspace(self) -> Workspace:
        """The platform, read anew: a changed setting counts from the next step on."""
        return Workspace(current_settings(), Path(self.logs_dir) if self.logs_dir else None)
