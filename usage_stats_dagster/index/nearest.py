"""Identifiers spelled most like one that isn't there.

What belongs here: the likeness, for every backend. What does not: which identifiers there are.
"""

from __future__ import annotations

import difflib

import polars as pl

_NEAR = 200  # identifiers that difflib looks at


def nearest(known: pl.Series, identifier: str, limit: int) -> list[str]:
    """The `limit` of `known` spelled most like the identifier, case aside.

    Only those that share most of its three-letter pieces go to difflib: over a million it alone would take minutes.
    """
    wanted = identifier.lower()
    pieces = sorted({wanted[i : i + 3] for i in range(max(1, len(wanted) - 2))})
    lower = pl.col("known").str.to_lowercase()
    candidates = (
        known.to_frame("known")
        .with_columns(
            shared=pl.sum_horizontal(lower.str.contains(p, literal=True).cast(pl.Int16) for p in pieces),
            apart=(pl.col("known").str.len_chars().cast(pl.Int64) - len(identifier)).abs(),
        )
        .filter(pl.col("shared") * 3 >= len(pieces))
        .sort("shared", "apart", "known", descending=[True, False, False])
        .head(_NEAR)["known"]
        .to_list()
    )
    unlike = {c: -difflib.SequenceMatcher(None, wanted, c.lower(), autojunk=False).ratio() for c in candidates}
    return sorted(candidates, key=unlike.__getitem__)[:limit]
