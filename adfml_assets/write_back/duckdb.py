"""Rows staged in DuckDB: Arrow's batches are read by the database itself into a temporary table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from adfml_assets.write_back.rows import feed
from adfml_assets.write_back.staged_columns import StagedColumn

if TYPE_CHECKING:
    import pyarrow as pa
    import sqlalchemy as sa
    from sqlalchemy import Connection

_GIVEN = "adfml_given"


@contextmanager
def open_staging(
    connection: Connection, columns: Sequence[StagedColumn], batches: Iterator[pa.RecordBatch]
) -> Iterator[sa.Table]:
    """See `staging.open_staging`."""
    from adfml_assets.write_back.staging import create_temporary

    with connection.begin():
        staging = create_temporary(connection, columns)
        copy_rows(connection, staging, columns, batches)
        yield staging
        staging.drop(connection)


def copy_rows(
    connection: Connection, table: sa.Table, columns: Sequence[StagedColumn], batches: Iterator[pa.RecordBatch]
) -> None:
    """Insert batches into a table that has their columns in their order."""
    import pyarrow as pa

    driver: Any = connection.connection.driver_connection
    name = connection.dialect.identifier_preparer.format_table(table)
    # By position: DuckDB takes names that differ in case only for one.
    numbered = pa.schema([(f"c{position}", column.wire) for position, column in enumerate(columns)])
    renamed = (pa.RecordBatch.from_arrays(batch.columns, schema=numbered) for batch in batches)
    with feed(numbered, renamed) as reader:
        driver.register(_GIVEN, reader)
        try:
            driver.execute(f"INSERT INTO {name} SELECT * FROM {_GIVEN}")  # noqa: S608 - quoted
        finally:
            driver.unregister(_GIVEN)
