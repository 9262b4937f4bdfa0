"""A ledger made from nothing has the tables of one that came up through every migration."""

import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext

from usage_stats_dagster.ledger import ledger as module
from usage_stats_dagster.ledger.ledger import REVISION, Ledger
from usage_stats_dagster.ledger.tables import metadata


def _told(path) -> dict:
    """Of each table its columns, keys and indexes, as the database tells them."""
    look = sa.inspect(sa.create_engine(f"sqlite:///{path}"))
    return {
        t: (
            [(c["name"], str(c["type"]), c["nullable"], c["default"]) for c in look.get_columns(t)],
            look.get_pk_constraint(t)["constrained_columns"],
            sorted((i["column_names"], i["unique"]) for i in look.get_indexes(t)),
            sorted(u["column_names"] for u in look.get_unique_constraints(t)),
            sorted((f["constrained_columns"], f["referred_table"]) for f in look.get_foreign_keys(t)),
        )
        for t in look.get_table_names()
    }


def test_from_nothing_is_as_migrated(tmp_path):
    migrated, fresh = tmp_path / "migrated.db", tmp_path / "fresh.db"
    engine = sa.create_engine(f"sqlite:///{migrated}")
    config = Config()
    config.set_main_option("script_location", str(module.Path(module.__file__).parent / "migrations"))
    with engine.begin() as c:
        config.attributes["connection"] = c
        command.upgrade(config, "head")
    Ledger(f"sqlite:///{fresh}")
    assert _told(fresh) == _told(migrated)
    for path in (fresh, migrated):
        with sa.create_engine(f"sqlite:///{path}").connect() as c:
            context = MigrationContext.configure(c)
            assert compare_metadata(context, metadata) == []
            assert context.get_current_revision() == REVISION
