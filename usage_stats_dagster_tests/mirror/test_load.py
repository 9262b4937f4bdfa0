"""A site's day in a real PostgreSQL: replaced as a whole, whatever happens."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import psycopg
import pytest

from usage_stats_dagster.mirror.day import day_rows
from usage_stats_dagster.mirror.load import Replaced, last_time, replace_day
from usage_stats_dagster.mirror.table import COLUMNS, INDEXES, Destination, MirrorError, connect, prepare
from usage_stats_dagster_tests.mirror.lakes import event, lake_day

pytestmark = pytest.mark.services

DAY = date(2025, 3, 1)


class Mirror:
    """One destination, and a day's events put into it."""

    def __init__(self, database, tmp_path, partitioned, zone="UTC"):
        self.to = Destination(database, "actions of sites" if partitioned else "matomo", partitioned=partitioned)
        self.connection = connect(self.to)
        prepare(self.connection, self.to)
        self.tmp_path, self.zone = tmp_path, ZoneInfo(zone)

    def window(self, day):
        ends = [datetime.combine(d, datetime.min.time(), self.zone) for d in (day, day + timedelta(1))]
        return ends[0].astimezone(UTC), ends[1].astimezone(UTC)

    def put(self, events, idsite=1, day=DAY, **options) -> Replaced:
        lake = lake_day(self.tmp_path / "lake", idsite, day, events)
        frames = day_rows(lake, idsite, day, self.window(day), self.zone, f"site {idsite}")
        return replace_day(self.connection, self.to, idsite, self.window(day), frames, **options)

    def rows(self, columns="*", where="true"):
        query = f'SELECT {columns} FROM "{self.to.table}" WHERE {where} ORDER BY action_id, action_timestamp'
        return self.connection.execute(query).fetchall()

    def partitions(self):
        query = (
            "SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid WHERE inhparent = %s::regclass ORDER BY 1"
        )
        return [r[0] for r in self.connection.execute(query, [f'"{self.to.table}"'])]


@pytest.fixture(params=[False, True], ids=["plain", "partitioned"])
def mirror(request, database, tmp_path):
    made = Mirror(database, tmp_path, request.param)
    yield made
    made.connection.close()


DAY_EVENTS = [
    event(1, "2025-03-01 10:00:00"),
    event(1, "2025-03-01 10:01:00", 3),
    event(2, "2025-03-01 11:00:00", 8, action_name="coffee"),
]


def test_a_day_twice_is_the_same_day(mirror):
    assert mirror.put(DAY_EVENTS) == Replaced(3, 3, 0, 0)
    first = mirror.rows()
    assert mirror.put(DAY_EVENTS) == Replaced(3, 0, 0, 0)
    assert mirror.rows() == first
    assert mirror.rows("action_id, action_type, sitesearchkeyword, action_timespent") == [
        ("1_0", "action", None, "61"),
        ("1_1", "download", None, "0"),
        ("2_0", "search", "coffee", "0"),
    ]


def test_events_that_the_day_no_longer_has_go(mirror):
    mirror.put(DAY_EVENTS)
    mirror.put([event(3, "2025-03-02 00:00:00")], day=DAY + timedelta(1))
    assert mirror.put(DAY_EVENTS[:1]) == Replaced(1, 1, 3, 0)
    assert mirror.rows("action_id") == [("1_0",), ("3_0",)]
    assert mirror.put([]) == Replaced(0, 0, 1, 0)
    assert mirror.rows("action_id") == [("3_0",)]


def test_sites_share_the_table(mirror):
    other = [event(100 + n, "2025-03-01 10:00:00") for n in range(3)]
    mirror.put(DAY_EVENTS)
    mirror.put(other, idsite=22)
    assert mirror.put(DAY_EVENTS[:1]) == Replaced(1, 1, 3, 0)
    assert mirror.rows("idsite, action_id") == [("22", "100_0"), ("22", "101_0"), ("22", "102_0"), ("1", "1_0")]
    assert last_time(mirror.connection, mirror.to, 22) == datetime(2025, 3, 1, 10, tzinfo=UTC)
    assert last_time(mirror.connection, mirror.to, 3) is None


def test_another_sites_rows_are_never_taken(mirror):
    mirror.put(DAY_EVENTS)
    before = mirror.rows()
    with pytest.raises(MirrorError, match="2 actions have an action_id that another site has"):
        mirror.put(DAY_EVENTS[:2], idsite=22)
    assert mirror.rows() == before


def test_an_action_that_moved_to_another_day_moves(database, tmp_path):
    mirror = Mirror(database, tmp_path, partitioned=False)
    mirror.put([event(1, "2025-03-01 23:59:59")])
    assert mirror.put([event(1, "2025-03-02 00:00:01")], day=DAY + timedelta(1)) == Replaced(1, 1, 0, 0)
    assert mirror.rows("action_timestamp") == [(datetime(2025, 3, 2, 0, 0, 1, tzinfo=UTC),)]


def test_robots_are_left_out_unless_wanted(mirror):
    events = [*DAY_EVENTS, event(9, "2025-03-01 12:00:00", robot="counter: bot")]
    assert mirror.put(events) == Replaced(3, 3, 0, 1)
    assert mirror.put(events, with_robots=True) == Replaced(4, 1, 0, 0)


def test_odd_texts_arrive_as_they_are(mirror):
    texts = ['"quoted", with comma', "back\\slash \\N \\.", "\\.", "line\r\nbreaks\n", "ção – 日本語 🎉", "'; DROP TABLE x; --", "", "\t", "NULL"]  # fmt: skip
    events = [event(n + 1, "2025-03-01 10:00:00", 8, action_name=t) for n, t in enumerate(texts)]
    events += [event(50, "2025-03-01 10:00:00", 8, action_name="a\x00b"), event(51, "2025-03-01 10:00:00", 8)]
    mirror.put(events)
    found = dict(mirror.rows("idvisit, sitesearchkeyword"))
    assert [found[str(n + 1)] for n in range(len(texts))] == texts
    assert found["50"] == "a\ufffdb"
    assert found["51"] is None


def test_types_that_are_no_text(mirror):
    mirror.put([event(1, "2025-03-01 10:00:00", custom_var_k1="id", custom_var_v1='x"y', custom_dimension_2="d")])
    columns = "action_timestamp, serverdateprettyfirstaction, action_eventvalue, usercustomproperties, dimension2, experiments"
    assert mirror.rows(columns) == [(datetime(2025, 3, 1, 10, tzinfo=UTC), DAY, 0, {"id": 'x"y'}, "d", None)]


@pytest.mark.parametrize(
    ("day", "time", "week"),
    [
        (date(2020, 12, 31), "2020-12-31 23:59:59", "2020w53"),
        (date(2021, 1, 3), "2021-01-03 23:59:59", "2020w53"),
        (date(2021, 1, 4), "2021-01-04 00:00:00", "2021w01"),
        (date(2024, 12, 29), "2024-12-29 23:59:59", "2024w52"),
        (date(2024, 12, 30), "2024-12-30 00:00:00", "2025w01"),
        (date(2026, 12, 31), "2026-12-31 12:00:00", "2026w53"),
    ],
)
def test_partitions_are_iso_weeks(database, tmp_path, day, time, week):
    mirror = Mirror(database, tmp_path, partitioned=True)
    mirror.put([event(1, time)], day=day)
    assert mirror.partitions() == [f"actions of sites_{week}"]
    assert mirror.rows("tableoid::regclass::text") == [(f'"actions of sites_{week}"',)]


def test_a_day_in_another_zone_may_touch_two_weeks(database, tmp_path):
    mirror = Mirror(database, tmp_path, partitioned=True, zone="America/Sao_Paulo")
    sunday = date(2025, 3, 9)
    events = [event(1, "2025-03-09 03:00:00"), event(2, "2025-03-10 02:59:59")]
    assert mirror.put(events, day=sunday).rows == 2
    assert mirror.partitions() == ["actions of sites_2025w10", "actions of sites_2025w11"]
    assert mirror.put(events[1:], day=sunday) == Replaced(1, 0, 1, 0)


def test_sites_are_written_side_by_side(database, tmp_path):
    days = [date(2025, 3, 3) + timedelta(7 * n) for n in range(6)]

    def write(idsite):
        mirror = Mirror(database, tmp_path / str(idsite), partitioned=True)
        for day in days:
            events = [event(idsite * 1000 + n, f"{day} 10:00:00") for n in range(300)]
            mirror.put(events, idsite, day)
        mirror.connection.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(1, 5)))
    mirror = Mirror(database, tmp_path, partitioned=True)
    assert len(mirror.partitions()) == 6
    assert mirror.rows("count(*)", "true GROUP BY idsite, action_timestamp, action_id") == [(1,)] * 4 * 6 * 300


KILLED = """
import sys
from datetime import datetime, UTC
import time
from usage_stats_dagster.mirror import load
from usage_stats_dagster.mirror.table import Destination, connect
from usage_stats_dagster_tests.mirror.test_load import DAY_EVENTS, DAY
from usage_stats_dagster_tests.mirror.lakes import event, lake_day
from usage_stats_dagster.mirror.day import day_rows
from zoneinfo import ZoneInfo
url, table, partitioned, root, where = sys.argv[1:]
to = Destination(url, table, partitioned=partitioned == "True")
window = datetime(2025, 3, 1, tzinfo=UTC), datetime(2025, 3, 2, tzinfo=UTC)
def wait():
    print("waiting", flush=True)
    time.sleep(60)
def frames():
    lake = lake_day(root, 1, DAY, [event(n, "2025-03-01 12:00:00") for n in range(60, 90)])
    yield from day_rows(lake, 1, DAY, window, ZoneInfo("UTC"), "s")
    if where == "copy":
        wait()
if where == "commit":
    count = load._one
    load._one = lambda cursor: (wait() if "count(*)" in str(cursor._query.query) else None, count(cursor))[1]
load.replace_day(connect(to), to, 1, window, frames())
"""


@pytest.mark.parametrize("where", ["copy", "commit"])
def test_a_writer_killed_between_copy_and_commit_leaves_the_old_day(mirror, tmp_path, where):
    mirror.put(DAY_EVENTS)
    before = mirror.rows()
    arguments = [mirror.to.database, mirror.to.table, str(mirror.to.partitioned), str(tmp_path / "other"), where]
    with subprocess.Popen([sys.executable, "-c", KILLED, *arguments], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "waiting\n"
        assert mirror.rows() == before
        process.kill()
    assert mirror.rows() == before
    assert mirror.put(DAY_EVENTS[:1]) == Replaced(1, 1, 3, 0)


def test_a_failure_changes_nothing_and_the_connection_goes_on(mirror):
    mirror.put(DAY_EVENTS)

    def broken():
        lake = lake_day(mirror.tmp_path / "b", 1, DAY, [event(60, "2025-03-01 12:00:00")])
        yield from day_rows(lake, 1, DAY, mirror.window(DAY), mirror.zone, "s")
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="disk is gone"):
        replace_day(mirror.connection, mirror.to, 1, mirror.window(DAY), broken())
    assert len(mirror.rows()) == 3
    assert mirror.put(DAY_EVENTS[:1]) == Replaced(1, 1, 3, 0)


def their_table(connection, name, partitioned, zone="UTC"):
    """The table as SocialGouv's migrations leave it, in their order, with a row, a trigger and their own bookkeeping."""
    late = ("resolution", "experiments") if not partitioned else ("experiments",)
    columns = [c for c in COLUMNS if c not in ("action_id", "action_timestamp", *late)]
    listed = ", ".join(f"{c} {COLUMNS[c]}" for c in columns)
    keys = "action_id text NOT NULL, action_timestamp timestamptz NOT NULL DEFAULT now()"
    if not partitioned:
        keys = "action_id text, action_timestamp timestamptz DEFAULT now()"
    connection.execute(f"SET timezone = '{zone}'")
    connection.execute(
        f"CREATE TABLE {name} ({listed}, {keys}){' PARTITION BY RANGE (action_timestamp)' if partitioned else ''}"
    )
    unique = "action_id, action_timestamp" if partitioned else "action_id"
    connection.execute(f"ALTER TABLE {name} ADD CONSTRAINT unique_{name} UNIQUE ({unique})")
    connection.execute(f"CREATE INDEX idx_region ON {name} USING btree (region)")
    connection.execute(f"CREATE INDEX actions_day ON {name} (date(timezone('UTC', action_timestamp)))")
    connection.execute("CREATE TABLE kysely_migration (name text)")
    if partitioned:
        connection.execute(
            f"CREATE TABLE {name}_2025w09 PARTITION OF {name} FOR VALUES FROM ('2025-02-24') TO ('2025-03-03')"
        )
    rows = [("1_0", "2025-03-01 10:00:00+00", "1"), ("1_7", "2025-03-01 20:00:00+00", "1"), ("0_0", "2025-02-27 10:00:00+00", "1")]  # fmt: skip
    for row in rows:
        connection.execute(f"INSERT INTO {name} (action_id, action_timestamp, idsite) VALUES (%s, %s, %s)", row)


@pytest.mark.parametrize("partitioned", [False, True])
def test_a_table_of_theirs_is_taken_over(database, tmp_path, partitioned):
    name = "matomo_partitioned" if partitioned else "matomo"
    with psycopg.connect(database, autocommit=True) as c:
        their_table(c, name, partitioned)
        to = Destination(database, name, partitioned=partitioned)
        prepare(c, to)
        prepare(c, to)
        mirror = Mirror(database, tmp_path, partitioned)
        mirror.to = to
        assert mirror.put(DAY_EVENTS) == Replaced(3, 3, 2, 0)
        assert mirror.rows("action_id") == [("0_0",), ("1_0",), ("1_1",), ("2_0",)]
        have = dict(
            c.execute(
                "SELECT attname, format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0",
                [name],
            ).fetchall()
        )
        assert {n: t.replace("timestamp with time zone", "timestamptz") for n, t in have.items()} == COLUMNS
        indexes = [r[0] for r in c.execute("SELECT indexdef FROM pg_indexes WHERE tablename = %s", [name])]
        assert len(indexes) == len(INDEXES) + 1
        assert sum("timezone" in i for i in indexes) == 1


def test_their_weeks_in_another_zone_are_kept(database, tmp_path):
    zone = "Europe/Paris"
    name = "matomo_partitioned"
    with psycopg.connect(database, autocommit=True) as c:
        their_table(c, name, partitioned=True, zone=zone)
        to = Destination(f"{database}%20-ctimezone%3DEurope/Paris", name, partitioned=True)
        mirror = Mirror(to.database, tmp_path, partitioned=True)
        mirror.to = to
        prepare(mirror.connection, to)
        day = date(2025, 3, 2)
        mirror.put([event(5, "2025-03-02 22:30:00"), event(6, "2025-03-02 23:30:00")], day=day)
        assert mirror.rows("action_id, tableoid::regclass::text", "idvisit IN ('5', '6')") == [
            ("5_0", "matomo_partitioned_2025w09"),
            ("6_0", "matomo_partitioned_2025w10"),
        ]


def test_another_table_is_left_alone(database):
    with psycopg.connect(database, autocommit=True) as c:
        c.execute("CREATE TABLE matomo (action_id integer, idsite text)")
        with pytest.raises(MirrorError, match="action_id is integer, should be text"):
            prepare(c, Destination(database, "matomo"))
        with pytest.raises(MirrorError, match="matomo is a plain table, not a table with partitions"):
            prepare(c, Destination(database, "matomo", partitioned=True))
        assert c.execute("SELECT count(*) FROM pg_attribute WHERE attrelid = 'matomo'::regclass AND attnum > 0").fetchone() == (2,)  # fmt: skip


def test_a_database_that_is_not_there_is_told():
    with pytest.raises(MirrorError, match="can't be opened"):
        connect(Destination("postgresql://nobody@127.0.0.1:1/none"))


def test_a_database_by_its_name(server, monkeypatch):
    given = psycopg.conninfo.conninfo_to_dict(server)
    for variable, key in {"PGHOST": "host", "PGPORT": "port", "PGUSER": "user", "PGPASSWORD": "password"}.items():
        if key in given:
            monkeypatch.setenv(variable, str(given[key]))
    with connect(Destination(given["dbname"])) as connection:
        assert connection.execute("SELECT current_database()").fetchone() == (given["dbname"],)


@pytest.mark.parametrize(
    "database", ["postgresql://u:se/cret@h/d", "postgresql://u:secret@h/d?secret", "host=h password='secret"]
)
def test_a_password_is_never_shown(database):
    with pytest.raises(MirrorError, match="PGDATABASE can't be read") as raised:
        connect(Destination(database))
    assert "cret" not in str(raised.value)
    assert raised.value.__cause__ is None
