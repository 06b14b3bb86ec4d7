"""Record batches in the rows of PostgreSQL's binary COPY format, by array operations: no Python object a value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

    Bytes = npt.NDArray[np.uint8]
    Positions = npt.NDArray[np.int64]

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"

# PostgreSQL counts from 2000-01-01, Arrow from 1970-01-01.
_DAYS, _MICROSECONDS = 10_957, 946_684_800_000_000


def encode(batch: pa.RecordBatch) -> memoryview:
    """The rows' bytes: each the number of fields, then each field's length (-1: NULL) and value, all big-endian.

    Booleans, integers, floats, dates, times, timestamps (us), texts and binaries; a column of the staging table has
    the same width.
    """
    rows = batch.num_rows
    fields = [_Fixed(column) if _is_fixed(column.type) else _Varying(column) for column in batch.columns]
    if all(isinstance(field, _Fixed) and field.valid is None for field in fields):
        return _encode_alike([field.values for field in fields if isinstance(field, _Fixed)], rows)
    ends = np.full(rows, 2, np.int64)
    starts = []
    for field in fields:
        starts.append(ends)
        ends = ends + 4 + field.sizes
    offsets = np.zeros(rows + 1, np.int64)
    np.cumsum(ends, out=offsets[1:])
    out = np.empty(int(offsets[-1]), np.uint8)
    at = offsets[:-1]
    _put(out, at, np.full(rows, len(fields), ">i2"))
    for field, start in zip(fields, starts, strict=True):
        begin = at + start
        lengths = np.where(field.valid, field.sizes, -1) if field.valid is not None else field.sizes
        _put(out, begin, lengths.astype(">i4"))
        field.put(out, begin + 4)
    return out.data


def _encode_alike(columns: list[npt.NDArray[Any]], rows: int) -> memoryview:
    """Rows of one length."""
    layout: list[tuple[str, Any]] = [("fields", ">i2")]
    for position, values in enumerate(columns):
        layout += [(f"length{position}", ">i4"), (f"value{position}", values.dtype)]
    out = np.empty(rows, np.dtype(layout))
    out["fields"] = len(columns)
    for position, values in enumerate(columns):
        out[f"length{position}"] = values.dtype.itemsize
        out[f"value{position}"] = values
    return out.view(np.uint8).data


def _put(out: Bytes, at: Positions, values: npt.NDArray[Any]) -> None:
    """Write values of one width at these positions."""
    raw = values.view(np.uint8).reshape(len(values), values.dtype.itemsize)
    for byte in range(raw.shape[1]):
        out[at + byte] = raw[:, byte]


class _Fixed:
    """A column whose values have one width."""

    def __init__(self, column: pa.Array) -> None:
        self.valid = _find_valid(column)
        self.values = _to_big_endian(column)
        width = self.values.dtype.itemsize
        rows = len(column)
        self.sizes: Positions = np.full(rows, width, np.int64) if self.valid is None else self.valid * np.int64(width)

    def put(self, out: Bytes, at: Positions) -> None:
        if self.valid is None:
            _put(out, at, self.values)
        else:
            _put(out, at[self.valid], self.values[self.valid])


class _Varying:
    """A column of texts or binaries."""

    def __init__(self, column: pa.Array) -> None:
        self.valid = _find_valid(column)
        buffers = column.buffers()
        offsets = np.frombuffer(buffers[1], np.int32)[column.offset : column.offset + len(column) + 1].astype(np.int64)
        self.sizes = np.diff(offsets)
        if self.valid is not None:
            # The bytes below a NULL mean nothing, and need not be none.
            self.sizes = self.sizes * self.valid
        self._starts = offsets[:-1]
        self._data = np.frombuffer(buffers[2] if buffers[2] is not None else b"", np.uint8)

    def put(self, out: Bytes, at: Positions) -> None:
        total = int(self.sizes.sum())
        # The place of each byte within its value.
        within = np.arange(total) - np.repeat(np.cumsum(self.sizes) - self.sizes, self.sizes)
        out[np.repeat(at, self.sizes) + within] = self._data[np.repeat(self._starts, self.sizes) + within]


def _is_fixed(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return not (pa.types.is_string(kind) or pa.types.is_binary(kind))


def _find_valid(column: pa.Array) -> npt.NDArray[np.bool_] | None:
    if not column.null_count:
        return None
    return np.asarray(column.is_valid().to_numpy(zero_copy_only=False))


def _to_big_endian(column: pa.Array) -> npt.NDArray[Any]:
    import pyarrow as pa

    kind = column.type
    shift = 0
    if pa.types.is_boolean(kind):
        column = column.cast(pa.uint8())
    elif pa.types.is_date32(kind):
        column, shift = column.cast(pa.int32()), _DAYS
    elif pa.types.is_timestamp(kind):
        column, shift = column.cast(pa.int64()), _MICROSECONDS
    elif pa.types.is_time64(kind):
        column = column.cast(pa.int64())
    dtype = np.dtype(column.type.to_pandas_dtype())
    # Straight from the buffer: NULLs would turn integers into floats.
    raw = np.frombuffer(column.buffers()[1], dtype)[column.offset : column.offset + len(column)]
    return (raw - np.asarray(shift, dtype) if shift else raw).astype(dtype.newbyteorder(">"))
