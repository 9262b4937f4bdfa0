"""The command `usage-stats serve`.

What belongs here: options, and the server. What does not: what it answers (`api/`).
"""

from __future__ import annotations

import typer

from usage_stats_dagster.cli.failures import failures
from usage_stats_dagster.cli.output import UsageError, failing


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("serve")(serve)


def serve(
    host: str | None = typer.Option(None, "--host", help="Address to listen on; default api.host."),
    port: int | None = typer.Option(None, "--port", min=0, max=65535, help="Port; default api.port; 0: any free one."),
    workers: int | None = typer.Option(None, "--workers", min=1, max=64, help="Processes; default api.workers."),
    json: bool = typer.Option(False, "--json", help="Errors as JSON."),
) -> None:
    """Answer by HTTP: LA Referencia's reports for its widgets, iDigBio's summary/stats; /docs lists all there is."""
    with failing(*failures(), as_json=json):
        import uvicorn  # noqa: PLC0415

        from usage_stats_dagster.api.app import create_app  # noqa: PLC0415
        from usage_stats_dagster.settings import SettingsError, current_settings  # noqa: PLC0415

        try:
            api = current_settings().api
        except SettingsError as e:
            raise UsageError(str(e)) from e
        create_app()  # what is wrong with sources or collections is said before a worker starts
        uvicorn.run(
            "usage_stats_dagster.api.app:create_app",
            factory=True,
            host=host or api.host,
            port=api.port if port is None else port,
            workers=workers or api.workers,
            log_level="info",
            proxy_headers=True,
        )
