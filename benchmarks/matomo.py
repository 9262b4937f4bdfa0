"""A month of a Matomo's database to documents: ours, the pandas way, and the server's own floor, in one run.

`python -m benchmarks.matomo [--sizes 1,10] [--repeat 1]`

The database is LA Referencia's synthetic month (`fixtures/lareferencia/matomo_s.sql.gz`, site 1), and the same with ten
times the visits, made by SQL. USAGE_STATS_TEST_MARIADB names a server; without it a private one is started. Ours is
`usage-stats run --plain` as a user runs it: the lake's tables by day, metrics by day and the index included. The pandas way
(`benchmarks.matomo_pandas`) keeps what it read by day, makes the same documents, and has neither of the other two; the run
fails where the sums of any of the eight figures differ. Both are shown as whole processes, and without start-up: from the
first query to the documents (ours: to the index), after packages are imported.

`mariadb --quick` asks for the same rows in plain SQL, names of actions joined. Beside it stands the stage that reads
them, which also computes both tables and stores them.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.matomo_pandas import FIGURES
from benchmarks.measure import (
    Cost,
    FailedRunError,
    best,
    environment,
    machine,
    measure,
    megabytes,
    table,
    usage_stats,
    workspace,
)
from usage_stats_dagster.matomo import queries
from usage_stats_dagster.matomo.columns import read_columns
from usage_stats_dagster.matomo.database import Database
from usage_stats_dagster.matomo.queries import Period
from usage_stats_dagster_tests.services import MariaDB, mariadb_server

FIRST, LAST, SITE = date(2025, 6, 1), date(2025, 6, 30), 1
SETTINGS = """
[matomo]
mode = "database"
database_url = "{url}"
[[sites]]
id = 1
level = "L"
grain = "month"
"""


def scaled(server: MariaDB, times: int) -> str:
    """The month with so many times its visits: ids and visitors shifted, everything else as it is."""
    server.load("matomo_s")
    if times == 1:
        return server.database("matomo_s")
    name = f"matomo_s{times}"
    with server.connect() as c, c.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = %s", (name,))
        if cursor.fetchone() == (3,):
            return server.database(name)
        columns = {}
        for t in ("log_visit", "log_link_visit_action"):
            cursor.execute(
                "SELECT column_name FROM information_schema.columns WHERE table_schema = 'matomo_s' AND table_name = %s ORDER BY ordinal_position",
                (f"matomo_{t}",),
            )
            columns[t] = [str(r[0]) for r in cursor.fetchall()]
    server.execute(
        name, *(f"DROP TABLE IF EXISTS matomo_{t}" for t in ("log_visit", "log_link_visit_action", "log_action"))
    )
    server.execute(
        name,
        "CREATE TABLE matomo_log_action LIKE matomo_s.matomo_log_action",
        "INSERT INTO matomo_log_action SELECT * FROM matomo_s.matomo_log_action",
    )
    for t, names in columns.items():
        server.execute(name, f"CREATE TABLE matomo_{t} LIKE matomo_s.matomo_{t}")
        for k in range(times):
            shifted = {
                "idvisit": f"idvisit + {k * 1_000_000}",
                "idlink_va": f"idlink_va + {k * 10_000_000}",
                "idvisitor": f"UNHEX(CONCAT(LPAD(HEX({k * 16}), 2, '0'), SUBSTR(HEX(idvisitor), 3)))",
            }
            chosen = ", ".join(shifted.get(c, f"`{c}`") for c in names)
            server.execute(name, f"INSERT INTO matomo_{t} SELECT {chosen} FROM matomo_s.matomo_{t}")
    server.execute(name, "ANALYZE TABLE matomo_log_visit, matomo_log_link_visit_action, matomo_log_action")
    return server.database(name)


def floor(url: str, folder: Path) -> Cost:
    """`mariadb --quick` over the same queries, a day at a time, to /dev/null."""
    with Database(url).connection() as reader:
        columns = read_columns(reader, "matomo_")
    texts = []
    for k in range((LAST - FIRST).days + 1):
        start = datetime.combine(FIRST + timedelta(k), datetime.min.time(), tzinfo=UTC)
        period = Period(SITE, start, start + timedelta(1))
        texts += [
            queries.events(columns, period, ("custom_var_v1", "custom_var_v2")),
            queries.visits_ended(columns, period),
        ]
    script = folder / "queries.sql"
    script.write_text(";\n".join(texts) + ";\n")
    parts = urlsplit(url)
    where = f"-u{parts.username} -h{parts.hostname} -P{parts.port or 3306} {parts.path.lstrip('/')}"
    command = f"mariadb --no-defaults --quick --default-character-set=utf8mb4 {where} < {script} > /dev/null"
    return best(["sh", "-c", command], repeat=3)


def python(module: str, *arguments: object) -> list[str]:
    """The command of one of the two ways."""
    return [sys.executable, "-m", f"benchmarks.matomo_{module}", *map(str, arguments)]


def inner(whole: Cost) -> Cost:
    """What a process says that it cost from its first query on, in its last line."""
    said = json.loads(whole.out.splitlines()[-1])
    return replace(whole, wall=said["wall"], cpu=said["cpu"])


def compare(url: str, times: int, repeat: int) -> list[tuple[str, ...]]:
    """Rows of the table for one size; raises FailedRunError where the two ways don't give the same figures."""
    folder = Path(tempfile.mkdtemp(prefix="usage-stats-matomo-"))
    try:
        out = folder / "documents.jsonl"
        ours, inside = [], []
        for _ in range(repeat):
            with workspace(SETTINGS.format(url=url)) as home:
                inside.append(inner(measure(python("ours", FIRST, LAST), cwd=home, env=environment())))
            with workspace(SETTINGS.format(url=url)) as home:
                ours.append(usage_stats(home, "run", "--plain", "--from", str(FIRST), "--to", str(LAST)))
                totals = json.loads(
                    usage_stats(
                        home, "items", "--by", "month", "--top", "1000000", "--format", "json"
                    ).out.splitlines()[-1]
                )
        mine = min(ours, key=lambda c: c.wall)
        stages = mine.stages
        theirs = []
        for _ in range(repeat):
            shutil.rmtree(f"{out}.tables", ignore_errors=True)
            theirs.append(measure(python("pandas", url, SITE, FIRST, LAST + timedelta(1), out), env=environment()))
        other = min(theirs, key=lambda c: c.wall)
        documents = [json.loads(line) for line in out.read_text().splitlines()]
        have = [len(totals), *(sum(d[m] for d in totals) for m in FIGURES)]
        should = [len(documents), *(sum(d[m] for d in documents) for m in FIGURES)]
        if have != should:
            msg = f"documents and figures differ: ours {have}, the pandas way {should}"
            raise FailedRunError(msg)
        least = floor(url, folder)
        extraction = stages["visits_events"]

        def row(name: str, c: Cost, to: Cost) -> tuple[str, ...]:
            ratios = f"{to.wall / c.wall:.1f}", f"{to.cpu / c.cpu:.1f}"
            return (f"x{times}", name, f"{c.wall:.2f}", f"{c.cpu:.2f}", megabytes(c.rss), *ratios)

        return [
            row("pandas", other, other),
            row("ours", mine, other),
            row("pandas, without start-up", inner(other), inner(other)),
            row("ours, without start-up", min(inside, key=lambda c: c.wall), inner(other)),
            *((f"x{times}", f"  {n}", f"{s:.2f}", "", "", "", "") for n, s in stages.items()),
            (
                f"x{times}",
                "mariadb --quick",
                f"{least.wall:.2f}",
                f"{least.cpu:.2f}",
                "",
                "",
                f"extraction {extraction / least.wall:.2f} of it",
            ),
        ]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def server() -> Iterator[MariaDB]:
    """The server of the environment or a private one."""
    folder = Path(tempfile.mkdtemp(prefix="usage-stats-mariadb-"))
    running = mariadb_server(folder)
    try:
        yield next(running)
    finally:
        running.close()
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    """Prints the table; 1 when a run failed or the figures differ."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", default="1,10")
    parser.add_argument("--repeat", type=int, default=1)
    args = parser.parse_args()
    print(machine())
    rows: list[tuple[str, ...]] = []
    with server() as running:
        for times in map(int, args.sizes.split(",")):
            try:
                rows += compare(scaled(running, times), times, args.repeat)
            except FailedRunError as e:
                print(e, file=sys.stderr)
                return 1
    print(table(("size", "what", "wall s", "CPU s", "peak RSS", "x wall", "x CPU"), rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
