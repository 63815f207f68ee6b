"""What Alembic runs: the migrations, on the connection and in the transaction that ``everwatch.store`` hands over."""

from alembic import context

from everwatch.store.sql_schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
