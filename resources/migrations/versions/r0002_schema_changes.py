"""The control database says which revisions it went through, and since which one code can use it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
additive = True


def upgrade() -> None:
    """Make adfml_schema_changes; whoever applies a revision writes its row."""
    op.create_table(
        "adfml_schema_changes",
        sa.Column("revision", sa.String(32), primary_key=True),
        sa.Column("compatible_from", sa.String(32), nullable=False),
        sa.Column("applied_at", sa.DateTime, nullable=False),
        sa.Column("applied_by", sa.String(60), nullable=False),
    )
