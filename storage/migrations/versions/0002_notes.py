"""What a job says about its own way of working: sentences for the run page, and what a rehearsal foresaw."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns; jobs from before have said nothing."""
    op.add_column("jobs", sa.Column("notes", sa.JSON(), nullable=False, server_default="[]"))
    op.add_column("jobs", sa.Column("foreseen_seconds", sa.Double(), nullable=True))
    op.add_column("jobs", sa.Column("foreseen_peak_bytes", sa.BigInteger(), nullable=True))
