"""OpenSearch: other programs that ask the site's name see whole states, whatever happens to writer, server and network."""

import http.client
import signal
import subprocess
import sys
import threading
import time
import urllib.error
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from usage_stats_dagster.index.interface import DocumentIndexError, IndexBusyError, IndexReport, Replacement, Selection
from usage_stats_dagster.index.opensearch import http as requests
from usage_stats_dagster.index.opensearch import lease as leases
from usage_stats_dagster.index.opensearch import replace as replacing
from usage_stats_dagster.index.opensearch.bulk import RefusedItemsError
from usage_stats_dagster.index.opensearch.http import IndexUnreachableError, OpenSearchHttp
from usage_stats_dagster.index.opensearch.index import OpenSearchIndex
from usage_stats_dagster.schemas import METRICS
from usage_stats_dagster_tests.index.documents import document, frame
from usage_stats_dagster_tests.index.proxy import proxy
from usage_stats_dagster_tests.index.test_questions import compare
from usage_stats_dagster_tests.opensearch_server import call, private_server, removed, section

pytestmark = pytest.mark.services
ROOT = Path(__file__).parents[2]
D1, D2 = date(2025, 3, 1), date(2025, 3, 2)
SUMS = {"size": 0, "track_total_hits": True, "aggs": {m: {"sum": {"field": m}} for m in METRICS[:3]}}


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    """As many tries, sooner: servers here are up again within seconds."""
    monkeypatch.setattr(requests, "_FIRST_PAUSE", 0.02)
    monkeypatch.setattr(requests, "_LONGEST_PAUSE", 0.5)


@pytest.fixture
def options(opensearch):
    made = section(opensearch, patience_seconds=60, bulk_documents=40)
    yield made
    removed(made)


def state(size: int, views: int, day: date = D1) -> pl.DataFrame:
    """A whole state of a day: every document has the same figures, so that a mixture shows in the sums."""
    return frame(*(document(1, day, f"oai:host:{n}", {"br": views}) for n in range(size)))


def put(index, size: int, views: int) -> list[IndexReport]:
    """The state, half of it on each of two days that are replaced together."""
    both = state(size // 2, views), state(size - size // 2, views, D2)
    return index.replace_together([Replacement(1, d, d, of_day) for d, of_day in zip((D1, D2), both, strict=True)])


def seen_by_others(options, name: str, *, restarts: bool = False) -> tuple[int, int]:
    """Documents and views, as a program that knows nothing of us asks."""
    found = call(options.url, "POST", f"/{options.prefix}-{name}/_search?ignore_unavailable=true", SUMS)
    shards = found["_shards"]
    if restarts and (not shards["total"] or shards["successful"] < shards["total"]):
        raise ConnectionError("a server that has just started says that it answers in part")
    assert shards["successful"] == shards["total"], found
    views = found["aggregations"]["views"]["value"] if "aggregations" in found else 0
    return found["hits"]["total"]["value"], int(views)


@contextmanager
def readers(options, *, restarts: bool = False):
    """Others ask without a pause, by the site's name and by the pattern; yields what they have seen."""
    seen, done, wrong = set(), threading.Event(), []

    def read(name):
        while not done.is_set():
            try:
                seen.add(seen_by_others(options, name, restarts=restarts))
            except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError):
                time.sleep(0.2)  # the server is away: who asked on without a pause would take the writer's turn
            except AssertionError as e:
                wrong.append(e)

    threads = [threading.Thread(target=read, args=(n,)) for n in ("1", "*")]
    for t in threads:
        t.start()
    try:
        yield seen
    finally:
        done.set()
        for t in threads:
            t.join()
    assert not wrong


def test_others_see_whole_states_while_days_are_replaced(options, monkeypatch):
    monkeypatch.setattr(replacing, "_FEW", 100)  # both ways of hiding
    sizes = [(150, 1), (160, 1), (150, 2), (150, 2), (20, 3), (400, 3), (0, 0), (300, 1)]
    with OpenSearchIndex(options) as index, readers(options) as seen:
        for size, views in sizes:
            index.replace(1, D1, D1, state(size, views))
            assert seen_by_others(options, "1") == (size, size * views)
    assert seen <= {(size, size * views) for size, views in [(0, 0), *sizes]}
    assert len(seen) > 3


class KilledError(BaseException):
    """Stands for the process' end: nothing after it is done."""


@pytest.mark.parametrize(
    ("before", "after"), [(None, (60, 1)), ((60, 1), (65, 2)), ((60, 1), (50, 1)), ((30, 1), (120, 2))]
)
def test_a_writer_that_dies_at_any_step_leaves_a_whole_state(options, monkeypatch, before, after):
    monkeypatch.setattr(replacing, "_FEW", 100)
    # The dead give nothing back; their process is known to be gone.
    monkeypatch.setattr(leases.Lease, "__exit__", lambda lease, *_: lease._done.set() or leases._held_here.clear())
    wholes = {(size, size * views) for size, views in (before or (0, 0), after)}
    once, left = OpenSearchHttp.once, 0

    def mortal(self, method, path, *args, **kwargs):
        nonlocal left
        if threading.current_thread() is not threading.main_thread() and "lease-" in path:
            return once(self, method, path, *args, **kwargs)  # a renewal
        if "_search" not in path and method != "GET":
            left -= 1
            if left == 0:
                raise KilledError
        return once(self, method, path, *args, **kwargs)

    monkeypatch.setattr(OpenSearchHttp, "once", mortal)
    with OpenSearchIndex(options) as index:
        for step in range(1, 40):
            left = 0
            put(index, *before or (0, 0))
            left = step
            try:
                put(index, *after)
                died = False
            except KilledError:
                died = True
            left = 0
            size, views = seen_by_others(options, "1")
            assert (size, views) in wholes, step
            shown = after if (size, views) == (after[0], after[0] * after[1]) else before or (0, 0)
            documents = pl.concat([state(shown[0] // 2, shown[1]), state(shown[0] - shown[0] // 2, shown[1], D2)])
            compare(index, documents, Selection(), "day", ("views", 3))  # our own questions see the same, ranked right
            if not died:
                break
        assert step > 5
        put(index, *after)
        assert seen_by_others(options, "1") == (after[0], after[0] * after[1])
        assert len(call(options.url, "GET", f"/_alias/{options.prefix}-1")) == 1


def test_a_killed_process_is_followed_at_once(options):
    with OpenSearchIndex(options) as index:
        index.replace(1, D1, D1, state(50, 1))
        writer = f"""
import os, signal
from usage_stats_dagster.index.opensearch import bulk
from usage_stats_dagster_tests.index.test_opensearch_replace import *
once, n = bulk.Bulk._once, 0
def dying(self, index, lines):
    global n
    n += 1
    if n == 3: os.kill(os.getpid(), signal.SIGKILL)
    return once(self, index, lines)
bulk.Bulk._once = dying
OpenSearchIndex(section({options.url!r}, {options.prefix!r}, bulk_documents=40)).replace(1, D1, D1, state(200, 7))
"""
        died = subprocess.run([sys.executable, "-c", writer], check=False, cwd=ROOT)
        assert died.returncode == -signal.SIGKILL
        assert seen_by_others(options, "1") == (50, 50)
        start = time.monotonic()
        assert index.replace(1, D1, D1, state(200, 7)).documents == 200
        assert time.monotonic() - start < leases.STALE
    assert seen_by_others(options, "1") == (200, 1400)


def test_two_processes_take_turns(options):
    writer = f"""
import sys
from usage_stats_dagster_tests.index.test_opensearch_replace import *
index, views = OpenSearchIndex(section({options.url!r}, {options.prefix!r}, bulk_documents=20)), int(sys.argv[1])
for n in range(5): index.replace(1, D1, D1, state(50 + views, views)), index.replace(1, D2, D2, state(30, 1, D2))
"""
    with OpenSearchIndex(options) as index:
        index.replace(1, D1, D2, pl.concat([state(51, 1), state(30, 1, D2)]))
        with readers(options) as seen:
            both = [subprocess.Popen([sys.executable, "-c", writer, str(v)], cwd=ROOT) for v in (1, 2)]
            assert [p.wait() for p in both] == [0, 0]
        assert seen <= {(51 + 30, 51 + 30), (52 + 30, 104 + 30)}
        assert index.by_site(by="day")["documents"].to_list()[1] == 30


def test_a_lease_whose_holder_has_not_heard_of_it_yet_is_nobody_else_s(options, monkeypatch):
    """A thread sees the lease before the answer to the request that took it reaches the other."""
    taken, looked = threading.Event(), threading.Event()
    ask = OpenSearchHttp.ask

    def slow(self, method, path, *arguments, **more):
        answer = ask(self, method, path, *arguments, **more)
        if method == "PUT" and "lease-" in path and not taken.is_set():
            taken.set()
            assert looked.wait(20)
        return answer

    monkeypatch.setattr(OpenSearchHttp, "ask", slow)
    monkeypatch.setattr(leases.Lease.__init__, "__kwdefaults__", {"patience": 0.3})
    with OpenSearchIndex(options) as index, ThreadPoolExecutor(1) as pool:

        def first():
            with index._leased(1) as lease:
                looked.wait(20)
                lease.check()

        holder = pool.submit(first)
        assert taken.wait(20)
        with pytest.raises(IndexBusyError, match="process"), index._leased(1):
            pass
        looked.set()
        holder.result()


def test_who_waits_too_long_says_for_whom(options, monkeypatch):
    monkeypatch.setattr(leases.Lease.__init__, "__kwdefaults__", {"patience": 0.3})
    with OpenSearchIndex(options) as one, OpenSearchIndex(options) as two, one._leased(1):
        with pytest.raises(IndexBusyError, match="site 1 is being indexed by process"):
            two.replace(1, D1, D1, state(5, 1))
        assert two.replace(2, D1, D1, frame(document(2, D1, "oai:host:1", {"br": 1}))).inserted == 1


def third(path, count, size):
    return "429" if count % 3 == 0 else None


def dropped(path, count, size):
    return "drop" if count % 3 == 0 and "point_in_time" not in path else None


def items(path, count, size):
    return "items"


def large(path, count, size):
    return "413" if size > 10_000 else None


@pytest.mark.parametrize("fault", [third, dropped, items, large])
def test_what_networks_and_full_servers_do(options, fault):
    with (
        proxy(options.url, fault) as between,
        OpenSearchIndex(options.model_copy(update={"url": between.url})) as index,
    ):
        for size, views in ((100, 1), (110, 2), (90, 2)):
            index.replace(1, D1, D1, state(size, views))
            assert seen_by_others(options, "1") == (size, size * views)
        assert index.rebuild(1, [state(70, 3)]) == 70
        assert seen_by_others(options, "1") == (70, 210)
        assert index.items()["views"].to_list() == [3] * 70


def test_refused_documents_are_named_and_the_old_stays(options):
    with OpenSearchIndex(options) as index:
        index.replace(1, D1, D1, state(100, 1))
        wrong = state(100, 2).with_columns(
            identifier_prefix=pl.when(pl.int_range(100) < 7).then(pl.lit("x" * 40_000)).otherwise("identifier_prefix")
        )
        with pytest.raises(RefusedItemsError, match=r"refused \d documents.*_id.*immense term.*more") as e:
            index.replace(1, D1, D1, wrong)
        assert wrong["id"][0] in str(e.value)
        assert seen_by_others(options, "1") == (100, 100)
        assert index.replace(1, D1, D1, state(100, 2)) == IndexReport(updated=100)
        assert seen_by_others(options, "1") == (100, 200)


def test_only_what_changed_is_sent(options):
    with proxy(options.url) as between, OpenSearchIndex(options.model_copy(update={"url": between.url})) as index:
        index.replace(1, D1, D1, state(200, 1))
        between.seen.clear()
        assert index.replace(1, D1, D1, state(200, 1)) == IndexReport(unchanged=200)
        assert {m for m, p, _ in between.seen if "_search" not in p and "_mget" not in p} == {"GET"}
        more = pl.concat([state(200, 1), frame(document(1, D1, "oai:host:new", {"br": 1}))])
        between.seen.clear()
        assert index.replace(1, D1, D1, more) == IndexReport(inserted=1, unchanged=200)
        assert (
            sum(int(h.get("Content-Length", 0)) for _, p, h in between.seen if "_bulk" in p and "state" not in p) < 2000
        )


def test_what_another_program_changed_is_noticed(options):
    with OpenSearchIndex(options) as index:
        index.replace(1, D1, D1, state(50, 1))
        physical = next(iter(call(options.url, "GET", f"/_alias/{options.prefix}-1")))
        call(options.url, "DELETE", f"/{physical}/_doc/{state(1, 1)['id'][0]}?refresh=true")
        assert index.replace(1, D1, D1, state(50, 1)) == IndexReport(inserted=1, updated=49)
        call(options.url, "DELETE", f"/{options.prefix}.state")
        assert index.replace(1, D1, D1, state(60, 1)) == IndexReport(inserted=10, updated=50)


def test_an_index_of_another_program_is_not_touched_unasked(options):
    call(options.url, "PUT", f"/{options.prefix}-1", {"settings": {"number_of_replicas": 0}})
    call(options.url, "PUT", f"/{options.prefix}-1/_doc/theirs?refresh=true", {"views": 3})
    with OpenSearchIndex(options) as index:
        for work in (lambda: index.replace(1, D1, D1, state(5, 1)), lambda: index.rebuild(1, [state(5, 1)])):
            with pytest.raises(DocumentIndexError, match="--replace-foreign"):
                work()
        assert seen_by_others(options, "1") == (1, 3)
        assert index.rebuild(1, [state(5, 1)], replace_foreign=True) == 5
        assert seen_by_others(options, "1") == (5, 5)


def test_unseen_indices_are_swept_away_after_a_while(options, monkeypatch):
    with OpenSearchIndex(options) as index:
        index.rebuild(1, [state(5, 1)])
        index.rebuild(1, [state(6, 1)])
        assert len(call(options.url, "GET", f"/{options.prefix}.site-1-*")) == 2
        monkeypatch.setattr("usage_stats_dagster.index.opensearch.site.GRACE", -1)
        index.replace(1, D1, D1, state(6, 2))  # leaves a staged one, which has its own time to wait
        index.replace(1, D1, D1, state(6, 3))
        assert len(call(options.url, "GET", f"/{options.prefix}.site-1-*")) == 2


@pytest.mark.slow
def test_a_server_killed_in_the_middle_of_a_bulk(monkeypatch):
    with private_server() as server:
        options = section(server.url, patience_seconds=600, bulk_documents=200)
        with OpenSearchIndex(options) as index:
            index.replace(1, D1, D1, state(1000, 1))
            for number, (size, views) in ((signal.SIGKILL, (3000, 2)), (signal.SIGTERM, (2500, 3))):
                before = seen_by_others(options, "1")
                once, sent = OpenSearchHttp.once, [0]

                def once_and_kill(self, method, path, *args, once=once, sent=sent, number=number, **kwargs):
                    answer = once(self, method, path, *args, **kwargs)
                    if "site-1" in path and "/_bulk" in path and "-staged" not in path:
                        sent[0] += 1
                        if sent[0] == 4:
                            server.stop(number)
                            threading.Timer(1, server.start).start()
                    return answer

                monkeypatch.setattr(OpenSearchHttp, "once", once_and_kill)
                with readers(options, restarts=True) as seen:
                    report = index.replace(1, D1, D1, state(size, views))
                monkeypatch.setattr(OpenSearchHttp, "once", once)
                assert sent[0] > 4
                assert report.documents == size
                assert seen <= {before, (size, size * views)}
                assert seen_by_others(options, "1") == (size, size * views)


@pytest.mark.slow
def test_a_server_that_is_away_is_said(monkeypatch):
    options = section("http://127.0.0.1:1", patience_seconds=0.2)
    with OpenSearchIndex(options) as index:
        with pytest.raises(
            IndexUnreachableError, match=r"127\.0\.0\.1:1 does not answer.*start it, or correct index\.url"
        ):
            index.replace(1, D1, D1, state(1, 1))
        with pytest.raises(IndexUnreachableError, match="does not answer"):
            index.totals()
