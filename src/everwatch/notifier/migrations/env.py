"""Alembic's entry point: run the notifier's migrations on the given connection, in its transaction."""

from alembic import context

from everwatch.notifier.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=context.config.attributes["version_table"],
)
context.run_migrations()
