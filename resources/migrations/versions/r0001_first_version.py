"""Every table as it was before there were migrations. Frozen: what changes later is a revision of its own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Column, DateTime, Index, Integer, MetaData, String, Table, Text
from sqlalchemy.dialects import mssql
from sqlalchemy.schema import CreateIndex, CreateTable

revision = "0001"
down_revision = None
additive = False

_EXACT_DATETIME = mssql.DATETIME2(7)  # type: ignore[no-untyped-call]  # SQLAlchemy left this constructor untyped

metadata = MetaData()

Table(
    "adfml_deployments",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("created_at", DateTime, nullable=False),
)

Table(
    "adfml_remote_jobs",
    metadata,
    Column("submission_key", String(450), primary_key=True),
    Column("token", String(64), nullable=False, unique=True),
    Column("asset", String(250), nullable=False),
    Column("collecting_asset", String(250), nullable=False),
    Column("partition", String(150), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("try_number", Integer, nullable=False),
    Column("max_tries", Integer, nullable=False),
    Column("service", String(40), nullable=False),
    Column("request", Text, nullable=False),
    Column("state", String(20), nullable=False),
    Column("remote_id", String(200)),
    Column("url", Text),
    Column("remote_state", String(100)),
    Column("message", Text),
    Column("created_at", DateTime, nullable=False),
    Column("sends", Integer, nullable=False),
    Column("submitter_lease_until", DateTime, nullable=False),
    Column("submitted_at", DateTime),
    Column("deadline_at", DateTime, nullable=False),
    Column("polled_at", DateTime),
    Column("ended_at", DateTime),
    Column("cancel_reason", Text),
    Column("run_id", String(64), nullable=False),
    Column("backfill_id", String(64)),
    Column("early_selection", Text),
    Column("early_run_id", String(64)),
    Column("collected_by", String(64)),
    Column("collected_at", DateTime),
    Column("sender", String(64)),
    Column("group_key", String(450)),
    Column("parent_key", String(450)),
    Column("refusals", Integer),
    Column("facts", Text),
    Index("ix_adfml_remote_jobs_state", "service", "state", "polled_at"),
    Index("ix_adfml_remote_jobs_partition", "collecting_asset", "partition", "attempt"),
    Index("ix_adfml_remote_jobs_group", "group_key"),
    Index("ix_adfml_remote_jobs_attempt", "asset", "partition", "attempt", unique=True),
)

Table(
    "ArchiveWatermark",
    metadata,
    Column("TableName", String(300), primary_key=True),
    Column("PartitionKey", String(20), primary_key=True),
    Column("SequenceNumber", Integer, nullable=False),
    Column("LowerWatermark", String(64)),
    Column("UpperWatermark", String(64)),
    Column("WatermarkKind", String(20), nullable=False, server_default="datetime"),
    Column("ArchiveTimestamp", DateTime().with_variant(_EXACT_DATETIME, "mssql")),
    Column("RecordedAt", DateTime, nullable=False),
    Column("RunId", String(64), nullable=False),
    sa.UniqueConstraint("TableName", "SequenceNumber", name="UQ_ArchiveWatermark_Sequence"),
)

Table(
    "adfml_partition_claims",
    metadata,
    Column("asset", String(300), primary_key=True),
    Column("partition", String(150), primary_key=True),
    Column("number", Integer, nullable=False),
    Column("stamp", DateTime, nullable=False),
    Column("committed", Integer, nullable=False),
    Column("run_id", String(64), nullable=False),
    Column("claimed_at", DateTime, nullable=False),
)

Table(
    "adfml_model_aliases",
    metadata,
    Column("model", String(200), primary_key=True),
    Column("alias", String(60), primary_key=True),
    Column("version", String(60), nullable=False),
    Column("set_at", DateTime, nullable=False),
    Column("run_id", String(64), nullable=False),
)

Table(
    "adfml_model_versions",
    metadata,
    Column("model", String(200), primary_key=True),
    Column("version", String(60), primary_key=True),
    Column("registered_at", DateTime, nullable=False),
    Column("run_id", String(64), nullable=False),
    Column("submission_key", String(450)),
    Column("model_file", String(200), nullable=False),
    Column("model_sha256", String(64), nullable=False),
    Column("features_sha256", String(64), nullable=False),
    Column("registered_name", String(300)),
    Column("registered_version", String(60)),
    Column("metrics", Text, nullable=False),
    Column("verdict", String(20)),
    Column("reason", Text),
    Column("compared_to", String(60)),
    Column("findings", Text),
    Column("judged_at", DateTime),
)

Table(
    "adfml_model_alias_changes",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("model", String(200), nullable=False),
    Column("alias", String(60), nullable=False),
    Column("version", String(60)),
    Column("previous", String(60)),
    Column("action", String(20), nullable=False),
    Column("changed_at", DateTime, nullable=False),
    Column("changed_by", String(100), nullable=False),
    Column("reason", Text, nullable=False),
    Column("mirrored_at", DateTime),
    Index("ix_adfml_model_alias_changes", "model", "alias", "id"),
)

Table(
    "adfml_retrainings",
    metadata,
    Column("model", String(200), primary_key=True),
    Column("version", String(60), primary_key=True),
    Column("requested_at", DateTime, nullable=False),
    Column("reason", Text, nullable=False),
    Column("backfill_id", String(32)),
    Column("ended_at", DateTime),
    Column("outcome", String(40)),
)


def upgrade() -> None:
    """Make the tables and their indexes."""
    for table in metadata.sorted_tables:
        op.execute(CreateTable(table))
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            op.execute(CreateIndex(index))
