"""A site's day is replaced as a whole, and the same rows give the same bytes."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import time
from datetime import date
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest

from usage_stats_dagster.lake.local import LocalStorage
from usage_stats_dagster.lake.lock import LockedError, locked
from usage_stats_dagster.lake.sink import ROW_GROUP
from usage_stats_dagster.lake.store import Lake, LakeError, Manifest
from usage_stats_dagster.lake.writer import TableWriter
from usage_stats_dagster.schemas import METRICS, METRICS_TABLE, SchemaMismatchError

DAY = date(2025, 3, 1)


def rows(n: int, start: int = 0) -> pl.DataFrame:
    ids = pl.int_range(start, start + n, eager=True)
    return pl.DataFrame({"identifier": ids.cast(pl.String)}).with_columns(
        idsite=pl.lit(1, pl.Int32),
        day=pl.lit(DAY),
        country=pl.lit("br"),
        country_item=pl.lit(None, pl.String),
        level=pl.lit("R"),
        rules_version=pl.lit("0"),
        searches=pl.lit(0, pl.Int64),
        **{m: ids.cast(pl.Int64) for m in METRICS},
    )


def commit(lake: Lake, frame: pl.DataFrame, mark: str = "m") -> Manifest:
    with lake.writer(METRICS_TABLE, 1, DAY) as w:
        w.append(METRICS_TABLE.conform(frame.select(*METRICS_TABLE.columns)))
        return lake.commit(w, Manifest("metrics", 1, DAY, mark))


def write(path: Path, whole: pl.DataFrame, cuts: list[int]) -> None:
    with TableWriter(METRICS_TABLE, path, LocalStorage(path.parent)) as w:
        for start, end in pairwise(cuts):
            w.append(whole[start:end].select(*METRICS_TABLE.columns))
        w.commit()


def test_rows_come_back_and_the_manifest_says_what_they_are(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    made = commit(lake, rows(3))
    assert lake.scan(METRICS_TABLE, [(1, DAY), (2, DAY)]).collect()["identifier"].to_list() == ["0", "1", "2"]
    assert lake.manifest(METRICS_TABLE, 1, DAY) == made
    assert (made.rows, made.fingerprint) == (3, "m")
    assert sorted(p.name for p in lake.folder(METRICS_TABLE, 1, DAY).iterdir()) == ["_manifest.json", "part-0.parquet"]
    assert list(lake.days(METRICS_TABLE, 1)) == [DAY]


def test_bytes_do_not_depend_on_how_rows_were_handed_over(tmp_path: Path) -> None:
    whole = rows(ROW_GROUP + 1000)
    files = []
    for name, cuts in (("a", [0, whole.height]), ("b", [0, 7, 100_000, ROW_GROUP + 3, whole.height])):
        write(tmp_path / name / "part-0.parquet", whole, cuts)
        files.append((tmp_path / name / "part-0.parquet").read_bytes())
    assert files[0] == files[1]


def test_rows_that_wait_on_disk_come_in_their_place(tmp_path: Path) -> None:
    whole = METRICS_TABLE.conform(rows(1000).select(*METRICS_TABLE.columns))
    with TableWriter(METRICS_TABLE, tmp_path / "part-0.parquet", LocalStorage(tmp_path)) as w:
        for start in range(0, 1000, 100):
            w.append(whole[start : start + 100])
            if start % 300 == 0:
                w.flush()
                assert w.pending_rows == 0
        w.commit()
    assert pl.read_parquet(tmp_path / "part-0.parquet").equals(whole)
    assert [p.name for p in tmp_path.iterdir()] == ["part-0.parquet"]


def test_a_table_larger_than_the_disk_is_the_disks_error_and_leaves_no_file(tmp_path: Path) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            write(tmp_path / "part-0.parquet", rows(4 * ROW_GROUP), [k * ROW_GROUP for k in range(5)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ranges", [1, 3, 7])
def test_a_split_has_every_row_in_its_range(tmp_path: Path, ranges: int) -> None:
    lake = Lake(str(tmp_path))
    files = []
    for name, start in (("a", 0), ("b", 50)):
        files.append(tmp_path / f"{name}.parquet")
        with lake.file_writer(METRICS_TABLE, files[-1]) as w:
            w.append(rows(100, start).select(*METRICS_TABLE.columns))
            w.commit()
    edges = [150 * k // ranges for k in range(ranges + 1)]
    with lake.split(files, METRICS_TABLE, "views", edges) as parts:
        found = [p.collect()["views"].sort().to_list() for p in parts]
    everything = sorted([*range(100), *range(50, 150)])
    assert found == [[v for v in everything if low <= v < high] for low, high in pairwise(edges)]
    assert not [p for p in tmp_path.iterdir() if p not in files]


def test_a_failed_write_leaves_the_old_rows_and_no_file(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    made = commit(lake, rows(3))
    writer = lake.writer(METRICS_TABLE, 1, DAY)

    def write_and_fail() -> None:
        with writer:
            writer.append(rows(ROW_GROUP + 1).select(*METRICS_TABLE.columns))
            writer.append(rows(1).drop("views"))

    with pytest.raises(SchemaMismatchError):
        write_and_fail()
    assert lake.manifest(METRICS_TABLE, 1, DAY) == made
    assert not lake.temporaries()


def _die_while_writing(root: str) -> None:
    lake = Lake(root)
    w = lake.writer(METRICS_TABLE, 1, DAY)
    w.append(rows(ROW_GROUP + 1).select(*METRICS_TABLE.columns))
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_writer_leaves_the_old_rows_and_the_next_one_removes_its_leftovers(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    made = commit(lake, rows(3))
    child = multiprocessing.get_context("spawn").Process(target=_die_while_writing, args=(str(tmp_path),))
    child.start()
    child.join()
    assert lake.manifest(METRICS_TABLE, 1, DAY) == made
    assert len(lake.temporaries()) == 1
    commit(lake, rows(4), "other")
    assert not lake.temporaries()


def test_a_manifest_that_does_not_fit_its_file_is_none(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    commit(lake, rows(3))
    part = lake.part(METRICS_TABLE, 1, DAY)
    part.write_bytes(part.read_bytes() + b"x")
    assert lake.manifest(METRICS_TABLE, 1, DAY) is None


def test_wrong_columns_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        SchemaMismatchError, match=r"views: is String, should be Int64.*missing \['country'\].*unknown \['bogus'\]"
    ):
        METRICS_TABLE.conform(rows(1).drop("country").with_columns(bogus=1, views=pl.lit("x")))


def test_an_unwritable_root_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LakeError, match=r"can't be written .* set storage\.root"):
        Lake(str(tmp_path / "file" / "lake")).ready()


def _hold(path: str, ready: object) -> None:
    with locked(Path(path)):
        ready.set()  # type: ignore[attr-defined]
        time.sleep(30)


def test_the_lock_names_its_holder_and_dies_with_it(tmp_path: Path) -> None:
    path = tmp_path / "writer.lock"
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    child = context.Process(target=_hold, args=(str(path), ready))
    child.start()
    assert ready.wait(20)
    with pytest.raises(LockedError, match=f"held by process {child.pid}"), locked(path, seconds=0.2):
        pass
    child.kill()
    child.join()
    with locked(path, seconds=5):
        pass
