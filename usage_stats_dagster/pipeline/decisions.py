"""What operators said of days and logs, kept in the lake too: the one thing in the ledger that no log or table tells.

What belongs here: one small file a site, from which `doctor --rebuild-ledger` takes the decisions. What does not: making
them (`status.decide`, `usage-stats logs accept`).

    {root}/decisions/idsite=1.json
"""

from __future__ import annotations

from datetime import date
from typing import Any

import orjson

from usage_stats_dagster.lake.storage import Location
from usage_stats_dagster.lake.store import Lake
from usage_stats_dagster.ledger.repair import Decisions

FOLDER = "decisions"


def remember_day(lake: Lake, idsite: int, day: date, decision: str | None, reason: str | None) -> None:
    """Keeps, or with None forgets, what is said of a day. Under the writer's lock."""
    kept = _read(lake, idsite)
    kept["days"].pop(str(day), None)
    if decision:
        kept["days"][str(day)] = [decision, reason]
    _write(lake, idsite, kept)


def remember_path(lake: Lake, idsite: int, path: str, decision: str) -> None:
    """Keeps what is said of a log. Under the writer's lock."""
    kept = _read(lake, idsite)
    kept["paths"][path] = decision
    _write(lake, idsite, kept)


def remembered(lake: Lake, idsites: set[int]) -> Decisions:
    """What is kept of the sites."""
    found = Decisions()
    for idsite in sorted(idsites):
        kept = _read(lake, idsite)
        found.days.update({(idsite, date.fromisoformat(d)): (w, why) for d, (w, why) in kept["days"].items()})
        found.paths.update({(idsite, p): w for p, w in kept["paths"].items()})
    return found


def _file(lake: Lake, idsite: int) -> Location:
    return lake.root / FOLDER / f"idsite={idsite}.json"


def _read(lake: Lake, idsite: int) -> dict[str, Any]:
    try:
        found: dict[str, Any] = orjson.loads(_file(lake, idsite).read_bytes())
    except FileNotFoundError:
        return {"days": {}, "paths": {}}
    return found


def _write(lake: Lake, idsite: int, kept: dict[str, Any]) -> None:
    lake.put_bytes(_file(lake, idsite), orjson.dumps(kept, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2))
