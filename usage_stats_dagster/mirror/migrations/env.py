"""Alembic's entry: migrates the mirror's table over the connection that `mirror.table` hands over."""

from alembic import context

connection = context.config.attributes["connection"]
destination = context.config.attributes["destination"]
context.configure(connection=connection, version_table=destination.version_table)
with context.begin_transaction():
    context.run_migrations()
