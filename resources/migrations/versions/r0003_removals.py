"""What retention removes, noted before it is."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
additive = True


def upgrade() -> None:
    """Make adfml_removals."""
    op.create_table(
        "adfml_removals",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("asset", sa.String(300), nullable=False),
        sa.Column("partition", sa.String(150), nullable=False),
        sa.Column("folder", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("manifest", sa.Text, nullable=False),
        sa.Column("intended_at", sa.DateTime, nullable=False),
        sa.Column("removed_at", sa.DateTime),
        sa.Column("reported_at", sa.DateTime),
        sa.Column("withdrawn_at", sa.DateTime),
    )
    op.create_index("ix_adfml_removals_partition", "adfml_removals", ["asset", "partition"])
