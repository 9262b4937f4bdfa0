"""The asset `imported_logs` and the asset `day_status`, with their checks.

What belongs here: what Dagster shows of an import. What does not: the import (`pipeline/imports.py`).
"""

from datetime import date

import dagster as dg
import polars as pl

from usage_stats_dagster.defs.common import SitesConfig, asset_options, balance, days_of, markdown, row_count
from usage_stats_dagster.ledger import counts
from usage_stats_dagster.ledger.tables import DayStatus, LogStatus
from usage_stats_dagster.pipeline import status
from usage_stats_dagster.pipeline.imports import find, import_logs
from usage_stats_dagster.pipeline.workspace import Workspace
from usage_stats_dagster.resources.platform import PlatformResource

LINES_CHECK = "every_line_has_one_outcome"
HITS_CHECK = "hits_stored_equal_hits_counted"


@dg.asset(
    **asset_options("logs", {"parquet", "polars"}, "raw"),
    check_specs=[
        dg.AssetCheckSpec(
            LINES_CHECK,
            asset="imported_logs",
            blocking=True,
            description="lines read = sum of the outcomes, log by log",
        ),
        dg.AssetCheckSpec(
            HITS_CHECK,
            asset="imported_logs",
            blocking=True,
            description="hits in the lake = lines whose outcome is hit",
        ),
    ],
)
def imported_logs(
    context: dg.AssetExecutionContext, config: SitesConfig, platform: PlatformResource
) -> dg.MaterializeResult:
    """One row a hit: a valid line that asks for content, robots kept with their reason; every other line under its outcome."""
    ws, days = platform.workspace(), days_of(context)
    report = import_logs(ws, sites=config.sites, first=days[0], last=days[-1])
    sites = _sites(ws, config)
    outcomes = ws.ledger.outcomes(None, days[0], days[-1])
    by_outcome = outcomes.group_by("outcome").agg(pl.col("lines").sum()).sort("lines", descending=True)
    actions = pl.DataFrame(
        [
            {"action": p.action, "site": p.idsite, "log": p.path, "lines": p.lines, "message": p.message}
            for p in report.paths
        ],
        schema={"action": pl.String, "site": pl.Int64, "log": pl.String, "lines": pl.Int64, "message": pl.String},
    )
    problems = [*report.problems, *((p.path, p.message or "") for p in report.of("failed", "invalid", "held"))]
    for path, message in problems:
        context.log.warning("%s: %s", path, message)
    hits = outcomes.filter(pl.col("outcome") == "hit")["lines"].sum()
    return dg.MaterializeResult(
        metadata={
            **row_count(int(hits), len(days)),
            **(
                {
                    "source": "matomo.mode = database: visits and events are read from Matomo, there are no logs to import"
                }
                if not ws.settings.matomo.imports_logs
                else {}
            ),
            "lines": int(outcomes["lines"].sum()),
            "outcomes": markdown(by_outcome, 20),
            "logs": markdown(actions, 40),
            "problems": markdown(
                pl.DataFrame(problems, schema={"path": pl.String, "message": pl.String}, orient="row"), 40
            ),
        },
        data_version=dg.DataVersion(_version(ws, days, config)),
        check_results=[_lines_check(ws, days, sites), _hits_check(ws, days, sites)],
    )


def _sites(ws: Workspace, config: SitesConfig) -> list[int]:
    return sorted(
        set(config.sites or find(ws).sites) | (set(counts.sites(ws.ledger)) if config.sites is None else set())
    )


def _version(ws: Workspace, days: list[date], config: SitesConfig) -> str:
    from usage_stats_dagster.pipeline.stage import fingerprint

    rows = ws.ledger.statuses(config.sites, days[0], days[-1])
    return fingerprint(*(f"{r['idsite']}:{r['day']}:{r['inputs_hash']}" for r in rows))


def _lines_check(ws: Workspace, days: list[date], sites: list[int]) -> dg.AssetCheckResult:
    return balance(LINES_CHECK, status.lines_balance(ws, sites, days))


def _hits_check(ws: Workspace, days: list[date], sites: list[int]) -> dg.AssetCheckResult:
    return balance(HITS_CHECK, status.hits_balance(ws, sites, days))


@dg.asset(**asset_options("logs", {"sqlite"}, "raw"), deps=[imported_logs])
def day_status(
    context: dg.AssetExecutionContext, config: SitesConfig, platform: PlatformResource
) -> dg.MaterializeResult:
    """One row a site and day: queue, partial, loaded, pretable, calculated or done; logs expected and loaded."""
    ws, days = platform.workspace(), days_of(context)
    sites = _sites(ws, config)
    with ws.writing():
        status.refresh(ws, [], sites, (days[0], days[-1]))
    rows = ws.ledger.statuses(config.sites, days[0], days[-1])
    table = pl.DataFrame(
        [
            {
                "day": r["day"],
                "site": r["idsite"],
                "status": DayStatus(r["status"]).label,
                "logs": f"{r['files_loaded']} of {'?' if r['files_expected'] is None else r['files_expected']}",
                "operator": r["decision"],
                "message": r["message"],
            }
            for r in rows
        ],
        schema={
            "day": pl.Date,
            "site": pl.Int64,
            "status": pl.String,
            "logs": pl.String,
            "operator": pl.String,
            "message": pl.String,
        },
    )
    waiting = table.filter(
        pl.col("status").is_in([DayStatus.QUEUE.label, DayStatus.PARTIAL.label]) & pl.col("operator").is_null()
    )
    broken = [
        r
        for known in ws.ledger.paths_of(sites).values()
        for r in known
        if r["status"] in (LogStatus.FAILED, LogStatus.INVALID, LogStatus.HELD)
    ]
    return dg.MaterializeResult(
        metadata={
            **row_count(table.height, len(days)),
            "statuses": markdown(table, 62),
            "site_days_waiting": waiting.height,
            "logs_that_wait_for_somebody": len(broken),
        }
    )
