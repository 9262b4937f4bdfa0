"""Rows of several site-days, or periods, that are computed together.

What belongs here: reading tables one behind the other, with a number that says which is which, and cutting what was made
of them into its parts again. What does not: which are computed together (`stage.py`), what is computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import polars as pl

from usage_stats_dagster.lake.store import LakeError, Manifest
from usage_stats_dagster.pipeline.workspace import Workspace
from usage_stats_dagster.schemas import Table


def numbered(rows: pl.DataFrame, key: str, heights: Sequence[int]) -> pl.DataFrame:
    """The rows with `key` (Int32) in front: 0 for the first `heights[0]` of them, 1 for the next …"""
    counted = pl.DataFrame({key: range(len(heights)), "n": heights}, schema={key: pl.Int32, "n": pl.Int64})
    numbers = counted.filter(pl.col("n") > 0).select(pl.col(key).repeat_by("n").explode()).to_series()
    return rows.insert_column(0, numbers)


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


def parts(rows: pl.DataFrame, key: str, n: int) -> list[pl.DataFrame]:
    """The rows of each number below `n`, without it; they are sorted by it."""
    cuts = np.searchsorted(rows[key].to_numpy(), np.arange(n + 1)).tolist()
    bare = rows.drop(key)
    return [bare[a:b] for a, b in pairwise(cuts)]
