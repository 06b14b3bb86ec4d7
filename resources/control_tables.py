"""The control database's tables (SQLAlchemy Core). Times are UTC, stored without zone and handed out with it."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy import Column, Index, Integer, MetaData, String, Table, Text
from sqlalchemy.dialects import mssql


class UtcDateTime(sa.types.TypeDecorator[datetime]):
    """A point in time: any zone in, UTC out."""

    impl = sa.DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """To UTC, without zone."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """With zone."""
        return None if value is None else value.replace(tzinfo=UTC)


# SQL Server's own DATETIME rounds to 3.33 ms.
_EXACT_DATETIME = mssql.DATETIME2(7)  # type: ignore[no-untyped-call]  # SQLAlchemy left this constructor untyped

metadata = MetaData()

deployments = Table(
    "adfml_deployments",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("created_at", UtcDateTime, nullable=False),
)

remote_jobs = Table(
    "adfml_remote_jobs",
    metadata,
    # asset | partition | attempt: one row a submission, there before the service is called. The shards of a partition
    # and what follows from them are attempts too.
    Column("submission_key", String(450), primary_key=True),
    Column("token", String(64), nullable=False, unique=True),
    Column("asset", String(250), nullable=False),
    Column("collecting_asset", String(250), nullable=False),
    Column("partition", String(150), nullable=False),
    Column("attempt", Integer, nullable=False),
    # 1 for a submission somebody asked for, 2.. for the retries of it.
    Column("try_number", Integer, nullable=False),
    Column("max_tries", Integer, nullable=False),
    Column("service", String(40), nullable=False),
    Column("request", Text, nullable=False),
    Column("state", String(20), nullable=False),
    Column("remote_id", String(200)),
    Column("url", Text),
    Column("remote_state", String(100)),
    Column("message", Text),
    Column("created_at", UtcDateTime, nullable=False),
    # How often the service was called for this row; until when nobody else may call it.
    Column("sends", Integer, nullable=False),
    Column("submitter_lease_until", UtcDateTime, nullable=False),
    Column("submitted_at", UtcDateTime),
    Column("deadline_at", UtcDateTime, nullable=False),
    Column("polled_at", UtcDateTime),
    Column("ended_at", UtcDateTime),
    Column("cancel_reason", Text),
    Column("run_id", String(64), nullable=False),
    Column("backfill_id", String(64)),
    # What an early collecting run left undone: asset keys to run again once the job has ended, as JSON.
    Column("early_selection", Text),
    Column("early_run_id", String(64)),
    Column("collected_by", String(64)),
    Column("collected_at", UtcDateTime),
    # Who may call the service until the lease ends: a run's id, or a sensor's tick.
    Column("sender", String(64)),
    # The first of the jobs that make one result together, and the job that this one retries or completes.
    Column("group_key", String(450)),
    Column("parent_key", String(450)),
    # How often the service had no room for it; what its client noted for itself, as JSON.
    Column("refusals", Integer),
    Column("facts", Text),
    Index("ix_adfml_remote_jobs_state", "service", "state", "polled_at"),
    Index("ix_adfml_remote_jobs_partition", "collecting_asset", "partition", "attempt"),
    Index("ix_adfml_remote_jobs_group", "group_key"),
    Index("ix_adfml_remote_jobs_attempt", "asset", "partition", "attempt", unique=True),
)

# The pattern's table, with an interval a row; the same DDL is in resources/sql for databases that keep it themselves.
archive_watermark = Table(
    "ArchiveWatermark",
    metadata,
    Column("TableName", String(300), primary_key=True),
    Column("PartitionKey", String(20), primary_key=True),
    Column("SequenceNumber", Integer, nullable=False),
    # Watermarks are kept as the text the database gave: a float or a datetime could not hold every one of them.
    Column("LowerWatermark", String(64)),
    Column("UpperWatermark", String(64)),
    Column("WatermarkKind", String(20), nullable=False, server_default="datetime"),
    # The upper end as a timestamp, for queries written for the pattern's table.
    Column("ArchiveTimestamp", sa.DateTime().with_variant(_EXACT_DATETIME, "mssql")),
    Column("RecordedAt", UtcDateTime, nullable=False),
    Column("RunId", String(64), nullable=False),
    sa.UniqueConstraint("TableName", "SequenceNumber", name="UQ_ArchiveWatermark_Sequence"),
)

partition_claims = Table(
    "adfml_partition_claims",
    metadata,
    Column("asset", String(300), primary_key=True),
    Column("partition", String(150), primary_key=True),
    Column("number", Integer, nullable=False),
    Column("stamp", UtcDateTime, nullable=False),
    Column("committed", Integer, nullable=False),
    Column("run_id", String(64), nullable=False),
    Column("claimed_at", UtcDateTime, nullable=False),
)

# Where aliases point now; how they came there is in adfml_model_alias_changes.
model_aliases = Table(
    "adfml_model_aliases",
    metadata,
    Column("model", String(200), primary_key=True),
    Column("alias", String(60), primary_key=True),
    Column("version", String(60), nullable=False),
    Column("set_at", UtcDateTime, nullable=False),
    Column("run_id", String(64), nullable=False),
)

model_versions = Table(
    "adfml_model_versions",
    metadata,
    Column("model", String(200), primary_key=True),
    Column("version", String(60), primary_key=True),
    Column("registered_at", UtcDateTime, nullable=False),
    Column("run_id", String(64), nullable=False),
    Column("submission_key", String(450)),
    # What a model file has to be before it is loaded: recorded here, not only beside the file.
    Column("model_file", String(200), nullable=False),
    Column("model_sha256", String(64), nullable=False),
    Column("features_sha256", String(64), nullable=False),
    # Its name and version in the MLflow registry (Unity Catalog), where it is registered there.
    Column("registered_name", String(300)),
    Column("registered_version", String(60)),
    Column("metrics", Text, nullable=False),
    # passed or refused; NULL until the gate has judged it. compared_to: the champion of that moment.
    Column("verdict", String(20)),
    Column("reason", Text),
    Column("compared_to", String(60)),
    # What was found of each reference, as JSON: one entry a baseline, one for the champion.
    Column("findings", Text),
    Column("judged_at", UtcDateTime),
)

# Every change of an alias, in order: what a rollback goes back by. A NULL version: the alias was taken away.
model_alias_changes = Table(
    "adfml_model_alias_changes",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("model", String(200), nullable=False),
    Column("alias", String(60), nullable=False),
    Column("version", String(60)),
    Column("previous", String(60)),
    # promote, rollback, judge, point; adopt: the alias was there before its changes were recorded.
    Column("action", String(20), nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    Column("changed_by", String(100), nullable=False),
    Column("reason", Text, nullable=False),
    # When Unity Catalog was told; NULL: not yet, or there is none.
    Column("mirrored_at", UtcDateTime),
    Index("ix_adfml_model_alias_changes", "model", "alias", "id"),
)

# Trainings that drift asked for: one row a version, there before anything is launched.
retrainings = Table(
    "adfml_retrainings",
    metadata,
    Column("model", String(200), primary_key=True),
    Column("version", String(60), primary_key=True),
    Column("requested_at", UtcDateTime, nullable=False),
    Column("reason", Text, nullable=False),
    # The backfill that trains it: noted before it is launched, so that no second one is.
    Column("backfill_id", String(32)),
    Column("ended_at", UtcDateTime),
    Column("outcome", String(40)),
)

# What has failed and is not well yet, or was: one row a subject (an asset's partition, a job, a check, a sensor).
incidents = Table(
    "adfml_incidents",
    metadata,
    Column("subject", String(450), primary_key=True),
    Column("kind", String(20), nullable=False),
    Column("opened_at", UtcDateTime, nullable=False),
    Column("last_at", UtcDateTime, nullable=False),
    Column("failures", Integer, nullable=False),
    # Events rise: what was counted is not counted again by a tick that did not live to keep its cursor.
    Column("last_event_id", sa.BigInteger, nullable=False),
    # The last failure, as JSON.
    Column("failure", Text, nullable=False),
    Column("told_at", UtcDateTime),
    Column("resolved_at", UtcDateTime),
    Index("ix_adfml_incidents_open", "resolved_at", "kind"),
)

# What is to be told, there before it is sent: one row a channel.
alert_messages = Table(
    "adfml_alert_messages",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("channel", String(20), nullable=False),
    Column("alert", Text, nullable=False),
    # pending, sent, given_up
    Column("state", String(20), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("attempts", Integer, nullable=False),
    # When it may be tried (again): also the end of the lease of whoever is sending it.
    Column("due_at", UtcDateTime, nullable=False),
    Column("sent_at", UtcDateTime),
    Column("reason", Text),
    Index("ix_adfml_alert_messages_due", "state", "due_at"),
)

# Which revisions of these tables were applied, and since which revision code can use them (resources/migrations).
schema_changes = Table(
    "adfml_schema_changes",
    metadata,
    Column("revision", String(32), primary_key=True),
    Column("compatible_from", String(32), nullable=False),
    Column("applied_at", UtcDateTime, nullable=False),
    Column("applied_by", String(60), nullable=False),
)

# Partitions that retention removed: one row each, there before the first file is deleted.
removals = Table(
    "adfml_removals",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("asset", String(300), nullable=False),
    Column("partition", String(150), nullable=False),
    Column("folder", Text, nullable=False),
    # The rule in words, and the manifest of what is removed: its run tells it from one that is made again meanwhile.
    Column("reason", Text, nullable=False),
    Column("manifest", Text, nullable=False),
    Column("intended_at", UtcDateTime, nullable=False),
    # When no file was left, and when Dagster was told; withdrawn: the partition was made again in between.
    Column("removed_at", UtcDateTime),
    Column("reported_at", UtcDateTime),
    Column("withdrawn_at", UtcDateTime),
    Index("ix_adfml_removals_partition", "asset", "partition"),
)
