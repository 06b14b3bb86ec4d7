"""Feature columns: which Arrow types count as numbers, and how they become the matrix a model takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from workloads.errors import WorkloadError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


def open_parquet(path: str, shown_as: str) -> pa.parquet.ParquetFile:
    """Open a Parquet file for reading in batches without loading whole row groups ahead.

    Args:
        path: Local path.
        shown_as: The path the user knows the file by, for the error.

    Raises:
        WorkloadError: The file is no whole Parquet file.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        return parquet.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)
    except pa.ArrowInvalid as error:
        raise WorkloadError(
            f"{shown_as} is not a whole Parquet file ({str(error).partition('.')[0]}): write it again", path=shown_as
        ) from error


def require_columns(schema: pa.Schema, names: Sequence[str], shown_as: str) -> None:
    """Check that a file has the given columns.

    Raises:
        WorkloadError: Some are missing; names these and those that exist.
    """
    missing = [name for name in names if name not in schema.names]
    if missing:
        raise WorkloadError(
            f"{shown_as} lacks the columns {', '.join(missing)}; it has {', '.join(schema.names) or 'none'}",
            missing=missing,
            existing=schema.names,
        )


def require_numbers(schema: pa.Schema, names: Sequence[str], shown_as: str) -> None:
    """Check that columns hold numbers: integers, floats, decimals, booleans, or nothing but NULL.

    Raises:
        WorkloadError: Some are of another type; names these with their types.
    """
    import pyarrow as pa

    numeric = (
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_decimal,
        pa.types.is_boolean,
        pa.types.is_null,
    )
    wrong = {
        name: str(schema.field(name).type)
        for name in names
        if not any(is_kind(schema.field(name).type) for is_kind in numeric)
    }
    if wrong:
        listed = ", ".join(f"{name} ({type_name})" for name, type_name in wrong.items())
        raise WorkloadError(
            f"{shown_as}: not numeric: {listed}; a model takes integers, floats, decimals and booleans: "
            "encode the column as a number or leave it out of the features",
            wrong=wrong,
        )


def to_floats(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Convert a numeric Arrow column to float64; NULL becomes NaN. Integers beyond 2**53 and decimals are rounded."""
    import numpy as np
    import pyarrow as pa
    from pyarrow import compute

    if pa.types.is_null(column.type):
        return np.full(len(column), np.nan)
    return np.asarray(compute.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False))


def to_matrix(table: pa.Table | pa.RecordBatch, names: Sequence[str]) -> tuple[np.ndarray, int]:
    """Convert numeric columns to a float64 matrix, one row a row, one column a name, in the order of the names.

    NULL becomes NaN. So does infinity (a ratio whose denominator was 0): it is missing information, not a large number.

    Returns:
        The matrix, and how many infinite values were taken for missing.
    """
    import numpy as np

    matrix = np.empty((table.num_rows, len(names)), dtype=np.float64, order="F")
    for position, name in enumerate(names):
        matrix[:, position] = to_floats(table.column(name))
    infinite = np.isinf(matrix)
    count = int(infinite.sum())
    if count:
        matrix[infinite] = np.nan
    return matrix, count
