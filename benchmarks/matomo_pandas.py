"""The pandas way from a Matomo's database to a month of documents, written for `benchmarks.matomo` to compare with.

All columns of visits and events through pymysql's SSCursor into data frames, kept as parquet files by day, their used
columns read back, a group by for each vocabulary, then a loop over their rows that builds one dictionary a document: how a Python
service does this when nobody looks at its speed. LA Referencia's processor, measured beside it, stores what it extracts in
the same way (all columns, snappy, folders by site and day) and counts from there; ours keeps its tables too. Its documents
have the same eight figures as ours, LA Referencia's four and COUNTER's four, by the same rules; it makes no metrics by day,
no accounting and no index.

`python -m benchmarks.matomo_pandas URL IDSITE FIRST AFTER OUT` writes the documents to OUT, parquet to `OUT.tables/`, and prints what it
cost from its first query on, as JSON.
"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pandas as pd
import pymysql
import xxhash
from pymysql.cursors import SSCursor

CHUNK = 10_000
LAREFERENCIA = ("views", "outlinks", "downloads", "conversions")
COUNTER = ("total_item_investigations", "unique_item_investigations", "total_item_requests", "unique_item_requests")
FIGURES = LAREFERENCIA + COUNTER
VIEW, OUTLINK, DOWNLOAD, SEARCH = 1, 2, 3, 8
DOUBLE_CLICK = pd.Timedelta(seconds=30)
_OAI = re.compile(r"(?i)^(oai:)(?:https?://)?([^/:]+)(?:/[^:]*)?(:.*)$")


def read(connection: pymysql.Connection, query: str) -> pd.DataFrame:
    """All rows of the query, a chunk at a time as they come."""
    with connection.cursor(SSCursor) as c:
        c.execute(query)
        names = [d[0] for d in c.description]
        chunks = []
        while rows := c.fetchmany(CHUNK):
            chunks.append(pd.DataFrame(rows, columns=names))
    return pd.concat(chunks, ignore_index=True)


def kept(frame: pd.DataFrame, day: str, folder: Path, used: list[str]) -> pd.DataFrame:
    """The used columns, read back from the parquet files by day that all columns were written to."""
    when = pd.to_datetime(frame[day])
    parts = {"year": when.dt.year, "month": when.dt.month, "day": when.dt.day}
    frame.assign(**parts).to_parquet(folder, partition_cols=["idsite", *parts], compression="snappy", index=False)
    return pd.read_parquet(folder, columns=used)


def sessions_of(events: pd.DataFrame, end: pd.Timestamp) -> pd.DataFrame:
    """COUNTER's four by visitor, hour and identifier, without double clicks and what is after the end."""
    events = events[events["action_type"] != SEARCH]
    click = ["idvisitor", "action_url", "action_type"]
    clicks = events.sort_values([*click, "server_time", "idlink_va"])
    following = clicks.groupby(click, dropna=False)["server_time"].shift(-1)
    clicks = clicks[~(following - clicks["server_time"] <= DOUBLE_CLICK) & (clicks["server_time"] < end)]
    clicks = clicks.assign(hour=clicks["server_time"].dt.floor("h"), request=(clicks["action_type"] == DOWNLOAD))
    sessions = clicks.groupby(["idvisitor", "hour", "custom_var_v1"]).agg(
        location_country=("location_country", "max"),
        total_item_investigations=("request", "size"),
        total_item_requests=("request", "sum"),
    )
    sessions["unique_item_investigations"] = 1
    sessions["unique_item_requests"] = (sessions["total_item_requests"] > 0).astype(int)
    return sessions.reset_index()


def main() -> None:
    """Writes the documents of the month as JSON lines."""
    started = time.perf_counter(), time.process_time()
    url, idsite, first, after, out = sys.argv[1:]
    tables = Path(f"{out}.tables")
    parts = urlsplit(url)
    connection = pymysql.connect(
        host=parts.hostname, port=parts.port or 3306, user=parts.username, password=parts.password or "",
        database=parts.path.lstrip("/"), charset="utf8mb4",
    )  # fmt: skip
    # Clicks of the next month's first seconds tell double clicks of this one.
    end = pd.Timestamp(after)
    of_month = f"e.idsite = {int(idsite)} AND e.server_time >= '{first}' AND e.server_time <= '{end + DOUBLE_CLICK}'"
    visits = read(
        connection,
        f"SELECT v.* FROM matomo_log_visit v WHERE v.idvisit IN (SELECT e.idvisit FROM matomo_log_link_visit_action e WHERE {of_month})",
    )
    events = read(
        connection,
        "SELECT e.*, a.type AS action_type, a.name AS action_url, a.url_prefix FROM matomo_log_link_visit_action e "
        f"LEFT JOIN matomo_log_action a ON a.idaction = e.idaction_url WHERE {of_month}",
    )
    visits = kept(
        visits,
        "visit_last_action_time",
        tables / "visits",
        ["idvisit", "visit_total_actions", "visit_total_time", "location_country"],
    )
    events = kept(
        events,
        "server_time",
        tables / "events",
        [
            "idlink_va",
            "idvisit",
            "idvisitor",
            "server_time",
            "action_type",
            "action_url",
            "custom_var_v1",
            "custom_var_v2",
        ],
    )
    actions, seconds = visits["visit_total_actions"], visits["visit_total_time"]
    visits = visits[(actions <= 10) | ((actions < 100) & (seconds / actions > 2))]
    events = events[~events["action_url"].str.contains(r"(?i)\.[a-z0-9]{2,5}\.(?:jpg|jpeg|png)$", na=False)]
    events = events[events["custom_var_v1"].notna()]
    every = events.merge(visits[["idvisit", "location_country"]], on="idvisit", how="inner")
    sessions = sessions_of(every, end)
    both = every[every["action_url"].notna() & (every["server_time"] < end)].copy()
    for name, kind in (("views", VIEW), ("outlinks", OUTLINK), ("downloads", DOWNLOAD)):
        both[name] = (both["action_type"] == kind).astype(int)
    both["country_item"] = both["custom_var_v2"].str[:2]
    keys = ["idvisit", "custom_var_v1", "location_country"]
    pairs = (
        both.groupby(keys, dropna=False)[["views", "outlinks", "downloads", "country_item"]]
        .agg({"views": "max", "outlinks": "max", "downloads": "max", "country_item": "last"})
        .reset_index()
    )
    pairs["conversions"] = ((pairs["views"] == 1) & ((pairs["downloads"] == 1) | (pairs["outlinks"] == 1))).astype(int)
    year, month = int(first[:4]), int(first[5:7])
    documents: dict[str, dict] = {}
    for rows, names in ((pairs, LAREFERENCIA), (sessions, COUNTER)):
        for _, row in rows.iterrows():
            identifier = _OAI.sub(r"\1\2\3", row["custom_var_v1"])
            document = documents.setdefault(
                identifier, {"identifier": identifier, **dict.fromkeys(FIGURES, 0), "countries": {}, "country": "XX"}
            )
            country = row["location_country"] if isinstance(row["location_country"], str) else None
            of_country = document["countries"].setdefault(country, dict.fromkeys(FIGURES, 0))
            for m in names:
                document[m] += int(row[m])
                of_country[m] += int(row[m])
            if names == LAREFERENCIA and isinstance(row["country_item"], str):
                document["country"] = row["country_item"].upper()
    with open(out, "w") as f:  # noqa: PTH123
        for identifier, d in documents.items():
            key = xxhash.xxh64_hexdigest(f"{idsite}-{identifier}-{year}-{month}-1".encode())
            nested = [{"country": c, **n} for c, n in d.pop("countries").items()]
            f.write(
                json.dumps(
                    {
                        "id": key,
                        "idsite": int(idsite),
                        "year": year,
                        "month": month,
                        "day": 1,
                        **d,
                        "stats_by_country": nested,
                    }
                )
                + "\n"
            )
    print(json.dumps({"wall": time.perf_counter() - started[0], "cpu": time.process_time() - started[1]}))


if __name__ == "__main__":
    main()
