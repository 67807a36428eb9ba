"""Alembic's entry: run the revisions on the connection, and in the transaction, that `sidecar.state.open` hands in."""

from alembic import context

from sidecar.state.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
