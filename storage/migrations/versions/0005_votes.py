"""The strength that is kept with an adapter, and the votes of blind comparisons."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

# SQLite numbers rows by itself only in a column that is called INTEGER.
RowNumber = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add them; adapters from before answer as strongly as they were trained."""
    op.add_column("adapters", sa.Column("strength", sa.Double(), nullable=False, server_default="1"))
    op.create_table(
        "votes",
        sa.Column("number", RowNumber, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("adapter_id", sa.Text(), nullable=False),
        sa.Column("contest", sa.Text(), nullable=False),
        sa.Column("held_out_row", sa.BigInteger(), nullable=True),
        sa.Column("first", sa.Text(), nullable=False),
        sa.Column("second", sa.Text(), nullable=False),
        sa.Column("shown_left", sa.Text(), nullable=False),
        sa.Column("winner", sa.Text(), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["adapter_id"], ["adapters.id"], name=op.f("fk_votes_adapter_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_votes")),
        sa.UniqueConstraint("id", name=op.f("uq_votes_id")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_votes_adapter_id_contest", "votes", ["adapter_id", "contest"])
