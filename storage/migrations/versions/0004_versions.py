"""Versions of datasets: which family one belongs to, what it changed, and which one of a family is shown."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the columns; each dataset from before is the first and only version of its family."""
    op.add_column("datasets", sa.Column("family", sa.Text(), nullable=False, server_default=""))
    op.add_column("datasets", sa.Column("version", sa.BigInteger(), nullable=False, server_default="1"))
    op.add_column("datasets", sa.Column("parent_id", sa.Text(), nullable=True))
    op.add_column("datasets", sa.Column("change", sa.Text(), nullable=False, server_default=""))
    op.add_column("datasets", sa.Column("is_current", sa.Boolean(), nullable=False, server_default=sa.true()))
    op.add_column("datasets", sa.Column("left_out_rows", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("datasets", sa.Column("summary", sa.JSON(), nullable=False, server_default="{}"))
    op.add_column(
        "datasets", sa.Column("unchecked_changes", sa.BigInteger(), nullable=False, server_default="0")
    )
    op.execute("UPDATE datasets SET family = id")
    op.create_index("ix_datasets_family_version", "datasets", ["family", "version"], unique=True)
    # At most one current version of a family, whatever the code does.
    op.create_index(
        "ix_datasets_current",
        "datasets",
        ["family"],
        unique=True,
        sqlite_where=sa.text("is_current"),
        postgresql_where=sa.text("is_current"),
    )
