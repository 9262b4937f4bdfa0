"""Looking at days: gathers what the warnings' rules ask for, and asks them.

What belongs here: which rows of ledger and lake each rule gets. What does not: the rules.

Past figures come from the ledger's sums by day. Only hours are counted anew, from two columns of the events of the days
looked at and of the day before and after.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

import polars as pl

from usage_stats_dagster.index.interface import month_end, month_start
from usage_stats_dagster.ledger import history
from usage_stats_dagster.ledger.history import Scope
from usage_stats_dagster.ledger.tables import DayStatus
from usage_stats_dagster.pipeline.workspace import Workspace
from usage_stats_dagster.schemas import COUNTER_METRICS, EVENTS
from usage_stats_dagster.settings import WarningsSection
from usage_stats_dagster.watch.findings import FINDINGS_SCHEMA, KINDS, Finding, Kind, table
from usage_stats_dagster.watch.hours import HOURS_SCHEMA, missing_hours
from usage_stats_dagster.watch.late import STATUSES_SCHEMA, Extent, missing_or_late
from usage_stats_dagster.watch.servers import LINES_SCHEMA, silent_servers
from usage_stats_dagster.watch.shares import SHARES_SCHEMA, robots_shares, unmapped_shares
from usage_stats_dagster.watch.spikes import MONTHS_SCHEMA, usage_spikes

LOOK_BACK = 30
"""Without days, so many before a platform's newest figures are looked at."""

_DAY = timedelta(1)


@dataclass
class Look:
    """What was found (FINDINGS_SCHEMA), and the tables that the rules were asked about, for plots."""

    findings: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=FINDINGS_SCHEMA))
    hours: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=HOURS_SCHEMA))
    lines: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=LINES_SCHEMA))
    months: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=MONTHS_SCHEMA))
    robots: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=SHARES_SCHEMA))
    unmapped: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=SHARES_SCHEMA))

    def of(self, kind: Kind) -> pl.DataFrame:
        """The findings of one kind."""
        return self.findings.filter(pl.col("warning") == kind)


def look(
    ws: Workspace,
    days: Sequence[date] | None = None,
    sites: Sequence[int] | None = None,
    *,
    today: date | None = None,
    kinds: Collection[Kind] = KINDS,
) -> Look:
    """Every warning about the days (default: the last month that has figures, up to today) of the sites (default: all)."""
    today = today or ws.settings.today()
    rules = ws.settings.warnings
    extents = _extents(ws, sites)
    if not extents:
        return Look()
    chosen = sorted(extents)
    wanted = set(days) if days is not None else set(_recent(extents, today))
    if not wanted:
        return Look()
    first, last = min(wanted), max(wanted)
    since = min(_months_back(first, rules.spike_months), first - timedelta(rules.recent_days))
    rows = history.day_counts(ws.ledger, Scope(chosen, since, month_end(last)))
    figures = rows.filter(pl.col("status") == DayStatus.DONE)
    asked = {(s, d) for s, d in figures.select("idsite", "day").iter_rows() if d in wanted}
    seen = Look(
        months=_months(rows, today),
        robots=_shares(figures, "robots", ("events",)),
        unmapped=_shares(figures, "unmapped", ("mapped", "unmapped")),
    )
    found: list[Finding] = []
    if "day_missing_or_late" in kinds:
        late = missing_or_late(
            rows.select(*STATUSES_SCHEMA),
            extents,
            first,
            last,
            today=today,
            late_days=rules.late_days,
            expected=lambda s, d: ws.settings.site(s).expected_files(d) if ws.settings.has_day(d) else 0,
        )
        found += [f for f in late if f.day in wanted]
    if "missing_hour" in kinds:
        seen.hours = _hours(ws, asked)
        found += missing_hours(seen.hours, asked, ws.settings.zone, rules.busy_hour_hits)
    if "silent_server" in kinds:
        seen.lines = history.hits_by_server(ws.ledger, Scope(chosen, first - timedelta(rules.server_days), last))
        found += silent_servers(
            seen.lines, asked, days=rules.server_days, share=rules.server_share, least=rules.server_lines
        )
    found += [f for f in _from_sums(seen, asked, rules) if f.warning in kinds]
    seen.findings = table(found)
    return seen


def _from_sums(seen: Look, asked: set[tuple[int, date]], rules: WarningsSection) -> list[Finding]:
    """The warnings that need nothing but the ledger's sums."""
    spikes = usage_spikes(
        seen.months,
        {(s, month_start(d)) for s, d in asked},
        history=rules.spike_months,
        least_history=min(rules.spike_least_months, rules.spike_months),
        factor=rules.spike_factor,
        plus=rules.spike_plus,
        low_share=rules.drop_share,
        low_mean=rules.drop_mean,
    )
    past = {"days": rules.recent_days, "least": rules.share_events}
    unmapped = unmapped_shares(seen.unmapped, asked, most=rules.unmapped_share, rise=rules.unmapped_rise, **past)
    robots = robots_shares(seen.robots, asked, change=rules.robots_change, **past)
    return [*spikes, *unmapped, *robots]


def _extents(ws: Workspace, sites: Sequence[int] | None) -> dict[int, Extent]:
    """First and last day of the sites asked for that the settings have."""
    listed = {s.id for s in ws.settings.sites}
    rows = history.extents(ws.ledger, Scope(sites))
    return {s: Extent(a, b) for s, a, b in rows.iter_rows() if not listed or s in listed}


def _recent(extents: dict[int, Extent], today: date) -> list[date]:
    newest = min(max(e.last for e in extents.values()), today)
    first = newest - timedelta(LOOK_BACK)
    return [first + timedelta(k) for k in range((today - first).days + 1)]


def _months_back(day: date, months: int) -> date:
    n = day.year * 12 + day.month - 1 - months
    return date(n // 12, n % 12 + 1, 1)


def _months(rows: pl.DataFrame, today: date) -> pl.DataFrame:
    """COUNTER's four by site and month (MONTHS_SCHEMA) from the day-status rows."""
    settled = (pl.col("status") == DayStatus.DONE) | (pl.col("decision") == "lost").fill_null(value=False)
    counts = rows["counts"].to_list()
    days = rows.select("idsite", "day", settled.alias("settled")).with_columns(
        pl.Series(m, [(c or {}).get(m, 0) for c in counts], pl.Int64) for m in COUNTER_METRICS
    )
    month = pl.col("day").dt.month_start()
    by_month = (
        days.group_by("idsite", month.alias("month"))
        .agg(pl.col(COUNTER_METRICS).sum(), pl.col("settled").sum())
        .with_columns(
            complete=(pl.col("settled") == pl.col("month").dt.month_end().dt.day())
            & (pl.col("month").dt.month_end() < today)
        )
    )
    long = by_month.unpivot(COUNTER_METRICS, index=["idsite", "month", "complete"], variable_name="metric")
    return long.select(*MONTHS_SCHEMA).sort("idsite", "month", "metric")


def _shares(rows: pl.DataFrame, part: str, whole: Sequence[str]) -> pl.DataFrame:
    """A count and the sum that it is part of, by site and day (SHARES_SCHEMA); days made before it was counted have no row."""
    found = [
        (s, d, c[part], sum(c[w] for w in whole))
        for s, d, c in zip(rows["idsite"], rows["day"], rows["counts"], strict=True)
        if c and all(k in c for k in (part, *whole))
    ]
    return pl.DataFrame(found, schema=SHARES_SCHEMA, orient="row")


def _hours(ws: Workspace, asked: set[tuple[int, date]]) -> pl.DataFrame:
    """Events by hour, of the days asked and of those before and after: by site, and by server where logs name one."""
    frames = [pl.DataFrame(schema=HOURS_SCHEMA)]
    for idsite in sorted({s for s, _ in asked}):
        mine = {d for s, d in asked if s == idsite}
        days = sorted({d + k * _DAY for d in mine for k in (-1, 0, 1)})
        servers = history.servers_of_logs(ws.ledger, Scope([idsite], days[0], days[-1])).drop("idsite")
        hour = pl.col("server_time").dt.truncate("1h").alias("hour")
        logs = ["log_identity"] if servers.height else []
        events = ws.lake.scan(EVENTS, [(idsite, d) for d in days]).select(hour, *logs)
        counts = events.group_by("hour", *logs).agg(pl.len().cast(pl.Int64).alias("hits")).collect()
        frames.append(_summed(counts, idsite))
        if servers["server"].n_unique() > 1:
            frames.append(_summed(counts.join(servers, on="log_identity"), idsite, "server"))
    return pl.concat(frames)


def _summed(counts: pl.DataFrame, idsite: int, *by: str) -> pl.DataFrame:
    none = [] if by else [pl.lit(None, pl.String).alias("server")]
    sums = counts.group_by("hour", *by).agg(pl.col("hits").sum())
    return sums.with_columns(pl.lit(idsite, pl.Int32).alias("idsite"), *none).select(*HOURS_SCHEMA)
