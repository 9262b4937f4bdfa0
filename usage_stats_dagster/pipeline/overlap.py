"""Logs that share most of their lines: a copy that was merged, or cut differently.

What belongs here: comparing samples of lines. What does not: taking them (`logs/read.py`), holding a log back (`imports.py`).
"""

from __future__ import annotations

import polars as pl
from sqlalchemy.engine import RowMapping

from usage_stats_dagster.logs.judge import SAMPLE_BELOW, SAMPLE_LEAST
from usage_stats_dagster.pipeline.log_import import SAMPLES, ImportedLog, side_file
from usage_stats_dagster.pipeline.workspace import Workspace

OVERLAP_SHARE = 0.5
"""Beyond this share of the smaller log's lines in the other, the newcomer is held back."""

_OVERLAP_LEAST = 8


def overlapping(ws: Workspace, parsed: ImportedLog, known: RowMapping | None) -> str | None:
    """The name of an imported log that has most of this one's lines (or has most of its own lines in this one)."""
    days = parsed.days
    if not days:
        return None
    own = {parsed.head.identity, known["identity"] if known is not None else ""}
    others = {
        r["identity"]: r["name"] for r in ws.ledger.log_days(parsed.found.idsite, days) if r["identity"] not in own
    }
    mine = parsed.sample.sort()
    for identity, name in sorted(others.items()):
        source = ws.lake.source(side_file(ws.lake, "samples", parsed.found.idsite, identity, "parquet"))
        if source is None:
            continue
        theirs = pl.read_parquet(source, schema=SAMPLES.schema)["hash"].sort()
        if not mine.len() or not theirs.len():
            continue
        # Below the smaller of both largest hashes each sample is complete, so shares can be compared.
        limit = min(_reach(mine), _reach(theirs))
        a, b = mine.filter(mine <= limit), theirs.filter(theirs <= limit)
        common = a.is_in(b.implode()).sum()
        least = min(a.len(), b.len())
        if least >= min(_OVERLAP_LEAST, parsed.reader.summary.lines) and common > OVERLAP_SHARE * least:
            return str(name)
    return None


def _reach(sample: pl.Series) -> int:
    """The hash up to which a sample holds every line of its log."""
    return (1 << 64) - 1 if sample.len() < SAMPLE_LEAST else max(SAMPLE_BELOW - 1, int(sample.max()))  # type: ignore[arg-type]
