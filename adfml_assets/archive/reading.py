"""SQL rows as Arrow record batches, in constant memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from adfml_assets.errors import UnexpectedValue
from resources.database import require_table

if TYPE_CHECKING:
    import pyarrow as pa
    import sqlalchemy as sa
    from sqlalchemy import Connection

BATCH_ROWS = 50_000


def reflect_table(connection: Connection, database: str, schema: str, table: str) -> sa.Table:
    """A table as the database declares it.

    Raises:
        NotFound: it does not exist; with those that do.
    """
    import sqlalchemy as sa

    require_table(connection, database, schema, table)
    return sa.Table(table, sa.MetaData(), schema=schema, autoload_with=connection, resolve_fks=False)


def read_batches(
    connection: Connection, table: sa.Table, query: sa.Select[Any], schema: pa.Schema, batch_rows: int = BATCH_ROWS
) -> Iterator[pa.RecordBatch]:
    """The rows of a query, whose columns are those of `schema`, as record batches.

    Raises:
        UnexpectedValue: a value is not of its column's declared type.
    """
    import pyarrow as pa

    result = connection.execution_options(stream_results=True, yield_per=batch_rows).execute(query)
    partitions = result.partitions(batch_rows)
    while True:
        try:
            rows = next(partitions, None)
        except (ValueError, ArithmeticError) as error:
            raise UnexpectedValue(table.fullname, "*", "values as declared", str(error)) from None
        if rows is None:
            return
        columns = zip(*rows, strict=True)
        arrays = [_to_array(table, field, values) for field, values in zip(schema, columns, strict=True)]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _to_array(table: sa.Table, field: pa.Field, values: tuple[Any, ...]) -> pa.Array:
    import pyarrow as pa

    try:
        return pa.array(values, type=field.type)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise UnexpectedValue(table.fullname, field.name, str(field.type), str(error)) from None
