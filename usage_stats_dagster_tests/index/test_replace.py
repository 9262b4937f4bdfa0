"""A period is replaced as a whole, once, and survives what happens to its writer."""

import json
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

import orjson
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usage_stats_dagster.documents.contract import to_source
from usage_stats_dagster.index.embedded import EmbeddedIndex
from usage_stats_dagster.index.interface import (
    DocumentIndexError,
    IndexBusyError,
    IndexFileError,
    IndexReport,
    Replacement,
    Selection,
    month_end,
)
from usage_stats_dagster.schemas import SchemaMismatchError
from usage_stats_dagster_tests.index.documents import IDENTIFIERS, document, frame

ROOT = Path(__file__).parents[2]
D1, D2 = date(2025, 3, 1), date(2025, 3, 2)


@pytest.fixture
def embedded(tmp_path):
    with EmbeddedIndex(tmp_path / "index.db") as opened:
        yield opened


def day_of(day: date, n: int, views: int = 1, idsite: int = 1) -> pl.DataFrame:
    return frame(*(document(idsite, day, f"oai:host:{i}", {"br": views}) for i in range(n)))


def views(index, **where) -> int:
    return index.totals(Selection(**where))["views"].item()


def test_the_same_twice_changes_nothing(index):
    assert index.replace(1, D1, D1, day_of(D1, 5)) == IndexReport(inserted=5)
    before = index.sources()
    assert index.replace(1, D1, D1, day_of(D1, 5).reverse()) == IndexReport(unchanged=5)
    assert index.sources().equals(before)


@pytest.mark.parametrize("change", ["DELETE FROM documents", "UPDATE documents SET views = 7"])
def test_documents_that_another_program_changed_are_written_anew(embedded, change):
    both = pl.concat([day_of(D1, 5), day_of(D2, 2)])
    embedded.replace(1, D1, D2, both)
    before = embedded.sources()
    with sqlite3.connect(embedded.path) as other:
        first = "SELECT min(document) FROM documents WHERE date = (SELECT min(date) FROM documents)"
        assert other.execute(f"{change} WHERE document = ({first})").rowcount == 1
    report = embedded.replace(1, D1, D2, both)
    assert (report.inserted + report.updated, report.unchanged) == (5, 2)
    assert embedded.sources().equals(before)
    assert embedded.replace(1, D1, D2, both) == IndexReport(unchanged=7)


def test_a_replacement_counts_what_it_did(index):
    index.replace(1, D1, D2, pl.concat([day_of(D1, 3), day_of(D2, 2)]))
    new = frame(
        document(1, D1, "oai:host:0", {"br": 1}),  # as it was
        document(1, D1, "oai:host:1", {"br": 9}),
        document(1, D1, "oai:host:7", {"fr": 1}),
    )
    report = index.replace(1, D1, D2, pl.concat([new, day_of(D2, 2)]))
    assert report == IndexReport(inserted=1, updated=1, unchanged=3, removed=1)
    assert report.documents == 5
    assert index.by_site(by="day")["views"].to_list() == [11, 2]
    assert index.by_country()["country"].to_list() == ["br", "fr"]


def test_an_empty_day_removes_only_that_site_and_day(index):
    for site in (1, 2):
        index.replace(site, D1, D2, pl.concat([day_of(D1, 3, idsite=site), day_of(D2, 2, idsite=site)]))
    assert index.replace(1, D1, D1, frame()) == IndexReport(removed=3)
    counts = index.by_site(by="day").select("idsite", "period", "documents").rows()
    assert counts == [(1, D2, 2), (2, D1, 3), (2, D2, 2)]
    assert index.by_country(Selection(sites=(1,)))["documents"].to_list() == [2]


def test_one_grain_a_month(index):
    month = (D1, date(2025, 3, 31))
    april = date(2025, 4, 1)
    index.replace(1, D1, april, pl.concat([day_of(D1, 3), day_of(D2, 2), day_of(april, 1)]))
    assert index.replace(1, *month, day_of(D1, 4, views=10), grain="month") == IndexReport(1, 3, 0, 2)
    assert views(index) == 41
    # A day in the middle of a month that was indexed monthly: the monthly documents go, though dated before it.
    day = date(2025, 3, 15)
    assert index.replace(1, day, day, day_of(day, 2)) == IndexReport(inserted=2, removed=4)
    assert views(index, start=D1, end=month[1]) == 2
    assert views(index) == 3


def test_sources_are_kept_byte_for_byte(index):
    documents = frame(*(document(1, D1, i, {"br": 1, "ar": 2}) for i in IDENTIFIERS))
    index.replace(1, D1, D1, documents)
    stored = {s["identifier"]: s for s in map(json.loads, index.sources()["source"])}
    assert stored.keys() == set(IDENTIFIERS)
    expected = {**documents.row(2, named=True), "date": "2025-03-01T00:00:00"}
    assert stored[IDENTIFIERS[2]] == expected
    assert list(stored[IDENTIFIERS[2]]) == list(expected)


def test_sources_are_made_again_as_they_were_sent(embedded):
    """Countries missing or out of order, figures missing, none at all: whatever was sent comes back."""
    countries = st.lists(st.sampled_from(["br", "ar", "xx", None]), max_size=3, unique=True)

    @settings(deadline=None, derandomize=True, max_examples=50)
    @given(st.lists(st.tuples(st.text(max_size=3), countries), max_size=4), st.booleans())
    def check(items, whole):
        rows = []
        for n, (text, names) in enumerate(items):
            row = document(1, D1, f"{n}{text}", {"br": n})
            row["stats_by_country"] = [{**row["stats_by_country"][0], "country": c} for c in names]
            rows.append(row if whole else row | {"level": None, "views": None})
        embedded.replace(1, D1, D1, frame(*rows))
        found = dict(embedded.sources().select("id", "source").iter_rows())
        assert found == dict(zip(frame(*rows)["id"], to_source(frame(*rows)), strict=True))

    check()


def test_a_site_made_anew_has_just_what_is_given(index):
    for site in (1, 2):
        index.replace(site, D1, D2, pl.concat([day_of(D1, 3, idsite=site), day_of(D2, 2, idsite=site)]))
    april = date(2025, 4, 1)
    assert index.rebuild(1, [day_of(D1, 4, views=7), day_of(april, 1), frame()]) == 5
    assert index.by_site(by="day").select("idsite", "period", "documents", "views").rows() == [
        (1, D1, 4, 28), (1, april, 1, 1), (2, D1, 3, 3), (2, D2, 2, 2),
    ]  # fmt: skip
    assert index.replace(1, D1, D1, day_of(D1, 4, views=7)) == IndexReport(unchanged=4)
    assert index.replace(1, D1, D1, day_of(D1, 3, views=7)) == IndexReport(unchanged=3, removed=1)
    assert index.rebuild(1, []) == 0
    assert index.by_site()["idsite"].to_list() == [2]
    with pytest.raises(ValueError, match="other sites"):
        index.rebuild(1, [day_of(D1, 1, idsite=2)])
    assert index.by_site()["idsite"].to_list() == [2]


@given(st.lists(st.text(min_size=1), min_size=1, unique=True), st.none() | st.integers(0, 2**40))
def test_the_indexed_json_is_the_contract_s(identifiers, figure):
    documents = frame(*(document(1, D1, i, {"br": 1}, total_item_requests=figure) for i in identifiers))
    written = documents.with_columns(pl.col("date").dt.strftime("%Y-%m-%dT00:00:00"))
    assert [s.encode() for s in to_source(documents)] == [orjson.dumps(row) for row in written.iter_rows(named=True)]


@pytest.mark.parametrize(
    ("change", "arguments", "says"),
    [
        ({}, {"idsite": 2}, "other sites"),
        ({}, {"start": D2, "end": D2}, "dated outside"),
        ({}, {"start": D2, "end": D1}, "after its end"),
        ({}, {"grain": "month"}, "whole months"),
        ({"id": pl.lit("same")}, {}, "same id"),
        ({"month": pl.lit(7, pl.Int32)}, {}, "year, month and day"),
        ({"identifier": pl.lit(None, pl.String)}, {}, "without id or identifier"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_changes(index, change, arguments, says):
    index.replace(1, D1, D1, day_of(D1, 1))
    call = {"idsite": 1, "start": D1, "end": D1, "documents": day_of(D1, 2).with_columns(**change), **arguments}
    with pytest.raises(ValueError, match=says):
        index.replace(**call)
    assert views(index) == 1


def test_another_schema_is_refused(index):
    with pytest.raises(SchemaMismatchError, match="views"):
        index.replace(1, D1, D1, day_of(D1, 1).drop("views"))


def test_a_killed_writer_leaves_the_old(tmp_path):
    path = tmp_path / "index.db"
    with EmbeddedIndex(path) as index:
        index.replace(1, D1, D1, day_of(D1, 300))
    # The process dies by SIGKILL inside the transaction, after all but the last statement.
    writer = f"""
import os, signal
from datetime import date
from usage_stats_dagster.index import embedded
from usage_stats_dagster_tests.index.test_replace import day_of, D1
insert = embedded._insert
def insert_and_die(db, new):
    db.execute("PRAGMA cache_size = 10")  # spill to the log before the commit
    insert(db, new)
    os.kill(os.getpid(), signal.SIGKILL)
embedded._insert = insert_and_die
embedded.EmbeddedIndex({str(path)!r}).replace(1, D1, D1, day_of(D1, 500, views=7))
"""
    died = subprocess.run([sys.executable, "-c", writer], check=False, cwd=ROOT)
    assert died.returncode == -signal.SIGKILL
    with EmbeddedIndex(path) as index:
        assert views(index) == 300
        assert index._db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert index.replace(1, D1, D1, day_of(D1, 500, views=7)) == IndexReport(inserted=200, updated=300)


def test_readers_of_another_process_see_whole_states_only(tmp_path):
    path = tmp_path / "index.db"
    sizes = (40, 90)  # documents of the two states; every document has as many views
    with EmbeddedIndex(path) as index:
        index.replace(1, D1, D1, day_of(D1, sizes[0], views=sizes[0]))
        reader = f"""
from usage_stats_dagster.index.embedded import EmbeddedIndex
index = EmbeddedIndex({str(path)!r}, create=False)
print("ready", flush=True)
seen, rounds = set(), 0
while rounds < 100 or len(seen) < 2:
    rounds += 1
    figures = index.totals(), index.by_country()
    seen |= {{tuple(f.select("documents", "views").row(0)) for f in figures}}
print(sorted(seen))
"""
        process = subprocess.Popen([sys.executable, "-c", reader], stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert process.stdout.readline() == "ready\n"
        turn = 0
        while process.poll() is None:
            turn += 1
            size = sizes[turn % 2]
            index.replace(1, D1, D1, day_of(D1, size, views=size))
        assert process.returncode == 0
        assert turn > 1
        assert process.stdout.read() == f"{[(n, n * n) for n in sizes]}\n"


def test_two_writers_wait_for_each_other(tmp_path):
    path = tmp_path / "new" / "index.db"  # both make the file, too
    writer = "from usage_stats_dagster_tests.index.test_replace import *; import sys; s = int(sys.argv[1])\n"
    writer += f"i = EmbeddedIndex({str(path)!r})\nfor d in (D1, D2) * 5: i.replace(s, d, d, day_of(d, 20, idsite=s))"
    both = [subprocess.Popen([sys.executable, "-c", writer, str(s)], cwd=ROOT) for s in (1, 2)]
    assert [p.wait() for p in both] == [0, 0]
    with EmbeddedIndex(path, create=False) as index:
        assert index.by_site()["documents"].to_list() == [40, 40]


def test_together_is_as_one_after_the_other(index, tmp_path):
    """Sites with and without gaps between their days, a month in place of days; new, changed, and as it is."""
    month = day_of(D1, 4, idsite=3), day_of(date(2025, 4, 1), 3, idsite=3)
    days = [(2, 3, D1), (1, 5, D2), (2, 4, date(2025, 3, 5)), (1, 2, D1), (2, 6, date(2025, 3, 6)), (4, 0, D1)]
    together = [Replacement(s, d, d, day_of(d, n, idsite=s)) for s, n, d in days]
    together += [Replacement(3, d["date"][0], month_end(d["date"][0]), d, "month") for d in month]
    changed = [replace(r, documents=r.documents[1:].with_columns(views=pl.col("views") + 1)) for r in together[::2]]
    back = [
        Replacement(3, D2, D2, day_of(D2, 2, idsite=3)),
        Replacement(3, date(2025, 3, 3), date(2025, 3, 3), frame()),
    ]
    with EmbeddedIndex(tmp_path / "one by one.db") as other:
        for some in (together, changed, together, together, back):
            expected = [other.replace(r.idsite, r.start, r.end, r.documents, grain=r.grain) for r in some]
            assert index.replace_together(some) == expected
            assert index.sources().equals(other.sources())
    assert index.replace_together([]) == []


def test_a_writer_that_waits_too_long_says_for_whom(tmp_path):
    path = tmp_path / "index.db"
    with EmbeddedIndex(path, timeout=0.05) as index, EmbeddedIndex(path) as other:
        other._db.execute("BEGIN IMMEDIATE")
        with pytest.raises(IndexBusyError, match="another process"):
            index.replace(1, D1, D1, day_of(D1, 1))
        assert views(index) == 0
        other._db.execute("ROLLBACK")
        assert index.replace(1, D1, D1, day_of(D1, 1)).inserted == 1


def test_a_full_disk_leaves_the_old(embedded):
    embedded.replace(1, D1, D1, day_of(D1, 10))
    pages = embedded._db.execute("PRAGMA page_count").fetchone()[0]
    embedded._db.execute(f"PRAGMA max_page_count = {pages + 5}")
    with pytest.raises(DocumentIndexError, match="can't grow"):
        embedded.replace(1, D1, D1, day_of(D1, 1000, views=2))
    assert views(embedded) == 10


def test_threads_share_an_index(index):
    days = [date(2025, 3, n) for n in range(1, 9)]
    threads = [threading.Thread(target=index.replace, args=(1, d, d, day_of(d, 10))) for d in days]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert index.by_site(by="day")["documents"].to_list() == [10] * 8


def test_files_that_are_no_index(tmp_path):
    missing, text, other, later = (tmp_path / n for n in ("missing.db", "text.db", "other.db", "later.db"))
    text.write_text("not a database, but long enough to be taken for one " * 40)
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE ledger (a)")
    EmbeddedIndex(later).close()
    with sqlite3.connect(later) as db:
        db.execute("PRAGMA user_version = 99")
    for path, says in (
        (missing, "no index at"),
        (text, "no index of documents"),
        (other, "no index"),
        (later, "version 99"),
    ):
        with pytest.raises(IndexFileError, match=says) as e:
            EmbeddedIndex(path, create=path is not missing)
        assert str(path) in str(e.value)
    assert not missing.exists()
    with sqlite3.connect(other) as db:
        assert db.execute("SELECT name FROM sqlite_schema").fetchall() == [("ledger",)]


def test_two_hundred_small_sites_are_quick(embedded):
    small = [day_of(D1, 5, idsite=s) for s in range(1, 201)]
    start = time.process_time()
    for s, documents in enumerate(small, start=1):
        embedded.replace(s, D1, D1, documents)
    assert time.process_time() - start < 200 * 0.02  # about 4 ms each on an idle machine
    assert embedded.totals()["documents"].item() == 1000
