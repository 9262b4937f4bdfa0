"""What the lines of a block, or of several small logs, came to: hits, outcomes, rejects, drops.

What belongs here: the order of the steps from text to a LogBlock. What does not: the steps (`parse.py`, `outcomes.py`,
`hits.py`, `drops.py`), which lines there are (`read.py`, `together.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl

from usage_stats_dagster import schemas
from usage_stats_dagster.logs import outcomes
from usage_stats_dagster.logs.addresses import blot
from usage_stats_dagster.logs.blocks import BLOCK_BYTES, LongLine
from usage_stats_dagster.logs.drops import DROPS, EXAMPLES, SHOWN, dropped
from usage_stats_dagster.logs.formats.base import LogFormat
from usage_stats_dagster.logs.hits import Lookups, Visitors, hashed, to_hits
from usage_stats_dagster.logs.lines import LONGEST_LINE, Lines
from usage_stats_dagster.logs.parse import parse
from usage_stats_dagster.lookups.distinct import Distinct
from usage_stats_dagster.parts import by_height, number_of_each, parts
from usage_stats_dagster.settings import Settings, Site

SAMPLE_BELOW = 1 << 58
"""Hashes of lines below this, 1 in 64, are a log's sample."""

SAMPLE_LEAST = 1024
"""And of a small log as many as this, the smallest."""

LOG = "log"
"""Int32, from 0: which log a line is of, where lines of several are judged together. Never stored."""


@dataclass(frozen=True)
class ReadOptions:
    """How to read a log. `key` is the secret of visitor ids; `prefix_at` asks for the hash of that many first bytes;
    `every_drop` for all lines that are no hits, instead of the first few of each day and outcome.
    """

    site: Site
    settings: Settings
    lookups: Lookups
    key: bytes
    whole_lines_only: bool = False
    prefix_at: int | None = None
    block_bytes: int = BLOCK_BYTES
    every_drop: bool = False


@dataclass(frozen=True)
class LogBlock:
    """What a block of lines came to.

    `hits`: schemas.HITS without log_identity, and `day`. `outcomes`: day (null where the line has no date), outcome, lines;
    their sum is the block's number of lines. `rejects`: schemas.REJECTS. `sample`: UInt64 hashes of lines, of which
    `sample_of` makes the log's. `drops`: DROPS, lines that are no hits, as ReadOptions.every_drop says.
    """

    hits: pl.DataFrame
    outcomes: pl.DataFrame
    rejects: pl.DataFrame
    sample: pl.Series
    drops: pl.DataFrame


Judged = tuple[LogBlock, list[datetime]]
"""With it the first and the last time that the lines name, if any does."""


class LineJudge:
    """Judges lines under a site's settings. Threads share it: visitors are remembered from call to call."""

    def __init__(self, options: ReadOptions) -> None:
        self._options = options
        self._lookups = options.lookups
        self._visitors = Visitors(options.lookups, options.key)

    def of_block(self, lines: Lines, log_format: LogFormat | None, state: str | None, first_line: int) -> Judged:
        """Of the lines of one log, the first of which has this number; `log_format` is None where all are blank."""
        hashes, rows, counted, hits = self._steps(lines, log_format, state, first_line)
        counts = _count(counted)
        made = LogBlock(
            hits,
            counts,
            _rejects(rows, lines.whole) if "invalid" in counts["outcome"] else schemas.REJECTS.empty(),
            _sampled(hashes.drop_nulls()),
            dropped(counted, rows, lines.whole, None if self._options.every_drop else EXAMPLES),
        )
        times = rows.select(pl.col("time").min().alias("first"), pl.col("time").max().alias("last")).row(0)
        return made, [t for t in times if t is not None]

    def of_logs(self, lines: Lines, log_format: LogFormat, counts: Sequence[int]) -> list[Judged]:
        """Of whole logs of so many lines each, one behind the other: each as `of_block` has it."""
        edges = np.concatenate(([0], np.cumsum(counts)))
        of_log = number_of_each(counts, LOG)
        hashes, rows, counted, hits = self._steps(lines, log_format, None, 1, of_log)
        each = zip(
            _apart(hits, edges),
            parts(_count(counted, [LOG]), LOG, len(counts)),
            _apart(_rejects(rows, lines.whole), edges),
            _sampled_each(hashes, of_log, edges),
            _apart(dropped(counted, rows, lines.whole, EXAMPLES, [LOG]), edges),
            strict=True,
        )
        times = rows.group_by(LOG, maintain_order=True).agg(
            pl.col("time").min().alias("first"), pl.col("time").max().alias("last")
        )
        return [
            (LogBlock(*of), [t for t in between if t is not None])
            for of, (_, *between) in zip(each, times.iter_rows(), strict=True)
        ]

    def _steps(
        self,
        lines: Lines,
        log_format: LogFormat | None,
        state: str | None,
        first_line: int,
        of_log: pl.Series | None = None,
    ) -> tuple[pl.Series, pl.DataFrame, pl.DataFrame, pl.DataFrame]:
        """Hashes of the lines; their rows; day, outcome and line (and LOG) of each; hits."""
        hashes = lines.text.to_frame("text").select(hashed("text")).to_series()
        rows = self._rows(lines, log_format, state, first_line)
        if of_log is not None:
            rows.insert_column(0, of_log)
        content = rows.filter(pl.col("outcome").is_null())
        spam = self._lookups.spam(content.get_column("referrer")).alias("spam")
        content = content.with_columns(spam).with_columns(
            outcome=outcomes.of_content(self._options.settings.platform.start_date)
        )
        said = ("day", "outcome", "line", *([] if of_log is None else [LOG]))
        counted = pl.concat([f.select(said) for f in (rows.filter(pl.col("outcome").is_not_null()), content)])
        hits = to_hits(
            content.filter(pl.col("outcome") == "hit"),
            self._visitors,
            store_ips=self._options.settings.rules.store_ips,
        )
        return hashes, rows, counted, hits

    def _rows(self, lines: Lines, log_format: LogFormat | None, state: str | None, first_line: int) -> pl.DataFrame:
        site, zone = self._options.site, self._options.settings.platform.time_zone
        rows = parse(lines, log_format, state, zone)
        # Many lines ask for the same path.
        paths = Distinct(rows.get_column("path"))
        told = paths.values.to_frame("path").select(path_hash=hashed("path"), **outcomes.of_path(site.exclude))
        return rows.with_columns(paths.spread(column) for column in told).with_columns(
            pl.int_range(first_line, first_line + len(lines), dtype=pl.Int64).alias("line"),
            outcomes.by_line().alias("outcome"),
        )


def sample_of(samples: list[pl.Series]) -> pl.Series:
    """A log's sample from its blocks': every hash below SAMPLE_BELOW, or the SAMPLE_LEAST smallest if those are more. Sorted."""
    if len(samples) == 1:
        return samples[0]
    hashes = pl.concat([pl.Series("sample", [], pl.UInt64), *samples]).unique().sort()
    return hashes.head(max(SAMPLE_LEAST, int((hashes < SAMPLE_BELOW).sum())))


def too_long(long_line: LongLine) -> LogBlock:
    """A line that is too long to be held."""
    head = blot(long_line.head, SHOWN)
    reject = {
        "line": [long_line.line],
        "reason": ["too_long"],
        "length": [long_line.length],
        "head": [head],
    }
    return LogBlock(
        pl.DataFrame(schema={**{c: t for c, t in schemas.HITS.columns.items() if c != "log_identity"}, "day": pl.Date}),
        pl.DataFrame({"day": [None], "outcome": ["invalid"], "lines": [1]}, schema=_COUNTS),
        pl.DataFrame(reject, schema=schemas.REJECTS.schema),
        pl.Series("sample", [], pl.UInt64),
        pl.DataFrame([(None, "invalid", long_line.line, head)], schema=DROPS, orient="row"),
    )


def _sampled(hashes: pl.Series) -> pl.Series:
    below = hashes.filter(hashes < SAMPLE_BELOW)
    return pl.concat([below, hashes.bottom_k(SAMPLE_LEAST)]).unique().sort().alias("sample")


def _sampled_each(hashes: pl.Series, of_log: pl.Series, edges: np.ndarray) -> list[pl.Series]:
    """`_sampled` of each log."""
    table = pl.DataFrame([of_log, hashes.alias("sample")]).drop_nulls().sort(LOG, "sample")
    below = pl.col("sample") < SAMPLE_BELOW
    smallest = table.filter(below | (pl.int_range(pl.len()).over(LOG) < SAMPLE_LEAST)).unique(maintain_order=True)
    return [f["sample"] for f in parts(smallest, LOG, len(edges) - 1)]


_COUNTS = pl.Schema({"day": pl.Date, "outcome": pl.String, "lines": pl.Int64})


def _count(counted: pl.DataFrame, keys: Sequence[str] = ()) -> pl.DataFrame:
    found = counted.group_by(*keys, "day", "outcome").agg(pl.len().cast(pl.Int64).alias("lines"))
    return found.cast({"outcome": pl.String}).sort(*keys, "day", "outcome")


def _apart(in_order: pl.DataFrame, edges: np.ndarray) -> list[pl.DataFrame]:
    """The rows of each log, their `line` (the place among all lines, in order) as it counts in its log."""
    line = in_order["line"].to_numpy()
    cuts = np.searchsorted(line, edges, side="right")
    heights = np.diff(cuts)
    own = line - np.repeat(edges[:-1], heights)
    return by_height(in_order.with_columns(pl.Series("line", own)), heights.tolist())


def _rejects(rows: pl.DataFrame, lines: pl.Series) -> pl.DataFrame:
    """The invalid lines but comments."""
    invalid = (
        rows.select("line", "matched", "comment", "outcome", lines.alias("text"))
        .filter((pl.col("outcome") == "invalid") & ~pl.col("comment"))
        .select(
            "line",
            pl.when(pl.col("text").str.len_bytes() > LONGEST_LINE)
            .then(pl.lit("too_long"))
            .when(pl.col("matched"))
            .then(pl.lit("bad_date"))
            .when(pl.col("text").str.strip_chars() == "")
            .then(pl.lit("empty"))
            .otherwise(pl.lit("no_match"))
            .alias("reason"),
            pl.col("text").str.len_bytes().cast(pl.Int64).alias("length"),
            pl.col("text").str.slice(0, 2 * SHOWN).alias("head"),
        )
    )
    heads = [blot(h, SHOWN) for h in invalid.get_column("head").to_list()]
    return invalid.with_columns(pl.Series("head", heads, pl.String))
