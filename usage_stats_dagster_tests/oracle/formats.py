"""The forms in which a world's servers write their lines, and how a line of each is read.

What belongs here: one line's text, both ways. What does not: what becomes of it (`reading.py`).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

COMBINED, COMMON, HOSTED, JSON = "ncsa_extended", "common", "common_complete", "nginx_json"
FORMATS = (COMBINED, COMMON, HOSTED, JSON)

_FIELD = r'(?:[^"\\]|\\.)*'
_BASE = (
    r'(?P<ip>[^\s\-]\S*) \S+ \S+ \[(?P<time>[^\]]+)\] "(?P<method>[^\s"]+) '
    rf'(?P<path>{_FIELD}) [^\s"]+" (?P<status>\d{{3}}) \S+'
)
_TAIL = rf' "(?P<referrer>{_FIELD})" "(?P<agent>{_FIELD})"'
_PATTERNS = {
    COMBINED: re.compile(_BASE + _TAIL),
    COMMON: re.compile(_BASE),
    HOSTED: re.compile(r"(?P<host>\S+) " + _BASE + _TAIL),
}


@dataclass(frozen=True)
class Click:
    """What one line says; `when` in milliseconds, which only JSON writes."""

    when: int
    ip: str
    agent: str
    path: str
    referrer: str = "-"
    method: str = "GET"
    status: int = 200
    host: str = "repo.example.org"

    def line(self, number: int, offset: str, form: str = COMBINED) -> bytes:
        """As a server writes it; `number` (bytes sent) makes each line another."""
        ahead = timedelta(hours=int(offset[:3]), minutes=int(offset[0] + offset[3:]))
        at = datetime.fromtimestamp(self.when / 1000, timezone(ahead))
        if form == JSON:
            values = {
                "ip": self.ip, "host": self.host, "date": at.isoformat(timespec="milliseconds"), "method": self.method,
                "path": self.path, "status": str(self.status), "length": 1000 + number, "referrer": self.referrer,
                "user_agent": self.agent,
            }  # fmt: skip
            return json.dumps(values).encode()
        request = f'"{self.method} {self.path} HTTP/1.1" {self.status} {1000 + number}'
        text = f"{self.ip} - - [{at:%d/%b/%Y:%H:%M:%S} {offset}] {request}"
        if form != COMMON:
            text += f' "{self.referrer}" "{self.agent}"'
        return (f"{self.host} {text}" if form == HOSTED else text).encode()


@dataclass(frozen=True)
class Record:
    """The fields of a line; `time` is None for no date, `agent` and `host` where the form has none."""

    ip: str
    time: datetime | None
    method: str
    path: str
    status: int
    referrer: str | None
    agent: str | None
    host: str | None


def parse(line: bytes, form: str) -> Record | None:
    """The record of a line, None for a line of another form."""
    text = line.decode("utf-8", "backslashreplace")
    if form == JSON:
        try:
            found = json.loads(text)
        except ValueError:
            return None
        if not isinstance(found, dict) or not {"date", "path", "status"} <= found.keys():
            return None
        found = {**found, "time": found["date"], "agent": found["user_agent"]}
    else:
        matched = _PATTERNS[form].match(text)
        if matched is None:
            return None
        found = matched.groupdict()
    referrer = found.get("referrer")
    return Record(
        found["ip"], _time(found["time"]), found["method"], found["path"], int(found["status"]),
        None if referrer in ("", "-") else referrer, found.get("agent"), found.get("host"),
    )  # fmt: skip


def _time(text: str) -> datetime | None:
    for pattern in ("%d/%b/%Y:%H:%M:%S %z", "%Y-%m-%dT%H:%M:%S.%f%z"):
        try:
            return datetime.strptime(text, pattern).astimezone(UTC)
        except ValueError:
            continue
    return None
