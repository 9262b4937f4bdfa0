"""One log file to frames of hits, outcomes and rejects, block by block.

What belongs here: the log's format, several blocks at work at a time, and what is known of the log at its end. What does
not: which log it is (`identity.py`), what its lines come to (`judge.py`), where its hits go (`pipeline/log_import.py`).
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path

import polars as pl

from usage_stats_dagster.logs import sniff
from usage_stats_dagster.logs.blocks import Block, BlockReader
from usage_stats_dagster.logs.formats.base import LogFormat
from usage_stats_dagster.logs.judge import Judged, LineJudge, LogBlock, ReadOptions, too_long
from usage_stats_dagster.settings import SettingsError, Site

_AT_WORK = 3
_AHEAD = 2
_SNIFFED_LINES = 500
_SNIFFED_BYTES = 1 << 20


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


class LogReader:
    """Iterates a log's LogBlocks, in order, once; `summary` is there afterwards.

    Raises OSError when the log can't be opened and UnknownFormatError when no format reads it.
    """

    def __init__(self, path: Path | str, options: ReadOptions) -> None:
        _check(options.site)
        self.options = options
        self._blocks = BlockReader(
            path,
            whole_lines_only=options.whole_lines_only,
            block_bytes=options.block_bytes,
            prefix_at=options.prefix_at,
        )
        self._format: LogFormat | None = None
        self._state: str | None = None
        self._judge = LineJudge(options)
        self._begun: tuple[list[_Job], Iterator[_Job]] | None = None
        self._judged: list[Judged] | None = None
        self._working: deque[Future[Judged]] = deque()
        self.then: Callable[[], None] | None = None
        """Called once, when all blocks are read and the last ones are worked on: what comes next may begin."""
        self._times: list[datetime] = []
        self._summary: LogSummary | None = None

    @property
    def summary(self) -> LogSummary:
        """What the log came to; there when its blocks are exhausted."""
        if self._summary is None:
            msg = f"{self._blocks.path}: read to its end first"
            raise RuntimeError(msg)
        return self._summary

    def alone(self) -> tuple[Block, LogFormat] | None:
        """Begins to read: the log's only block and its format, where it has no more, and each line says all by itself.

        It can then be judged with others' (`together.py`), who say what it came to by `judged_as`.
        """
        jobs = self._jobs()
        first = list(islice(jobs, 2))
        self._begun = first, jobs
        if len(first) != 1 or self._blocks.unterminated:
            return None
        block, log_format, _ = first[0]
        if log_format is None or log_format.has_state or block.long_line is not None or block.has_mark:
            return None
        return block, log_format

    def ahead(self) -> None:
        """Begins to read, and to work on the first blocks, while the log before this one comes to its end."""
        jobs = self._jobs()
        for job in islice(jobs, _AHEAD):
            self._working.append(_pool(os.getpid()).submit(self._work, *job))
        self._begun = [], jobs

    @property
    def held(self) -> int:
        """Bytes of lines that `alone` has read."""
        return sum(block.end for block, _, _ in self._begun[0]) if self._begun else 0

    def judged_as(self, judged: Judged) -> None:
        """What the log's only block came to."""
        self._judged = [judged]

    def __iter__(self) -> Iterator[LogBlock]:
        for block, times in self._made():
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

    def _made(self) -> Iterator[Judged]:
        if self._judged is not None:
            return iter(self._judged)
        jobs = self._jobs()
        first, rest = self._begun or (list(islice(jobs, 1)), jobs)
        whole = chain(first, rest)
        # Of one block, in this thread: its caller may have several such logs at work.
        return self._in_threads(whole) if self._blocks.goes_on or self._working else self._here(whole)

    def _here(self, jobs: Iterator[_Job]) -> Iterator[Judged]:
        every = list(jobs)
        self._all_read()
        yield from (self._work(*job) for job in every)

    def _all_read(self) -> None:
        then, self.then = self.then, None  # it knows of this log: a circle would keep both
        if then is not None:
            then()

    def _in_threads(self, jobs: Iterator[_Job]) -> Iterator[Judged]:
        pool, working = _pool(os.getpid()), self._working
        try:
            for job in jobs:
                working.append(pool.submit(self._work, *job))
                while len(working) > _AT_WORK:
                    yield working.popleft().result()
            self._all_read()
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
        site = self.options.site
        custom = (site.format_regex, site.format_time) if site.format_regex else None
        return sniff.detect(sample, forced=site.format, custom=custom)

    def _work(self, block: Block, log_format: LogFormat | None, state: str | None) -> Judged:
        if block.long_line is not None:
            return too_long(block.long_line), []
        return self._judge.of_block(block.cut, log_format, state, block.first_line)


@lru_cache(maxsize=1)
def _pool(process: int) -> ThreadPoolExecutor:
    """One for all logs: a new thread has to compile every regex anew, 40 ms. A forked process has none of its parent's threads."""
    del process
    return ThreadPoolExecutor(_AT_WORK, thread_name_prefix="log")


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
