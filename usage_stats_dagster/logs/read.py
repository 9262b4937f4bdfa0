"""One log file to frames of hits, outcomes and rejects, block by block.

What belongs here: the order of the steps, two blocks at work at a time, and what is known of the log at its end. What does
not: which log it is (`identity.py`), where its hits go (`importer.py`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, islice
from pathlib import Path

import polars as pl

from usage_stats_dagster import schemas
from usage_stats_dagster.logs import outcomes, sniff
from usage_stats_dagster.logs.addresses import blot
from usage_stats_dagster.logs.blocks import BLOCK_BYTES, Block, BlockReader, LongLine
from usage_stats_dagster.logs.drops import DROPS, EXAMPLES, SHOWN, dropped
from usage_stats_dagster.logs.formats.base import LogFormat
from usage_stats_dagster.logs.hits import Lookups, Visitors, hashed, to_hits
from usage_stats_dagster.logs.lines import LONGEST_LINE, Lines
from usage_stats_dagster.logs.parse import parse
from usage_stats_dagster.lookups.distinct import Distinct
from usage_stats_dagster.settings import Settings, SettingsError, Site

SAMPLE_BELOW = 1 << 58
"""Hashes of lines below this, 1 in 64, are a log's sample."""

SAMPLE_LEAST = 1024
"""And of a small log as many as this, the smallest."""

_AT_WORK = 3
_SNIFFED_LINES = 500
_SNIFFED_BYTES = 1 << 20


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


@dataclass(frozen=True)
class LogSummary:
    """What is known of a log once it is read; `lines`, `bytes`, `content_hash` as in BlockReader."""

    format: str | None
    compression: str
    lines: int
    bytes: int
    content_hash: str
    prefix_hash: str | None
    damaged: str | None
    unterminated: bool
    first_time: datetime | None
    last_time: datetime | None


_Job = tuple[Block, LogFormat | None, str | None]
_Made = tuple[LogBlock, list[datetime]]


class LogReader:
    """Iterates a log's LogBlocks, in order, once; `summary` is there afterwards.

    Raises OSError when the log can't be opened and UnknownFormatError when no format reads it.
    """

    def __init__(self, path: Path | str, options: ReadOptions) -> None:
        _check(options.site)
        self._options = options
        self._blocks = BlockReader(
            path,
            whole_lines_only=options.whole_lines_only,
            block_bytes=options.block_bytes,
            prefix_at=options.prefix_at,
        )
        self._format: LogFormat | None = None
        self._state: str | None = None
        self._lookups = options.lookups
        self._visitors = Visitors(options.lookups, options.key)
        self._times: list[datetime] = []
        self._summary: LogSummary | None = None

    @property
    def summary(self) -> LogSummary:
        """What the log came to; there when its blocks are exhausted."""
        if self._summary is None:
            msg = f"{self._blocks.path}: read to its end first"
            raise RuntimeError(msg)
        return self._summary

    def __iter__(self) -> Iterator[LogBlock]:
        jobs = self._jobs()
        whole = chain(list(islice(jobs, 1)), jobs)
        # A thread of its own would have to compile every regex anew, which takes longer than a small log's lines.
        made = self._in_threads(whole) if self._blocks.goes_on else (self._work(*job) for job in whole)
        for block, times in made:
            self._times += times
            yield block
        blocks = self._blocks
        self._summary = LogSummary(
            self._format.name if self._format else None,
            blocks.compression,
            blocks.lines,
            blocks.bytes,
            blocks.content_hash,
            blocks.prefix_hash,
            blocks.damaged,
            blocks.unterminated,
            min(self._times, default=None),
            max(self._times, default=None),
        )

    def _in_threads(self, jobs: Iterator[_Job]) -> Iterator[_Made]:
        working: deque[Future[_Made]] = deque()
        with ThreadPoolExecutor(_AT_WORK, thread_name_prefix="log") as pool:
            try:
                for job in jobs:
                    working.append(pool.submit(self._work, *job))
                    while len(working) > _AT_WORK:
                        yield working.popleft().result()
                while working:
                    yield working.popleft().result()
            finally:
                for future in working:
                    future.cancel()

    def _jobs(self) -> Iterator[_Job]:
        """Blocks with their format and the state in which each begins; those before the first line of text have no format."""
        waiting: list[Block] = []
        for block in self._blocks:
            waiting.append(block)
            if self._format is not None or sum(b.end for b in waiting) >= _SNIFFED_BYTES:
                yield from self._ready(waiting)
                waiting = []
        yield from self._ready(waiting)

    def _ready(self, blocks: list[Block]) -> Iterator[_Job]:
        if self._format is None:
            self._format = self._detect(blocks)
        for block in blocks:
            yield block, self._format, self._state
            if self._format is not None:
                self._state = self._format.next_state(self._state, block.whole)

    def _detect(self, blocks: list[Block]) -> LogFormat | None:
        texts = [b.cut.text for b in blocks if b.lines]
        sample = _not_blank([_spread(t) for t in texts]) or _not_blank(texts)
        if not sample:
            return None
        site = self._options.site
        custom = (site.format_regex, site.format_time) if site.format_regex else None
        return sniff.detect(sample, forced=site.format, custom=custom)

    def _work(self, block: Block, log_format: LogFormat | None, state: str | None) -> _Made:
        if block.long_line is not None:
            return _too_long(block.long_line), []
        lines = block.cut
        hashes = lines.text.to_frame("text").select(hashed("text")).to_series()
        rows = self._rows(lines, block, log_format, state)
        content = rows.filter(pl.col("outcome").is_null())
        spam = self._lookups.spam(content.get_column("referrer")).alias("spam")
        content = content.with_columns(spam).with_columns(
            outcome=outcomes.of_content(self._options.settings.platform.start_date)
        )
        counted = pl.concat(
            [f.select("day", "outcome", "line") for f in (rows.filter(pl.col("outcome").is_not_null()), content)]
        )
        hits = to_hits(
            content.filter(pl.col("outcome") == "hit"),
            self._visitors,
            store_ips=self._options.settings.rules.store_ips,
        )
        times = rows.select(pl.col("time").min().alias("first"), pl.col("time").max().alias("last")).row(0)
        count = _count(counted)
        made = LogBlock(
            hits,
            count,
            _rejects(rows, lines.whole) if "invalid" in count["outcome"] else schemas.REJECTS.empty(),
            _sampled(hashes.drop_nulls()),
            dropped(counted, rows, lines.whole, None if self._options.every_drop else EXAMPLES),
        )
        return made, [t for t in times if t is not None]

    def _rows(self, lines: Lines, block: Block, log_format: LogFormat | None, state: str | None) -> pl.DataFrame:
        site, zone = self._options.site, self._options.settings.platform.time_zone
        rows = parse(lines, log_format, state, zone)
        # Many lines ask for the same path.
        paths = Distinct(rows.get_column("path"))
        told = paths.values.to_frame("path").select(path_hash=hashed("path"), **outcomes.of_path(site.exclude))
        return rows.with_columns(paths.spread(column) for column in told).with_columns(
            pl.int_range(block.first_line, block.first_line + len(lines), dtype=pl.Int64).alias("line"),
            outcomes.by_line().alias("outcome"),
        )


def _spread(text: pl.Series) -> pl.Series:
    """The first lines and others from all over the block."""
    head = min(_SNIFFED_LINES // 4, text.len())
    return pl.concat([text.head(head), text[head:].gather_every(max(1, (text.len() - head) // _SNIFFED_LINES))])


def _not_blank(texts: list[pl.Series]) -> list[str]:
    return [line for text in texts for line in text.to_list() if line is not None and line.strip()]


def _check(site: Site) -> None:
    """Settings check patterns by Python's rules; the lines are matched by Rust's, which know no look-around."""
    for pattern in site.exclude:
        try:
            pl.Series([""]).str.contains(pattern)
        except pl.exceptions.PolarsError as e:
            msg = (
                f"sites: id {site.id}: exclude: {pattern!r} can't be used here (no look-around, no back-reference): {e}"
            )
            raise SettingsError(msg) from e


def read_log(path: Path | str, options: ReadOptions) -> LogReader:
    """The log's blocks, to be iterated once; `.summary` afterwards."""
    return LogReader(path, options)


def sample_of(samples: list[pl.Series]) -> pl.Series:
    """A log's sample from its blocks': every hash below SAMPLE_BELOW, or the SAMPLE_LEAST smallest if those are more. Sorted."""
    hashes = pl.concat([pl.Series("sample", [], pl.UInt64), *samples]).unique().sort()
    return hashes.head(max(SAMPLE_LEAST, int((hashes < SAMPLE_BELOW).sum())))


def _sampled(hashes: pl.Series) -> pl.Series:
    below = hashes.filter(hashes < SAMPLE_BELOW)
    return pl.concat([below, hashes.bottom_k(SAMPLE_LEAST)]).unique().sort().alias("sample")


_COUNTS = pl.Schema({"day": pl.Date, "outcome": pl.String, "lines": pl.Int64})


def _count(counted: pl.DataFrame) -> pl.DataFrame:
    found = counted.group_by("day", "outcome").agg(pl.len().cast(pl.Int64).alias("lines"))
    return found.cast({"outcome": pl.String}).sort("day", "outcome")


def _too_long(long_line: LongLine) -> LogBlock:
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
