"""Rows staged in PostgreSQL: COPY in the binary format into a temporary table of the transaction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from adfml_assets.write_back.staged_columns import StagedColumn

if TYPE_CHECKING:
    import pyarrow as pa
    import sqlalchemy as sa
    from sqlalchemy import Connection

# Rows that come sorted are then sorted in memory, where that is found out at once.
_MEMORY = (
    "SELECT set_config('work_mem', '64MB', true) "
    "WHERE pg_size_bytes(current_setting('work_mem')) < pg_size_bytes('64MB')"
)


@contextmanager
def open_staging(
    connection: Connection, columns: Sequence[StagedColumn], batches: Iterator[pa.RecordBatch]
) -> Iterator[sa.Table]:
    """See `staging.open_staging`."""
    from adfml_assets.write_back.staging import create_temporary

    with connection.begin():
        connection.exec_driver_sql(_MEMORY)
        staging = create_temporary(connection, columns, postgresql_on_commit="DROP")
        copy_rows(connection, staging, batches)
        yield staging


def copy_rows(connection: Connection, table: sa.Table, batches: Iterator[pa.RecordBatch]) -> None:
    """COPY batches into a table that has their columns in their order."""
    from adfml_assets.write_back.postgresql_rows import HEADER, TRAILER, encode

    driver: Any = connection.connection.driver_connection
    name = connection.dialect.identifier_preparer.format_table(table)
    statement = f"COPY {name} FROM STDIN (FORMAT BINARY)"
    with driver.cursor() as cursor, cursor.copy(statement.encode()) as copy:
        copy.write(HEADER)
        for batch in batches:
            if batch.num_rows:
                copy.write(encode(batch))
        copy.write(TRAILER)
