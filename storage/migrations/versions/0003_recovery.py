"""What a job that was interrupted needs to go on by itself, its place in the queue, and who the worker is."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

# SQLite numbers rows by itself only in a column that is called INTEGER.
RowNumber = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the columns; jobs from before keep their order and have never been interrupted."""
    op.add_column("jobs", sa.Column("position", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("interruptions", sa.JSON(), nullable=False, server_default="[]"))
    op.add_column("jobs", sa.Column("resumed_from", sa.BigInteger(), nullable=True))
    op.add_column("jobs", sa.Column("paused_for", sa.Text(), nullable=True))
    op.add_column("jobs", sa.Column("needs_bytes", sa.BigInteger(), nullable=True))
    op.add_column("jobs", sa.Column("silent_seconds", sa.Double(), nullable=True))
    op.add_column("jobs", sa.Column("deleting", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.execute("UPDATE jobs SET position = number")
    op.create_table(
        "workers",
        sa.Column("number", RowNumber, nullable=False),
        sa.Column("pid", sa.BigInteger(), nullable=False),
        sa.Column("process_started", sa.Double(), nullable=False),
        sa.Column("boot_id", sa.Text(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_workers")),
        sqlite_autoincrement=True,
    )
