"""Rows staged in SQL Server: bulk-copied from Arrow into a table that is committed, and removed when they are merged.

The driver's bulk copy opens a connection of its own: it is not part of our transaction and sees no temporary table.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, cast

from adfml_assets.write_back.rows import feed
from adfml_assets.write_back.staged_columns import StagedColumn

if TYPE_CHECKING:
    import pyarrow as pa
    import sqlalchemy as sa
    from sqlalchemy import Connection

PREFIX = "adfml_staging_"
LEFT_HOURS = 24
"""After so many hours a staging table is nobody's: its process was killed."""


class BulkCursor(Protocol):
    """What is used of the driver's cursor besides statements."""

    def bulkcopy_arrow(self, table_name: str, source: Any, **options: Any) -> dict[str, Any]:
        """Copy record batches into a table, over a connection of its own; committed when it returns."""

    def close(self) -> None:
        """Free it."""


@contextmanager
def open_staging(
    connection: Connection, columns: Sequence[StagedColumn], batches: Iterator[pa.RecordBatch], schema: str | None
) -> Iterator[sa.Table]:
    """See `staging.open_staging`."""
    import sqlalchemy as sa

    from adfml_assets.write_back.staging import build_columns

    remove_left(connection, schema)
    staging = sa.Table(f"{PREFIX}{uuid.uuid4().hex}", sa.MetaData(), *build_columns(columns), schema=schema)
    with connection.begin():
        staging.create(connection, checkfirst=False)
    try:
        copy_rows(connection, staging, columns, batches)
        with connection.begin():
            yield staging
    finally:
        if not connection.closed and not connection.invalidated:
            with connection.begin():
                staging.drop(connection, checkfirst=False)


def copy_rows(
    connection: Connection, table: sa.Table, columns: Sequence[StagedColumn], batches: Iterator[pa.RecordBatch]
) -> None:
    """Bulk-copy batches into a table that is committed."""
    import pyarrow as pa

    driver: Any = connection.connection.driver_connection
    cursor = cast(BulkCursor, driver.cursor())
    schema = pa.schema([(column.name, column.wire) for column in columns])
    try:
        with feed(schema, batches) as reader:
            cursor.bulkcopy_arrow(
                connection.dialect.identifier_preparer.format_table(table),
                reader,
                # Names are compared with their case here, so they are given as the table was made.
                column_mappings=schema.names,
                timeout=0,
                table_lock=True,
                keep_nulls=True,
            )
    finally:
        cursor.close()


def build_find_left(schema: str | None) -> tuple[str, tuple[str, int]]:
    """The query for staging tables that killed processes left, and its parameters."""
    where = "SCHEMA_NAME()" if schema is None else "?"
    query = (
        f"SELECT t.name FROM sys.tables AS t WHERE SCHEMA_NAME(t.schema_id) = {where} "  # noqa: S608 - no values
        "AND t.name LIKE ? AND t.create_date < DATEADD(HOUR, ?, GETDATE())"
    )
    pattern = PREFIX.replace("_", "[_]") + "%"
    return query, (*(() if schema is None else (schema,)), pattern, -LEFT_HOURS)


def remove_left(connection: Connection, schema: str | None) -> list[str]:
    """Drop the staging tables that killed processes left. Returns their names."""
    import sqlalchemy as sa

    query, parameters = build_find_left(schema)
    with connection.begin():
        names = [str(name) for (name,) in connection.exec_driver_sql(query, parameters)]
        for name in names:
            left = connection.dialect.identifier_preparer.format_table(sa.Table(name, sa.MetaData(), schema=schema))
            # Another run may drop it at the same time.
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS {left}")
    return names
