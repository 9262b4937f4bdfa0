"""the table of actions: made, or taken over from SocialGouv's program."""

from collections.abc import Callable

import sqlalchemy as sa
from alembic import context, op

from usage_stats_dagster.mirror.table import COLUMNS, INDEXES, Destination, MirrorError

revision = "0001"
down_revision = None

_SAME = {"timestamptz": "timestamp with time zone"}


def upgrade() -> None:
    """The table with its columns, what is unique in it, and its indexes; what is there already stays."""
    to: Destination = context.config.attributes["destination"]
    connection = op.get_bind()
    quote = connection.dialect.identifier_preparer.quote
    kind = _kind(connection, to)
    if kind is None:
        _create(to, quote)
    else:
        _take_over(connection, to, kind, quote)
    _unique(connection, to, quote)
    _indexes(connection, to, quote)


def downgrade() -> None:
    """Drops the table."""
    to: Destination = context.config.attributes["destination"]
    op.execute(f"DROP TABLE {op.get_bind().dialect.identifier_preparer.quote(to.table)}")


def _kind(connection: sa.Connection, to: Destination) -> str | None:
    found = connection.execute(
        sa.text("SELECT relkind::text FROM pg_class WHERE oid = to_regclass(:t)"), _named(connection, to)
    )
    return found.scalar()


def _named(connection: sa.Connection, to: Destination) -> dict[str, str]:
    return {"t": connection.dialect.identifier_preparer.quote_identifier(to.table)}


def _create(to: Destination, quote: Callable[[str], str]) -> None:
    needed = {"action_id": " NOT NULL", "action_timestamp": " NOT NULL DEFAULT now()"}
    columns = ", ".join(f"{c} {t}{needed.get(c, '')}" for c, t in COLUMNS.items())
    layout = " PARTITION BY RANGE (action_timestamp)" if to.partitioned else ""
    op.execute(f"CREATE TABLE {quote(to.table)} ({columns}){layout}")


def _take_over(connection: sa.Connection, to: Destination, kind: str, quote: Callable[[str], str]) -> None:
    wanted = "p" if to.partitioned else "r"
    if kind != wanted:
        words = {"p": "a table with partitions", "r": "a plain table"}
        msg = (
            f"{to.table} is {words.get(kind, 'no table')}, not {words[wanted]}: "
            "see DESTINATION_TABLE and PARTITIONED_MATOMO_TABLE_NAME"
        )
        raise MirrorError(msg)
    query = sa.text(
        "SELECT attname, format_type(atttypid, NULL) AS type FROM pg_attribute"
        " WHERE attrelid = to_regclass(:t) AND attnum > 0 AND NOT attisdropped"
    )
    have = {r.attname: r.type for r in connection.execute(query, _named(connection, to))}
    wrong = [f"{c} is {have[c]}, should be {t}" for c, t in COLUMNS.items() if c in have and have[c] != _SAME.get(t, t)]
    if wrong:
        msg = f"table {to.table} is not SocialGouv's: {'; '.join(wrong)}; set DESTINATION_TABLE to another name"
        raise MirrorError(msg)
    for column, kind_of in COLUMNS.items():
        if column not in have:
            op.execute(f"ALTER TABLE {quote(to.table)} ADD COLUMN {column} {kind_of}")


def _indexed(connection: sa.Connection, to: Destination) -> list[tuple[str, bool]]:
    """(what is indexed, is it unique) of every index over all rows."""
    query = sa.text(
        "SELECT (SELECT string_agg(pg_get_indexdef(indexrelid, n, true), ', ' ORDER BY n) FROM generate_series(1, indnkeyatts) n),"
        " indisunique FROM pg_index WHERE indrelid = to_regclass(:t) AND indpred IS NULL"
    )
    return [(what, unique) for what, unique in connection.execute(query, _named(connection, to))]


def _unique(connection: sa.Connection, to: Destination, quote: Callable[[str], str]) -> None:
    columns = ", ".join(to.unique_columns)
    if (columns, True) not in _indexed(connection, to):
        name = quote(f"{to.table}_action_id_timestamp_unique" if to.partitioned else f"{to.table}_action_id_unique")
        op.execute(f"ALTER TABLE {quote(to.table)} ADD CONSTRAINT {name} UNIQUE ({columns})")


def _indexes(connection: sa.Connection, to: Destination, quote: Callable[[str], str]) -> None:
    have = {what for what, unique in _indexed(connection, to) if not unique}
    for name, what in INDEXES.items():
        if what not in have:
            op.execute(f"CREATE INDEX {quote(f'{name}_{to.table}')} ON {quote(to.table)} ({what})")
