"""Small lakes for the mirror's tests: a day's visits and events from a few words.

What belongs here: making and storing them. What does not: any test.
"""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl

from usage_stats_dagster.lake.store import Lake, Manifest
from usage_stats_dagster.schemas import EVENTS, VISITS, Table


def at(text: str) -> datetime:
    """`2025-03-01 10:00:00` in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def event(idvisit: int, time: str, kind: int = 1, **more: Any) -> dict[str, Any]:
    """An event; its idlink_va is made of its visit and time."""
    when = at(time)
    return {
        "idlink_va": idvisit * 10**6 + int(when.timestamp()) % 10**6,
        "idvisit": idvisit,
        "idvisitor": f"{idvisit:016x}",
        "server_time": when,
        "action_type": kind,
        "action_url": None if kind == 8 else "repo.example.org/handle/1/2",
        "action_url_prefix": 2 if kind == 1 else None,
        **more,
    }


def visits_of(events: list[dict[str, Any]], **more: Any) -> list[dict[str, Any]]:
    """The visits of the events, as if these were all that they have."""
    made = []
    for idvisit in dict.fromkeys(e["idvisit"] for e in events):
        times = sorted(e["server_time"] for e in events if e["idvisit"] == idvisit)
        length = int((times[-1] - times[0]).total_seconds()) + 1 if len(times) > 1 else 0
        made.append(
            {
                "idvisit": idvisit,
                "idvisitor": f"{idvisit:016x}",
                "visit_first_action_time": times[0],
                "visit_last_action_time": times[-1],
                "visit_total_actions": len(times),
                "visit_total_time": length,
                "location_country": "cl",
                "referer_type": 1,
                **more,
            }
        )
    return made


def frame(table: Table, idsite: int, rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Rows as the table, columns that they don't name null; custom variables and dimensions as they are."""
    custom = {c for r in rows for c in r if c.startswith("custom_")}
    schema = {**table.columns, **dict.fromkeys(sorted(custom), pl.String)}
    return pl.DataFrame([{"idsite": idsite, **r} for r in rows], schema=schema)


def store(lake: Lake, table: Table, idsite: int, day: date, rows: pl.DataFrame) -> None:
    """Replaces the site's day of the table."""
    with lake.writer(table, idsite, day) as writer:
        writer.append(rows)
        lake.commit(writer, Manifest(table.name, idsite, day, "test"))


def lake_day(
    root: Path, idsite: int, day: date, events: list[dict[str, Any]], visits: list[dict[str, Any]] | None = None
) -> Lake:
    """A lake in which the site's day is of these events; the visits are made of them unless given."""
    lake = Lake(str(root))
    store(lake, EVENTS, idsite, day, frame(EVENTS, idsite, events))
    store(lake, VISITS, idsite, day, frame(VISITS, idsite, visits_of(events) if visits is None else visits))
    return lake
