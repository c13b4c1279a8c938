"""What alembic runs for a migration: always inside the connection, and the transaction, of the caller."""

from __future__ import annotations

from alembic import context

from storage.tables import Table

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Table.metadata,
    render_as_batch=True,  # SQLite changes a table by copying it
)
context.run_migrations()
