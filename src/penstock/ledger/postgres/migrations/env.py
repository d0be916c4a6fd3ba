"""How Alembic runs the migrations: on the connection, and in the transaction, that ``schema.migrate`` hands in."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], version_table_schema="penstock")
with context.begin_transaction():
    context.run_migrations()
