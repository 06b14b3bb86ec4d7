"""Times of day as text: Spark refuses a whole file in which one column is a Parquet TIME.

Their text (`hh:mm:ss.ffffff`) is exact, sorts as they do, and every reader can cast it back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

NOTE = b"time of day as text"


def find_times(schema: pa.Schema) -> frozenset[str]:
    """The names of the columns that are times of day."""
    import pyarrow as pa

    return frozenset(field.name for field in schema if pa.types.is_time(field.type))


def write_times_as_text(schema: pa.Schema) -> pa.Schema:
    """The schema after `convert_times`."""
    import pyarrow as pa

    fields = [
        pa.field(f.name, pa.string(), f.nullable, {**(f.metadata or {}), b"note": NOTE})
        if pa.types.is_time(f.type)
        else f
        for f in schema
    ]
    return pa.schema(fields, metadata=schema.metadata)


def convert_times(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Batches with times of day as text.

    Args:
        schema: of the result, from `write_times_as_text`.
    """
    import pyarrow as pa

    for batch in batches:
        arrays = [array.cast(pa.string()) if pa.types.is_time(array.type) else array for array in batch.columns]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)
