"""Copying the rows of one query to one Parquet file in the lake; shared by snapshots and incremental extracts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from adfml_assets.archive.columns import build_schema
from adfml_assets.archive.reading import read_batches
from resources.database import describe_address
from resources.lake import Lake
from resources.manifest import Manifest, build_manifest

if TYPE_CHECKING:
    import pyarrow as pa
    import sqlalchemy as sa
    from sqlalchemy import Connection


@dataclass(frozen=True)
class SourceTable:
    """A table of a source database, by its names there."""

    database: str
    schema: str
    table: str

    @property
    def full_name(self) -> str:
        """database.schema.table, as messages name it."""
        return f"{self.database}.{self.schema}.{self.table}"


@dataclass(frozen=True)
class Archived:
    """A partition of an archived table.

    Attributes:
        folder: its path in the lake.
        manifest: what it holds.
        existing: whether it was there before and nothing was copied.
    """

    folder: str
    manifest: Manifest
    existing: bool


@dataclass(frozen=True)
class Target:
    """Where rows go: the file's path, the asset and partition it is of, the run's time (with zone) and id."""

    path: str
    asset: str
    partition: str
    now: datetime
    run_id: str


def copy_rows(
    lake: Lake,
    connection: Connection,
    table: sa.Table,
    query: sa.Select[Any],
    source: SourceTable,
    target: Target,
    facts: dict[str, Any] | None = None,
) -> Manifest:
    """Write the rows of a query over a table to one file, and say in a manifest, not yet committed, what it holds."""
    schema: pa.Schema = build_schema(table, connection.dialect)
    with lake.write_parquet(target.path, schema) as sink:
        for batch in read_batches(connection, table, query, schema):
            sink.write(batch)
    assert sink.written is not None  # noqa: S101 - set when the block ended without an exception
    return build_manifest(
        asset=target.asset,
        partition=target.partition,
        files=[sink.written],
        schema=schema,
        written_at=target.now,
        run_id=target.run_id,
        source={
            "database": source.database,
            "schema": source.schema,
            "table": source.table,
            "address": describe_address(connection.engine),
        },
        facts=facts,
    )
