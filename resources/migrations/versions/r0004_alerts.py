"""What has failed, and what is to be told of it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
additive = True


def upgrade() -> None:
    """Make adfml_incidents and adfml_alert_messages."""
    op.create_table(
        "adfml_incidents",
        sa.Column("subject", sa.String(450), primary_key=True),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("opened_at", sa.DateTime, nullable=False),
        sa.Column("last_at", sa.DateTime, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("last_event_id", sa.BigInteger, nullable=False),
        sa.Column("failure", sa.Text, nullable=False),
        sa.Column("told_at", sa.DateTime),
        sa.Column("resolved_at", sa.DateTime),
    )
    op.create_index("ix_adfml_incidents_open", "adfml_incidents", ["resolved_at", "kind"])
    op.create_table(
        "adfml_alert_messages",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("channel", sa.String(20), nullable=False),
        sa.Column("alert", sa.Text, nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("due_at", sa.DateTime, nullable=False),
        sa.Column("sent_at", sa.DateTime),
        sa.Column("reason", sa.Text),
    )
    op.create_index("ix_adfml_alert_messages_due", "adfml_alert_messages", ["state", "due_at"])
