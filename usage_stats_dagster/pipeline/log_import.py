"""One log into the lake: its hits by day, its rejects, its manifest; all of it or nothing.

What belongs here: writing what `logs.read` yields, and the commit. What does not: deciding whether a file is to be
imported (`imports.py`), reading it (`logs/`).

Order of the commit: hits of every day, rejects, sample, then the log's manifest in the lake (from which `doctor` can
rebuild the ledger), then the ledger in one transaction. Stages read only hits that the ledger names by hash, so a
crash in between shows nothing half done; the next run imports the log again and writes the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import orjson
import polars as pl

from usage_stats_dagster.lake.storage import Location
from usage_stats_dagster.lake.store import Lake, LakeError
from usage_stats_dagster.lake.writer import TableWriter
from usage_stats_dagster.ledger.tables import LogStatus
from usage_stats_dagster.logs.discover import FoundLog
from usage_stats_dagster.logs.drops import first_drops
from usage_stats_dagster.logs.identity import Head
from usage_stats_dagster.logs.judge import sample_of
from usage_stats_dagster.logs.read import LogReader
from usage_stats_dagster.schemas import HITS, REJECTS, Table

_PENDING_ROWS = 1_000_000
_MOST_DROPS = 500
"""Examples of lines that are no hits, in a log's manifest."""

_MANY_DROPS = 100
"""Blocks whose examples wait to be chosen from."""

COVER_SHARE = 0.05
"""A log covers a day when it has at least this share of its busiest day's lines there: less is spill over midnight."""

SAMPLES = Table("samples", "one row a sampled line", {"hash": pl.UInt64}, {"hash": "stable hash of the raw line"})


@dataclass
class ImportedLog:
    """A log parsed into temporary files, not yet committed."""

    found: FoundLog
    head: Head
    reader: LogReader
    hits: dict[date, TableWriter]
    rejects: TableWriter
    sample: pl.Series
    outcomes: pl.DataFrame
    robots: dict[date, int]
    drops: pl.DataFrame
    messages: list[str] = field(default_factory=list)

    @property
    def days(self) -> list[date]:
        """Days on which the log has lines, in order."""
        return sorted({d for d in self.outcomes["day"].to_list() if d is not None})

    def discard(self) -> None:
        """Removes the temporary files."""
        for w in (*self.hits.values(), self.rejects):
            w.discard()

    def commit(
        self, lake: Lake, import_version: str, old_identities: list[str], settings: dict[str, str]
    ) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
        """Puts everything in place; returns the ledger's rows (log, summary by outcome and day, days).

        `settings` are the parts of the import version by name, for whoever asks later what the log was imported under.
        Raises LakeError when the lake can't be written.
        """
        with written_to(lake):
            return self._commit(lake, import_version, old_identities, settings)

    def _commit(
        self, lake: Lake, import_version: str, old_identities: list[str], settings: dict[str, str]
    ) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
        idsite, identity, s = self.found.idsite, self.head.identity, self.reader.summary
        for w in self.hits.values():
            w.commit()
        if self.rejects.rows:
            self.rejects.commit()
        else:
            self.rejects.file.unlink(missing_ok=True)  # of an earlier import
        with lake.file_writer(SAMPLES, side_file(lake, "samples", idsite, identity, "parquet")) as w:
            w.append(self.sample.rename("hash").to_frame())
            w.commit()
        for name in {*old_identities, identity}:
            for day in stored_days(lake, idsite, name):
                if name != identity or day not in self.hits:
                    folder = lake.folder(HITS, idsite, day)
                    (folder / f"{name}.parquet").unlink(missing_ok=True)
            if name != identity:
                remove_side_files(lake, idsite, name)
        status = LogStatus.PARTIAL if s.damaged or s.unterminated else LogStatus.LOADED
        values = {
            "idsite": idsite,
            "identity": identity,
            "head_length": len(self.head.data),
            "status": int(status),
            "name": self.found.path.name,
            "path": str(self.found.path),
            "server": self.found.server,
            "log_date": self.found.log_date,
            "compression": s.compression,
            "format": s.format,
            "bytes": s.bytes,
            "lines": s.lines,
            "content_hash": s.content_hash,
            "first_time": _naive(s.first_time),
            "last_time": _naive(s.last_time),
            "import_version": import_version,
            "message": "; ".join([*([s.damaged] if s.damaged else []), *self.messages]) or None,
        }
        outcomes = self.outcomes.to_dicts()
        days = self._day_rows()
        manifest = {
            "log": values,
            "outcomes": outcomes,
            "days": days,
            "settings": settings,
            "drops": self.drops.to_dicts(),
        }
        lake.put_bytes(
            side_file(lake, "imports", idsite, identity, "json"), orjson.dumps(manifest, option=orjson.OPT_SORT_KEYS)
        )
        return values, outcomes, days

    def _day_rows(self) -> list[dict[str, Any]]:
        by_day = dict.fromkeys(self.days, 0)
        for day, _, lines in self.outcomes.iter_rows():
            if day is not None:
                by_day[day] += lines
        busiest = max(by_day.values(), default=0)
        rows = []
        for day, lines in by_day.items():
            w = self.hits.get(day)
            covers = lines >= COVER_SHARE * busiest
            rows.append(
                {
                    "day": day,
                    "lines": lines,
                    "hits": w.rows if w else 0,
                    "robots": self.robots.get(day, 0),
                    "covers": covers,
                    "hits_hash": w.content_hash if w else "",
                }
            )
        return rows


@contextmanager
def written_to(lake: Lake) -> Iterator[None]:
    """A full or failing disk under the lake is no fault of the log that is being read: it stops the run as a LakeError."""
    try:
        yield
    except OSError as e:
        msg = f"{lake.root}: can't be written ({e.strerror or e}): make room, or make it writable, and run again; nothing is half done"
        raise LakeError(msg) from e


def parse_log(lake: Lake, found: FoundLog, head: Head, reader: LogReader, progress: Any) -> ImportedLog:  # noqa: ANN401
    """Reads a log to its end into temporary files. Raises what the reader raises, or LakeError, after removing them."""
    idsite, identity = found.idsite, head.identity
    hits: dict[date, TableWriter] = {}
    rejects = lake.file_writer(REJECTS, side_file(lake, "rejects", idsite, identity, "parquet"))
    outcomes: list[pl.DataFrame] = []
    samples: list[pl.Series] = []
    drops: list[pl.DataFrame] = []
    robots: dict[date, int] = {}
    done = 0
    try:
        for block in reader:
            outcomes.append(block.outcomes)
            samples.append(block.sample)
            drops.append(block.drops)
            if len(drops) > _MANY_DROPS:
                drops = [first_drops(drops, _MOST_DROPS)]
            with written_to(lake):
                if block.rejects.height:
                    rejects.append(block.rejects)
                for day, part in _by_day(block.hits.with_columns(pl.lit(identity).alias("log_identity"))):
                    if day not in hits:
                        hits[day] = lake.file_writer(HITS, lake.hits_file(HITS, idsite, day, identity))
                    hits[day].append(part)
                    robots[day] = robots.get(day, 0) + part.height - part["robot"].null_count()
                while sum(w.pending_rows for w in hits.values()) > _PENDING_ROWS:
                    max(hits.values(), key=lambda w: w.pending_rows).flush()
            done += int(block.outcomes["lines"].sum())
            progress(found.path.name, done, 0)
        with written_to(lake):
            for w in (*hits.values(), rejects):
                if w.rows:
                    w.close()
    except BaseException:
        for w in (*hits.values(), rejects):
            w.discard()
        raise
    kept = first_drops(drops, _MOST_DROPS)
    return ImportedLog(found, head, reader, hits, rejects, sample_of(samples), _summed(outcomes), robots, kept)


def _summed(outcomes: list[pl.DataFrame]) -> pl.DataFrame:
    """The lines by day and outcome, of all blocks."""
    if len(outcomes) == 1:
        return outcomes[0]
    empty = pl.DataFrame(schema={"day": pl.Date, "outcome": pl.String, "lines": pl.Int64})
    return pl.concat([empty, *outcomes]).group_by("day", "outcome").agg(pl.col("lines").sum()).sort("day", "outcome")


def _by_day(hits: pl.DataFrame) -> Iterator[tuple[date, pl.DataFrame]]:
    """The hits of each day, in order; a block within one day, as nearly all are, is not copied for it."""
    first, last = hits["day"].min(), hits["day"].max()
    if first == last:
        if hits.height:
            yield first, hits.drop("day")  # type: ignore[misc]
        return
    parts = hits.partition_by("day", as_dict=True, include_key=False, maintain_order=True)
    yield from ((day, part) for (day,), part in parts.items())


def side_file(lake: Lake, kind: str, idsite: int, identity: str, suffix: str) -> Location:
    """Where a log's manifest (imports), rejects or sample of lines lie."""
    return lake.root / kind / f"idsite={idsite}" / f"{identity}.{suffix}"


def remove_side_files(lake: Lake, idsite: int, identity: str) -> None:
    """Removes manifest, rejects and sample of a log that has taken another identity."""
    for kind, suffix in (("imports", "json"), ("rejects", "parquet"), ("samples", "parquet")):
        side_file(lake, kind, idsite, identity, suffix).unlink(missing_ok=True)


def stored_days(lake: Lake, idsite: int, identity: str) -> list[date]:
    """The days for which the log's manifest says that it has hits."""
    try:
        manifest = orjson.loads(side_file(lake, "imports", idsite, identity, "json").read_bytes())
    except (FileNotFoundError, orjson.JSONDecodeError):
        return []
    return [date.fromisoformat(d["day"]) for d in manifest["days"] if d["hits"]]


def _naive(time: datetime | None) -> datetime | None:
    return time.replace(tzinfo=None) if time else None
