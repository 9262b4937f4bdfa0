"""Lines that are no hits, as people look at them: which line, of which day, under which outcome, and what it asked for.

What belongs here: choosing a block's first lines of each outcome and saying what they are. What does not: the outcomes
(`outcomes.py`), keeping the examples (`pipeline/log_import.py`).

What is shown of a line that a format could read is status, method and path, and the referrer or time that decided:
never the visitor's address, nor a logged-in user's name. Of any other line its beginning, addresses blotted out.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from usage_stats_dagster.logs.addresses import blot

EXAMPLES = 3
"""Lines kept of each day and outcome."""

SHOWN = 200
"""Characters shown of a line."""

DROPS = pl.Schema({"day": pl.Date, "outcome": pl.String, "line": pl.Int64, "text": pl.String})
"""`day` is null where the line has no readable date; `line` counts from 1."""

_WORDS = ("status", "method", "path")


def dropped(
    counted: pl.DataFrame,
    rows: pl.DataFrame,
    lines: pl.Series,
    limit: int | None = EXAMPLES,
    keys: Sequence[str] = (),
) -> pl.DataFrame:
    """DROPS of a block: the first `limit` lines of each day and outcome (None: all), by line.

    `counted`: day, outcome, line of every line; `rows`: the parsed lines in order, without a gap; `lines`: their text.
    `keys`: columns of `counted` that tell logs apart where it holds several.
    """
    no_hits = counted.filter(pl.col("outcome") != "hit")
    if limit is not None and no_hits.height:
        no_hits = no_hits.group_by(*keys, "day", "outcome").agg(pl.col("line").sort().head(limit)).explode("line")
    if not no_hits.height:
        return pl.DataFrame(schema=DROPS)
    no_hits = no_hits.sort("line")
    places = (no_hits["line"] - rows["line"][0]).cast(pl.UInt32)
    about = rows.select("matched", "time", "referrer", *_WORDS)[places].with_columns(
        no_hits["outcome"], raw=lines.gather(places).str.slice(0, 4 * SHOWN)
    )
    asked = pl.concat_str(*(pl.col(w).cast(pl.String) for w in _WORDS), separator=" ", ignore_nulls=True)
    why = (
        pl.when(pl.col("outcome") == "spam_referrer")
        .then(pl.concat_str("referrer", pl.lit(": ")))
        .when(pl.col("outcome") == "outside_day")
        .then(pl.concat_str(pl.col("time").dt.strftime("%Y-%m-%d %H:%M:%S: ")))
        .otherwise(pl.lit(""))
    )
    readable = pl.col("matched") & (pl.col("outcome") != "invalid")
    text = about.select(
        pl.when(readable).then(pl.concat_str(why, asked).str.slice(0, 4 * SHOWN)).otherwise("raw")
    ).to_series()
    # Cut afterwards: half an address is none to `blot`.
    shown = pl.Series("text", [blot(t or "", SHOWN) for t in text.to_list()], pl.String)
    return no_hits.select("day", pl.col("outcome").cast(pl.String), "line").with_columns(shown)


def first_drops(parts: list[pl.DataFrame], most: int) -> pl.DataFrame:
    """Of DROPS of several blocks, in order, the first EXAMPLES of each day and outcome; at most `most` rows, firsts first."""
    if len(parts) == 1 and parts[0].height <= most:
        return parts[0].sort("day", "outcome", "line")
    ranked = pl.concat([pl.DataFrame(schema=DROPS), *parts]).with_columns(
        rank=pl.int_range(pl.len()).over("day", "outcome", order_by="line")
    )
    kept = ranked.filter(pl.col("rank") < EXAMPLES).sort("rank", "day", "outcome", "line").head(most)
    return kept.drop("rank").sort("day", "outcome", "line")
