"""Rows staged in SQLite: in the connection's temporary database, before the database itself is locked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from adfml_assets.write_back.staged_columns import StagedColumn

if TYPE_CHECKING:
    import pyarrow as pa
    import sqlalchemy as sa
    from sqlalchemy import Connection

CACHE_KB = 64_000
"""SQLite's page cache while rows are written; its own 2 MB are read and written over and over."""

_CHUNK_ROWS = 20_000


@contextmanager
def open_staging(
    connection: Connection, columns: Sequence[StagedColumn], batches: Iterator[pa.RecordBatch]
) -> Iterator[sa.Table]:
    """See `staging.open_staging`."""
    from adfml_assets.write_back.staging import NAME, create_temporary

    (cache,) = connection.exec_driver_sql("PRAGMA main.cache_size").one()
    connection.exec_driver_sql(f"PRAGMA main.cache_size = {-CACHE_KB:d}")
    connection.rollback()
    try:
        with connection.begin():
            staging = create_temporary(connection, columns)
            driver: Any = connection.connection.driver_connection
            fill(driver, NAME, batches)
            # Only the temporary database was written to. From here on the database is locked: nobody writes between
            # what is read of it and what is written.
            driver.commit()
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield staging
    finally:
        if not connection.closed and not connection.invalidated:
            with connection.begin():
                connection.exec_driver_sql(f"DROP TABLE IF EXISTS temp.{NAME}")
                connection.exec_driver_sql(f"PRAGMA main.cache_size = {cache:d}")


def fill(driver: Any, table: str, batches: Iterator[pa.RecordBatch]) -> None:
    """Insert batches into a table of the temporary database.

    Args:
        driver: the connection of Python's `sqlite3`.
        table: with the batches' columns, in their order.
    """
    for batch in batches:
        marks = ", ".join("?" * batch.num_columns)
        statement = f"INSERT INTO temp.{table} VALUES ({marks})"  # noqa: S608 - a constant
        for start in range(0, batch.num_rows, _CHUNK_ROWS):
            values = [to_values(column) for column in batch.slice(start, _CHUNK_ROWS).columns]
            driver.executemany(statement, zip(*values, strict=True))


def to_values(column: pa.Array) -> list[Any]:
    """What SQLite stores for the values: dates and moments as SQLAlchemy's text, decimals as text for it to read."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_temporal(kind) or pa.types.is_decimal(kind):
        moment = column.cast(pa.timestamp("us")) if pa.types.is_timestamp(kind) else column
        column = moment.cast(pa.string())
    elif pa.types.is_boolean(kind):
        column = column.cast(pa.int8())
    if column.null_count and (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        return column.to_pylist()
    # Much faster than to_pylist, which makes a scalar of each value first.
    return column.to_numpy(zero_copy_only=False).tolist()
