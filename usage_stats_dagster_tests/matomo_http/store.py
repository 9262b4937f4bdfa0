"""What a Matomo keeps of tracking requests: three of its tables, in SQLite or in a real Matomo's MariaDB.

What belongs here: storing a bulk request in one transaction, with the drops and visits of SEMANTICS §4-6 as far as sending
and reading can tell them. What does not: HTTP and its faults (`server.py`).
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from hashlib import md5
from typing import Any
from urllib.parse import parse_qsl

import sqlalchemy as sa

VISIT_SECONDS = 1800
INVALID, DROPPED, STORED = "invalid", "dropped", "stored"
_KINDS = {1: "action", 2: "outlink", 3: "download"}

_metadata = sa.MetaData()
visits = sa.Table(
    "matomo_log_visit", _metadata,
    sa.Column("idvisit", sa.Integer, primary_key=True),
    sa.Column("idsite", sa.Integer), sa.Column("idvisitor", sa.LargeBinary), sa.Column("config_id", sa.LargeBinary),
    sa.Column("location_ip", sa.LargeBinary), sa.Column("location_country", sa.String(3)),
    sa.Column("visit_first_action_time", sa.DateTime), sa.Column("visit_last_action_time", sa.DateTime),
    sa.Column("visit_total_actions", sa.Integer), sa.Column("visit_total_time", sa.Integer),
)  # fmt: skip
actions = sa.Table(
    "matomo_log_link_visit_action", _metadata,
    sa.Column("idlink_va", sa.Integer, primary_key=True),
    sa.Column("idsite", sa.Integer), sa.Column("idvisit", sa.Integer), sa.Column("idvisitor", sa.LargeBinary),
    sa.Column("idaction_url", sa.Integer), sa.Column("server_time", sa.DateTime), sa.Column("idpageview", sa.String(6)),
    sa.Column("time_spent_ref_action", sa.Integer),
    sa.Index("index_idsite_servertime", "idsite", "server_time"),
)  # fmt: skip
names = sa.Table(
    "matomo_log_action", _metadata,
    sa.Column("idaction", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(4096)), sa.Column("hash", sa.BigInteger, index=True), sa.Column("type", sa.Integer),
    sa.Column("url_prefix", sa.Integer),
)  # fmt: skip


class Store:
    """The tables at an SQLAlchemy URL; `sites` are those that this Matomo knows (None: any)."""

    def __init__(self, url: str, sites: Collection[int] | None = None) -> None:
        self.sites = sites
        self.engine = sa.create_engine(url, **({"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {}))

        @sa.event.listens_for(self.engine, "connect")
        def _modes(connection: Any, _record: Any) -> None:
            if self.engine.dialect.name == "sqlite":
                connection.isolation_level = None
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=NORMAL")
            else:
                connection.cursor().execute(
                    "SET SESSION sql_mode = ''"
                )  # columns that are not named get their defaults

        @sa.event.listens_for(self.engine, "begin")
        def _begin(connection: sa.Connection) -> None:
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN IMMEDIATE")

        _metadata.create_all(self.engine)

    def track(
        self, requests: Sequence[dict[str, Any] | str], skip: Collection[int] = (), *, die: bool = False
    ) -> tuple[int, list[int]]:
        """One bulk request in one transaction: how many were tracked, and the indices of invalid ones.

        `skip`: requests that meet a lock timeout, which Matomo passes over; `die`: the server goes down before the commit.
        """
        invalid: list[int] = []
        tracked = 0
        with self.engine.connect() as c, c.begin() as transaction:
            for i, given in enumerate(requests):
                if i in skip:
                    continue
                fate = self._track(c, given if isinstance(given, dict) else dict(parse_qsl(given.lstrip("?"))))
                if fate == INVALID:
                    invalid.append(i)
                else:
                    tracked += 1
            if die:
                transaction.rollback()
        return tracked, invalid

    def _track(self, c: sa.Connection, r: dict[str, Any]) -> str:
        idsite = int(r.get("idsite", 0))
        if self.sites is not None and idsite not in self.sites:
            return INVALID
        if "cid" in r and len(str(r["cid"])) != 16:
            return INVALID
        if re.search("bot|unwanted", str(r.get("ua", "")), re.IGNORECASE):
            return DROPPED
        when = _time(str(r["cdt"]))
        who = r.get("cid") or md5(f"{idsite}|{r.get('cip')}|{r.get('ua')}".encode()).hexdigest()[:16]
        kind = 3 if r.get("download") else 2 if r.get("link") else 1
        url = str(r.get("download") or r.get("link") or r.get("url"))
        idvisit, spent = self._visit(c, idsite, bytes.fromhex(str(who)), when, str(r.get("country") or "xx"))
        idaction = self._action(c, url, kind)
        c.execute(
            sa.insert(actions).values(
                idsite=idsite, idvisit=idvisit, idvisitor=bytes.fromhex(str(who)), idaction_url=idaction, server_time=when,
                idpageview=str(r.get("pv_id", ""))[:6], time_spent_ref_action=spent,
            )
        )  # fmt: skip
        return STORED

    def _visit(self, c: sa.Connection, idsite: int, who: bytes, when: datetime, country: str) -> tuple[int, int]:
        v = visits.c
        newest = sa.select(v.idvisit, v.visit_first_action_time, v.visit_last_action_time, v.visit_total_actions)
        newest = newest.where(v.idsite == idsite, v.idvisitor == who).order_by(v.idvisit.desc()).limit(1)
        row = c.execute(newest).first()
        if row is not None and abs((when - row[2]).total_seconds()) < VISIT_SECONDS and when.date() == row[2].date():
            last = max(when, row[2])
            length = 1 + int((last - row[1]).total_seconds())
            more = {
                "visit_last_action_time": last,
                "visit_total_actions": row[3] + 1,
                "visit_total_time": max(0, length),
            }
            c.execute(sa.update(visits).where(v.idvisit == row[0]).values(more))
            return row[0], min(max(int((when - row[2]).total_seconds()), 0), 1800)
        made = c.execute(
            sa.insert(visits).values(
                idsite=idsite, idvisitor=who, config_id=who, location_ip=bytes(4), location_country=country,
                visit_first_action_time=when, visit_last_action_time=when, visit_total_actions=1, visit_total_time=0,
            )
        )  # fmt: skip
        return made.inserted_primary_key[0], 0

    def _action(self, c: sa.Connection, url: str, kind: int) -> int:
        prefix = 2 if kind == 1 and url.startswith("https://") else None
        name = url.removeprefix("https://") if kind == 1 else url
        code = zlib.crc32(name.encode())
        where = sa.and_(names.c.hash == code, names.c.name == name, names.c.type == kind)
        row = c.execute(sa.select(names.c.idaction).where(where)).first()
        if row is not None:
            return row[0]
        made = c.execute(sa.insert(names).values(name=name, hash=code, type=kind, url_prefix=prefix))
        return made.inserted_primary_key[0]

    def urls(self, idsite: int) -> list[tuple[str, int]]:
        """Every URL of the site's actions, and how many actions it has."""
        joined = actions.join(names, names.c.idaction == actions.c.idaction_url)
        query = sa.select(names.c.name, sa.func.count()).select_from(joined).where(actions.c.idsite == idsite)
        with self.engine.connect() as c:
            return [(r[0], r[1]) for r in c.execute(query.group_by(names.c.name))]

    def live_visits(self, idsite: int) -> list[dict[str, Any]]:
        """The site's visits as the Live API renders them."""
        joined = actions.join(names, names.c.idaction == actions.c.idaction_url)
        query = sa.select(actions, names.c.name, names.c.type).select_from(joined).where(actions.c.idsite == idsite)
        found: dict[int, list[dict[str, Any]]] = {}
        with self.engine.connect() as c:
            for a in c.execute(query.order_by(actions.c.server_time, actions.c.idlink_va)).mappings():
                url = f"https://{a['name']}" if a["type"] == 1 else a["name"]
                found.setdefault(a["idvisit"], []).append({
                    "type": _KINDS[a["type"]], "url": url, "pageId": a["idlink_va"], "idpageview": a["idpageview"],
                    "timestamp": _epoch(a["server_time"]), "customVariables": [],
                })  # fmt: skip
            rows = c.execute(sa.select(visits).where(visits.c.idsite == idsite)).mappings().all()
        return [
            {
                "idVisit": v["idvisit"], "visitorId": v["idvisitor"].hex(), "visitIp": "0.0.0.0", "actions": v["visit_total_actions"],
                "firstActionTimestamp": _epoch(v["visit_first_action_time"]), "lastActionTimestamp": _epoch(v["visit_last_action_time"]),
                "visitDuration": v["visit_total_time"], "countryCode": v["location_country"], "referrerType": "direct",
                "referrerName": "", "browserCode": "FF", "operatingSystemCode": "LIN", "deviceType": "Desktop",
                "actionDetails": found.get(v["idvisit"], []),
            }
            for v in rows
        ]  # fmt: skip


def _time(text: str) -> datetime:
    found = datetime.fromtimestamp(int(text), UTC) if text.isdigit() else datetime.fromisoformat(text)
    return found.replace(tzinfo=None)


def _epoch(time: datetime) -> int:
    return int(time.replace(tzinfo=UTC).timestamp())


def dumps(value: Any) -> bytes:
    """JSON as PHP writes it."""
    return json.dumps(value).replace("/", r"\/").encode()
