"""What Alembic runs: the notifier's migrations, on the connection and in the transaction that it is handed."""

from alembic import context

from everwatch.notifier.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=context.config.attributes["version_table"],
)
context.run_migrations()
