"""The accounting: from the lines read to the documents indexed, every sum closed.

What belongs here: putting the ledger's and the manifests' counts into one table. What does not: counting anything anew.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date

import polars as pl

from usage_stats_dagster.index.interface import Selection
from usage_stats_dagster.pipeline.status import counted_hits, day_count
from usage_stats_dagster.pipeline.workspace import Workspace
from usage_stats_dagster.schemas import DOCUMENTS, EVENTS, METRICS, METRICS_TABLE

OUTCOMES = ("invalid", "http_error", "http_redirect", "excluded", "static", "spam_referrer", "outside_day", "hit")
SCHEMA = pl.Schema({"idsite": pl.Int32, "stage": pl.String, "what": pl.String, "count": pl.Int64})


@dataclass
class Account:
    """The table (idsite, stage, what, count) and every sum that does not close, in words."""

    table: pl.DataFrame
    open_sums: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def closes(self) -> bool:
        """Whether every sum closes."""
        return not self.open_sums


def account(
    ws: Workspace, *, sites: list[int] | None = None, first: date | None = None, last: date | None = None
) -> Account:
    """The accounting of the sites' days (all days without dates)."""
    rows: list[tuple[int, str, str, int]] = []
    result = Account(pl.DataFrame(schema=SCHEMA))
    statuses = ws.ledger.statuses(sites, first, last)
    outcomes = ws.ledger.outcomes(None, first, last)
    known = sorted({r["idsite"] for r in statuses} | set(outcomes["idsite"].to_list()))
    for idsite in known if sites is None else [s for s in known if s in sites]:
        mine = outcomes.filter(pl.col("idsite") == idsite)
        by_outcome = dict(mine.group_by("outcome").agg(pl.col("lines").sum()).iter_rows())
        rows.append((idsite, "lines", "read", sum(by_outcome.values())))
        rows += [
            (idsite, "lines", o, by_outcome[o])
            for o in (*OUTCOMES, *sorted(set(by_outcome) - set(OUTCOMES)))
            if o in by_outcome
        ]
        if first is None and last is None:
            logs = sum(r["lines"] for r in ws.ledger.logs(idsite))
            _close(
                result, f"site {idsite}: lines of the logs", logs, "lines under an outcome", sum(by_outcome.values())
            )
        days = [r["day"] for r in statuses if r["idsite"] == idsite]
        _figures(ws, idsite, days, mine, rows, result)
    result.table = pl.DataFrame(rows, schema=SCHEMA, orient="row")
    return result


def _figures(
    ws: Workspace,
    idsite: int,
    days: list[date],
    outcomes: pl.DataFrame,
    rows: list[tuple[int, str, str, int]],
    result: Account,
) -> None:
    hits = {d: n for _, d, o, n in outcomes.iter_rows() if o == "hit"}
    events, metrics = (ws.lake.manifests(t, idsite, days) for t in (EVENTS, METRICS_TABLE))
    monthly = ws.settings.site(idsite).grain == "month"
    periods = sorted({d.replace(day=1) if monthly else d for d in days})  # a month's lie on its first day, logs or none
    documents = ws.lake.manifests(DOCUMENTS, idsite, periods)
    if ws.settings.matomo.mode != "embedded":
        hits = {d: counted_hits(ws, idsite, d) for d in days}
    waiting = [d for d in hits if d not in events]
    if waiting:
        n = sum(hits[d] for d in waiting)
        rows.append((idsite, "hits", "of days that are not loaded yet", n))
        result.notes.append(
            f"site {idsite}: {n:,} hits wait on {day_count(len(waiting))} that are not loaded: `usage-stats status` says why"
        )
    counted = sum(m.rows for m in events.values())
    robots = sum(m.counts["robots"] for m in events.values())
    rows += [(idsite, "events", "human", counted - robots), (idsite, "events", "robot", robots)]
    _close(result, f"site {idsite}: hits of the days made", sum(hits.get(d, 0) for d in events), "events", counted)
    for vocabulary in ("counter", "lareferencia"):
        steps: dict[str, int] = {}
        for m in metrics.values():
            for step, n in m.counts["steps"].get(vocabulary, {}).items():
                steps[step] = steps.get(step, 0) + n
        order = [s for s in ("kept", *ws.settings.rules.steps) if s in steps]
        rows += [(idsite, f"steps: {vocabulary}", s, steps[s]) for s in (*order, *sorted(set(steps) - set(order)))]
        _close(
            result,
            f"site {idsite}: events of the days counted",
            sum(events[d].rows for d in metrics if d in events),
            f"events under a step of {vocabulary}",
            sum(steps.values()),
        )
    sums = {m: sum(x.counts[m] for x in metrics.values()) for m in (*METRICS, "searches")}
    rows += [(idsite, "figures", m, n) for m, n in sums.items()]
    rows.append((idsite, "documents", "in the lake", sum(x.rows for x in documents.values())))
    whole_months = ws.settings.site(idsite).grain == "day" or len(metrics) == len(days)
    if documents and whole_months:
        indexed = [ws.index.totals(Selection(sites=(idsite,), start=d, end=d)).row(0, named=True) for d in documents]
        rows.append((idsite, "documents", "in the index", sum(i["documents"] for i in indexed)))
        _close(
            result,
            f"site {idsite}: documents in the lake",
            sum(x.rows for x in documents.values()),
            "documents in the index",
            sum(i["documents"] for i in indexed),
        )
        if all("of" in m.counts for m in documents.values()):  # a Matomo's: a month's are no sums of its days'
            sums = {m: sum(x.counts["of"][m] for x in documents.values()) for m in METRICS}
        for name in METRICS:
            have = sum(i[name] for i in indexed)
            _close(result, f"site {idsite}: {name} of the metrics", sums[name], f"{name} in the index", have)


def _close(result: Account, what: str, n: int, other: str, k: int) -> None:
    if n != k:
        result.open_sums.append(f"{what} ({n:,}) are not {other} ({k:,})")
