"""Alembic's entry: migrates the connection that `ledger.ledger` hands over."""

from alembic import context

from usage_stats_dagster.ledger.tables import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
