"""Batches from a cursor of SQL Server's driver, in the declared schema and of about BATCH_BYTES."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from resources.errors import UnexpectedValue
from resources.servers.base import BATCH_BYTES, TableName
from resources.servers.sqlserver_types import SqlServerColumn

if TYPE_CHECKING:
    import pyarrow as pa

_MOST_ROWS = 128 * 1024
_GROWTH = 4
_RESERVED_BYTES = 50
"""What the driver reserves a row and column of text before it has read one: 42 bytes, and an offset of 8."""
_MOST_RESERVED_BYTES = 4 * BATCH_BYTES


def build_schema(columns: Sequence[SqlServerColumn]) -> pa.Schema:
    """The Arrow schema of columns, `source_type` and `note` in each field's metadata."""
    import pyarrow as pa

    return pa.schema([_build_field(pa, column) for column in columns])


def limit_rows(columns: Sequence[SqlServerColumn]) -> int:
    """The most rows a batch may ask for: the driver reserves memory by rows and columns, however short the values."""
    return max(1, min(_MOST_ROWS, _MOST_RESERVED_BYTES // (_RESERVED_BYTES * max(1, len(columns)))))


def estimate_rows(columns: Sequence[SqlServerColumn]) -> int:
    """How many rows the first batch asks for: as many as fit if every value is as long as it may be."""
    width = sum(column.width for column in columns)
    return max(1, min(limit_rows(columns), BATCH_BYTES // max(1, width)))


def adapt_rows(rows: int, size: int, most: int) -> int:
    """How many rows the next batch asks for, at most `most`, after one of `rows` rows was `size` bytes.

    It grows by steps, so that a run of short rows does not lead to a batch of very long ones.
    """
    fitting = rows * BATCH_BYTES // max(1, size)
    return max(1, min(most, rows * _GROWTH, fitting))


def fetch_batches(cursor: Any, table: TableName, columns: Sequence[SqlServerColumn]) -> Iterator[pa.RecordBatch]:
    """The rows of an executed cursor.

    Raises:
        UnexpectedValue: the driver gave a value that is not of its column's declared type.
    """
    schema = build_schema(columns)
    rows, most = estimate_rows(columns), limit_rows(columns)
    while True:
        # Asked for batch by batch: the driver's reader has one number of rows for all of them.
        batch = cursor.arrow_batch(rows)
        fetched = batch.num_rows
        if fetched:
            size = batch.nbytes
            yield shape_batch(batch, schema, table)
        if fetched < rows:
            return
        rows = adapt_rows(rows, size, most)


def shape_batch(batch: pa.RecordBatch, schema: pa.Schema, table: TableName) -> pa.RecordBatch:
    """A batch in the declared schema, by casts that lose nothing.

    Raises:
        UnexpectedValue: a value would not survive, or is NULL where none is declared.
    """
    import pyarrow as pa

    arrays = []
    for index, field in enumerate(schema):
        array = batch.column(index)
        if array.type != field.type:
            try:
                array = array.cast(field.type, safe=True)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                reason = f"{array.type} from the driver: {str(error).splitlines()[0][:200]}"
                raise UnexpectedValue(str(table), field.name, str(field.type), reason) from None
        if array.null_count and not field.nullable:
            raise UnexpectedValue(str(table), field.name, f"{field.type}, not NULL", "NULL")
        arrays.append(array)
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _build_field(pa: Any, column: SqlServerColumn) -> pa.Field:
    metadata = {"source_type": column.source_type}
    if column.note is not None:
        metadata["note"] = column.note
    return pa.field(column.name, column.arrow_type, column.nullable, metadata)
