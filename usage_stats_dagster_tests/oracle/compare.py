"""What the pipeline left in ledger, lake and index, beside what the oracle expects, and the difference in words.

What belongs here: reading both into the same plain rows. What does not: running the pipeline (`delivery.py`), rules.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import polars as pl

from usage_stats_dagster.pipeline.account import account
from usage_stats_dagster_tests.oracle.figures import METRICS
from usage_stats_dagster_tests.oracle.model import Expected, expected
from usage_stats_dagster_tests.oracle.tracking import Event, Visit
from usage_stats_dagster_tests.oracle.worlds import Site, World
from usage_stats_dagster_tests.platforms import Platform

SHOWN = 12
Rows = Counter[tuple[Any, ...]]


IMPORTED = ("lines by day and outcome", "hits by day")
"""What is right even while half a line keeps its day waiting."""


def differences(
    platform: Platform, world: World, arrived: dict[int, list[bytes]], *, imported_only: bool = False
) -> list[str]:
    """Every way in which the platform is not what the lines that arrived come to; empty: it is."""
    found: list[str] = []
    ws = platform.ws
    for site in world.sites:
        want = expected(arrived.get(site.id, []), site, world)
        for what, (have, should) in _tables(platform, site, want).items():
            if imported_only and what not in IMPORTED:
                continue
            found += _difference(f"site {site.id}: {what}", have, should)
        if imported_only:
            continue
        sources = ws.index.sources()
        mine = sources.filter(pl.col("idsite") == site.id)["source"].to_list() if sources.height else []
        have_index = {d["id"]: d for d in map(_indexed, mine)}
        should_index = {i: {**d, "date": f"{d['date']}T00:00:00"} for i, d in want.documents.items()}
        found += _difference(f"site {site.id}: documents in the index", _as_rows(have_index), _as_rows(should_index))
    found += [f"the accounting does not close: {s}" for s in account(ws).open_sums]
    ws.index.close()
    return found


def _tables(platform: Platform, site: Site, want: Expected) -> dict[str, tuple[Rows, Rows]]:
    summary = platform.ws.ledger.outcomes([site.id], None, None)
    lines = {(day, outcome): n for _, day, outcome, n in summary.iter_rows()}
    hits = Counter({(d,): n for (d, o), n in want.outcomes.items() if o == "hit"})
    visits = [v for of_day in want.visits.values() for v in of_day]
    return {
        "lines by day and outcome": (Counter(lines), want.outcomes),
        "hits by day": (Counter((r["day__"],) for r in _read(platform, "hits", site.id)), hits),
        "visits": (Counter(map(_visit_row, _read(platform, "visits", site.id))), Counter(map(_visit, visits))),
        "events": (_event_rows(platform, site.id), Counter(_event(e) for v in visits for e in v.events)),
        "metrics": (
            _metric_rows(platform, site.id),
            _bag((d, *key, tuple(sorted(row.items()))) for d, f in want.figures.items() for key, row in f.rows.items()),
        ),
        "events by step": (
            _bag(_steps(platform, site.id)),
            _bag((d, v, s, n) for d, f in want.figures.items() for v, of in f.steps.items() for s, n in of.items()),
        ),
        "documents": (
            _as_rows({r["id"]: _plain(r) for r in _read(platform, "documents", site.id)}),
            _as_rows(want.documents),
        ),
    }


def _read(platform: Platform, table: str, idsite: int) -> list[dict[str, Any]]:
    base = platform.folder / "lake" / table / f"idsite={idsite}"
    rows: list[dict[str, Any]] = []
    for path in sorted(base.rglob("*.parquet")):
        parts = dict(p.split("=") for p in path.relative_to(base).parent.parts)
        day = f"{parts['year']}-{int(parts['month']):02d}-{int(parts['day']):02d}"
        frame = pl.read_parquet(path, hive_partitioning=False)
        rows += frame.with_columns(day__=pl.lit(day).str.to_date()).to_dicts()
    return rows


def _visit_row(r: dict[str, Any]) -> tuple[Any, ...]:
    return (
        r["day__"], r["visit_first_action_time"], r["visit_last_action_time"], r["visit_total_actions"], r["visit_total_time"],
        r["location_country"], r["location_ip"], r["referer_type"], r["referer_name"], r["user_agent"], r["robot"] is not None,
    )  # fmt: skip


def _visit(v: Visit) -> tuple[Any, ...]:
    hit = v.events[0].hit
    return (
        hit.day, v.first, v.last, len(v.events), v.seconds,
        hit.country, hit.network, v.referer_type, v.referer_name, hit.agent, hit.robot,
    )  # fmt: skip


def _event_rows(platform: Platform, idsite: int) -> Rows:
    agents = {r["idvisit"]: (r["location_ip"], r["user_agent"]) for r in _read(platform, "visits", idsite)}
    return Counter(
        (
            r["day__"], r["server_time"], *agents[r["idvisit"]], r["action_type"], r["action_name"], r["action_url"],
            r["action_url_prefix"], r["url_referrer"], r["time_spent_ref_action"], r["http_method"], r["http_status"],
            r["identifier"], r["item_action"], r["robot"] is not None,
        )
        for r in _read(platform, "events", idsite)
    )  # fmt: skip


def _event(e: Event) -> tuple[Any, ...]:
    h = e.hit
    return (
        h.day, h.time, h.network, h.agent, e.action_type, e.name, e.url, e.prefix, h.referrer, e.spent, h.method, h.status,
        e.identifier, e.act, h.robot,
    )  # fmt: skip


def _metric_rows(platform: Platform, idsite: int) -> Rows:
    names = (*METRICS, "searches")
    return _bag(
        (r["day"], r["identifier"], r["country"], tuple(sorted((m, r[m]) for m in names if r[m])))
        for r in _read(platform, "metrics", idsite)
    )


def _steps(platform: Platform, idsite: int) -> Iterable[tuple[Any, ...]]:
    ws = platform.ws
    from usage_stats_dagster.schemas import METRICS_TABLE

    for day in ws.lake.days(METRICS_TABLE, idsite):
        manifest = ws.lake.manifest(METRICS_TABLE, idsite, day)
        if manifest is not None and manifest.counts["events"]:
            for vocabulary, steps in manifest.counts["steps"].items():
                yield from ((day, vocabulary, step, n) for step, n in steps.items())


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in row.items() if k not in ("rules_version", "day__")}


def _indexed(source: Any) -> dict[str, Any]:
    return _plain(json.loads(source))


def _as_rows(documents: dict[str, dict[str, Any]]) -> Rows:
    return Counter(tuple(f"{k}={_short(v)}" for k, v in sorted(d.items())) for d in documents.values())


def _short(value: Any) -> Any:
    if isinstance(value, list):
        return [{k: v for k, v in d.items() if v} for d in value]
    return value


def _bag(rows: Iterable[tuple[Any, ...]]) -> Rows:
    return Counter(rows)


def _difference(what: str, have: Rows, should: Rows) -> list[str]:
    key: Callable[[Any], str] = str
    missing, extra = sorted((should - have).items(), key=key), sorted((have - should).items(), key=key)
    if not missing and not extra:
        return []
    lines = [f"{what}:"]
    for sign, rows in (("expected", missing), ("is", extra)):
        lines += [f"  {sign:>8} {n} x ({', '.join(map(_text, row))})" for row, n in rows[:SHOWN]]
        if len(rows) > SHOWN:
            lines.append(f"  {sign:>8} … {len(rows) - SHOWN} more")
    return ["\n".join(lines)]


def _text(value: Any) -> str:
    return str(value) if not hasattr(value, "isoformat") else value.isoformat()
