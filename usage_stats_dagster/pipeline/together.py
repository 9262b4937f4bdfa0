"""Rows of several site-days, or periods, that are computed together.

What belongs here: reading tables one behind the other. What does not: which are computed together (`stage.py`), whose row
is which (`parts.py`), what is computed.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from usage_stats_dagster.lake.store import LakeError, Manifest
from usage_stats_dagster.pipeline.workspace import Workspace
from usage_stats_dagster.schemas import Table


def rows_together(
    ws: Workspace, table: Table, manifests: Sequence[Manifest], columns: Sequence[str] | None = None
) -> pl.DataFrame:
    """The rows (their `columns`, or all) of the site-days of a table, one behind the other in the manifests' order.

    Raises LakeError where a file holds another number of rows than its manifest says.
    """
    files = [ws.lake.part(table, m.idsite, m.day) for m in manifests]
    rows = ws.lake.scan_files(table, files).select(columns or list(table.columns)).collect()
    should = sum(m.rows for m in manifests)
    if rows.height != should:
        sites = sorted({m.idsite for m in manifests})
        msg = f"{table.name} of sites {sites}: the files hold {rows.height} rows, their manifests say {should}: `usage-stats doctor` says which"
        raise LakeError(msg)
    return rows
