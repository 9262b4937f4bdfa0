"""Several small logs judged in one go: what is asked of Polars costs more than their lines.

What belongs here: which logs can be judged together, one block of all their lines. What does not: judging (`judge.py`),
reading (`read.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from usage_stats_dagster.logs.blocks import Block
from usage_stats_dagster.logs.formats.base import LogFormat
from usage_stats_dagster.logs.judge import LineJudge
from usage_stats_dagster.logs.lines import PADDING, Lines
from usage_stats_dagster.logs.read import LogReader

Part = tuple[LogReader, Block, LogFormat]


def judge_together(alone: Sequence[Part]) -> None:
    """Has each reader yield what its log came to. All are read in the same format, under settings that decide the same."""
    reader, _, log_format = alone[0]
    blocks = [block for _, block, _ in alone]
    counts = [block.lines for block in blocks]
    data = np.concatenate([b.data[: b.end] for b in blocks] + [np.frombuffer(PADDING, np.uint8)])
    lines = Lines.of_bytes(data, sum(b.end for b in blocks), (sum(counts), all(b.is_ascii for b in blocks)))
    judged = LineJudge(reader.options).of_logs(lines, log_format, counts)
    for (r, _, _), of in zip(alone, judged, strict=True):
        r.judged_as(of)
