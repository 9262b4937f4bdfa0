"""The ledger's tables, after SciELO's control tables, plus what exactness needs.

What belongs here: columns and status codes. What does not: queries (`ledger.py`), schema changes (`migrations/`).
"""

from __future__ import annotations

from enum import IntEnum

import sqlalchemy as sa


class LogStatus(IntEnum):
    """State of a log (SciELO's codes); HELD and IGNORED wait for, or follow, an operator's word."""

    QUEUE = 0
    PARTIAL = 1
    LOADED = 2
    LOADING = 9
    FAILED = -1
    INVALID = -9
    HELD = -2
    IGNORED = -3


class DayStatus(IntEnum):
    """SciELO's six statuses of a site's day, in their order."""

    QUEUE = 0
    PARTIAL = 1
    LOADED = 2
    PRETABLE = 3
    CALCULATED = 4
    DONE = 5

    @property
    def label(self) -> str:
        """The word that people read."""
        return self.name.lower()


metadata = sa.MetaData()

log_file = sa.Table(
    "log_file",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("idsite", sa.Integer, nullable=False),
    sa.Column("identity", sa.String(40), nullable=False, comment="fingerprint of the first 1 KiB of records"),
    sa.Column(
        "head_length", sa.Integer, nullable=False, comment="bytes under the fingerprint; less than 1024: provisional"
    ),
    sa.Column("status", sa.SmallInteger, nullable=False),
    sa.Column("name", sa.String(512), nullable=False),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("server", sa.String(128)),
    sa.Column("log_date", sa.Date, comment="the date that the path names, if it names one"),
    sa.Column("compression", sa.String(16)),
    sa.Column("format", sa.String(64)),
    sa.Column("bytes", sa.BigInteger, nullable=False, comment="decompressed, up to the last line imported"),
    sa.Column("lines", sa.BigInteger, nullable=False),
    sa.Column("content_hash", sa.String(32), nullable=False),
    sa.Column("first_time", sa.DateTime),
    sa.Column("last_time", sa.DateTime),
    sa.Column(
        "import_version", sa.String(16), nullable=False, comment="hash of what decides hits: format, outcomes, lists"
    ),
    sa.Column("message", sa.Text),
    sa.Column("imported_at", sa.DateTime),
    sa.UniqueConstraint("idsite", "identity"),
)

log_path = sa.Table(
    "log_path",
    metadata,
    sa.Column("idsite", sa.Integer, primary_key=True),
    sa.Column("path", sa.String(700), primary_key=True),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("mtime_ns", sa.BigInteger, nullable=False),
    sa.Column("identity", sa.String(40)),
    sa.Column("status", sa.SmallInteger, nullable=False),
    sa.Column("log_date", sa.Date),
    sa.Column("message", sa.Text),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("decision", sa.String(16), comment="accept or ignore: the operator's word on a held log"),
    sa.Column("checked_at", sa.DateTime, nullable=False),
)

log_file_summary = sa.Table(
    "log_file_summary",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("log_file_id", sa.Integer, sa.ForeignKey("log_file.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("day", sa.Date, index=True, comment="null when the line has no readable date"),
    sa.Column("outcome", sa.String(24), nullable=False),
    sa.Column("lines", sa.BigInteger, nullable=False),
)

log_day = sa.Table(
    "log_day",
    metadata,
    sa.Column("log_file_id", sa.Integer, sa.ForeignKey("log_file.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("day", sa.Date, primary_key=True, index=True),
    sa.Column("lines", sa.BigInteger, nullable=False),
    sa.Column("hits", sa.BigInteger, nullable=False),
    sa.Column("robots", sa.BigInteger, nullable=False),
    sa.Column("covers", sa.Boolean, nullable=False, comment="false where only a few stray lines fall on the day"),
    sa.Column(
        "hits_hash", sa.String(32), nullable=False, comment="content hash of the hits file; empty when there is none"
    ),
)

date_status = sa.Table(
    "date_status",
    metadata,
    sa.Column("idsite", sa.Integer, primary_key=True),
    sa.Column("day", sa.Date, primary_key=True),
    sa.Column("status", sa.SmallInteger, nullable=False),
    sa.Column("files_expected", sa.Integer),
    sa.Column("files_loaded", sa.Integer, nullable=False, server_default="0"),
    sa.Column("decision", sa.String(16), comment="lost or partial: the operator's word that the day goes on as it is"),
    sa.Column("reason", sa.Text),
    sa.Column(
        "inputs_hash", sa.String(32), nullable=False, server_default="", comment="the logs that cover the day, now"
    ),
    sa.Column(
        "done_inputs_hash",
        sa.String(32),
        nullable=False,
        server_default="",
        comment="the logs that the indexed figures were made of",
    ),
    sa.Column(
        "head_hash",
        sa.String(32),
        nullable=False,
        server_default="",
        comment="the day's first events, that end double clicks of the day before",
    ),
    sa.Column(
        "done_tail_hash",
        sa.String(32),
        nullable=False,
        server_default="",
        comment="the next day's head_hash that the figures were made with",
    ),
    sa.Column("rules_version", sa.String(16)),
    sa.Column("counts", sa.JSON(none_as_null=True), comment="rows and sums by stage, for volumes and the status table"),
    sa.Column("message", sa.Text),
    sa.Column("updated_at", sa.DateTime, nullable=False),
)

matomo_site = sa.Table(
    "matomo_site",
    metadata,
    sa.Column("idsite", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("next_number", sa.BigInteger, nullable=False, comment="number of the next hit sent: its mark in Matomo"),
    sa.Column(
        "pending",
        sa.LargeBinary(2**24),
        comment="the batch on its way, as it was made; null when every batch is acknowledged",
    ),
    sa.Column("time_zone", sa.String(64), comment="the platform's, which decides the days that positions name"),
    sa.Column("message", sa.Text, comment="why sending waits; null when it does not"),
    sa.Column("updated_at", sa.DateTime, nullable=False),
)

matomo_position = sa.Table(
    "matomo_position",
    metadata,
    sa.Column("idsite", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column(
        "source", sa.String(64), primary_key=True, comment="day/log identity, or replay/content hash of the file"
    ),
    sa.Column("line", sa.BigInteger, nullable=False, comment="the last line whose batch Matomo has acknowledged"),
    sa.Column("updated_at", sa.DateTime, nullable=False),
)

matomo_day = sa.Table(
    "matomo_day",
    metadata,
    sa.Column("idsite", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("day", sa.Date, primary_key=True),
    sa.Column("sent", sa.BigInteger, nullable=False, server_default="0", comment="requests acknowledged"),
    sa.Column(
        "refused", sa.BigInteger, nullable=False, server_default="0", comment="of them, called invalid by Matomo"
    ),
    sa.Column(
        "kept_back",
        sa.BigInteger,
        nullable=False,
        server_default="0",
        comment="hits not sent: robots, impossible dates",
    ),
    sa.Column("stored", sa.BigInteger, comment="actions that Matomo has of the site's day; null before it was asked"),
    sa.Column("twice", sa.BigInteger, comment="marks that Matomo has more than once; null when it can't be asked"),
    sa.Column("updated_at", sa.DateTime, nullable=False),
)
