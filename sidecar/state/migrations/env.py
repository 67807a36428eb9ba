"""Alembic's entry: run the revisions on the connection and in the transaction that `sidecar.state.schema` hands in."""

from alembic import context

from sidecar.state.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table_schema=context.config.attributes["schema"],
)
context.run_migrations()
