"""Alembic's entry point: run the migrations on the connection of ``everwatch.store``, in its transaction."""

from alembic import context

from everwatch.store.sql_schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
