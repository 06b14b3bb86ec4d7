"""Rows in PostgreSQL's binary COPY format as Arrow record batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from resources.errors import UnexpectedValue
from resources.servers import postgresql_kernels as kernels
from resources.servers import postgresql_wide_kernels as wide

if TYPE_CHECKING:
    import numpy.typing as npt

    from resources.servers.base import TableName
    from resources.servers.postgresql_catalog import PgColumn
    from resources.servers.postgresql_types import Form

    Bytes = npt.NDArray[np.uint8]
    Positions = npt.NDArray[np.int32]

_INT32, _INT64 = np.iinfo(np.int32), np.iinfo(np.int64)
# PostgreSQL counts from 2000-01-01, Arrow from 1970-01-01.
_DAYS, _MICROSECONDS = 10_957, 946_684_800_000_000
_LAST_TIME = 86_399_999_999
_SMALL_DIGITS = 18
_Range = tuple[int, int, int]
_RANGES: dict[str, _Range] = {
    "int32": (0, int(_INT32.min), int(_INT32.max)),
    "int64": (0, int(_INT64.min), int(_INT64.max)),
    # The ends of the range are -infinity and infinity.
    "date": (_DAYS, int(_INT32.min) + 1, int(_INT32.max) - _DAYS),
    "timestamp": (_MICROSECONDS, int(_INT64.min) + 1, int(_INT64.max) - _MICROSECONDS),
    "time": (0, 0, _LAST_TIME),
}


class _CannotHold(Exception):
    def __init__(self, position: int, form: Form) -> None:
        self.position = position
        self.form = form
        super().__init__()


class Decoder:
    """Turns staging buffers of one query's rows into record batches.

    Args:
        table: for messages.
        columns: in the order of the rows' fields.
        schema: of the batches.
    """

    def __init__(self, table: TableName, columns: Sequence[PgColumn], schema: pa.Schema) -> None:
        self._table = table
        self._columns = columns
        self._schema = schema

    def decode(self, data: Bytes, start: int, used: int, messages: int) -> pa.RecordBatch:
        """The rows in a buffer's bytes from `start` to `used`; `messages` is the most rows there can be.

        Raises:
            UnexpectedValue: a value has no counterpart.
        """
        count = len(self._columns)
        positions = np.empty(count * messages, np.int32)
        rows = int(kernels.find_fields(data, start, used, count, messages, positions))
        if rows < 0:
            raise UnexpectedValue(str(self._table), "*", f"rows of {count} fields", "the server sent something else")
        arrays = []
        for index, column in enumerate(self._columns):
            part = positions[index * messages : index * messages + rows]
            try:
                array = _decode(column.form, data, part)
            except _CannotHold as found:
                raise self._explain(column, found.form, data, found.position) from None
            if array.null_count and not column.nullable:
                raise UnexpectedValue(str(self._table), column.name, f"{column.source_type} NOT NULL", "it is NULL")
            arrays.append(array)
        if not arrays:
            empty = pa.StructArray.from_buffers(pa.struct([]), rows, [None])
            return pa.RecordBatch.from_struct_array(empty)
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)

    def _explain(self, column: PgColumn, form: Form, data: Bytes, position: int) -> UnexpectedValue:
        expected = f"{column.source_type} as {column.form.arrow_type}"
        return UnexpectedValue(str(self._table), column.name, expected, _describe_value(form, data, position))


def _describe_value(form: Form, data: Bytes, position: int) -> str:
    """What a value is that cannot be held."""
    length = int.from_bytes(data[position : position + 4].tobytes(), "big", signed=True)
    raw = data[position + 4 : position + 4 + max(length, 0)].tobytes()
    if form.element is not None:
        dimensions = int.from_bytes(raw[:4], "big")
        if dimensions > 1:
            return f"an array of {dimensions} dimensions: cast the column to text in a view"
        return "an array whose first index is not 1: cast the column to text in a view"
    if form.wire == "numeric":
        sign = int.from_bytes(raw[4:6], "big")
        names = {0xC000: "NaN", 0xD000: "Infinity", 0xF000: "-Infinity"}
        return f"it is {names.get(sign, 'beyond the declared precision')}"
    if form.wire in _RANGES and len(raw) == (4 if form.wire in ("date", "int32") else 8):
        value = int.from_bytes(raw, "big", signed=True)
        bits = 8 * len(raw) - 1
        if form.wire == "time":
            return "it is 24:00:00"
        if value == (1 << bits) - 1:
            return "it is infinity"
        if value == -(1 << bits):
            return "it is -infinity"
        return "it is beyond what 64 bits of microseconds since 1970 hold"
    return f"the server sent {length} bytes"


def _decode(form: Form, data: Bytes, positions: Positions) -> pa.Array:
    if form.element is not None:
        return _decode_lists(form, form.element, data, positions)
    rows = positions.size
    valid, nulls = np.full((rows + 7) // 8, 255, np.uint8), np.zeros(1, np.int64)
    match form.wire:
        case "bytes":
            return _decode_bytes(form, data, positions, valid, nulls)
        case "uuid":
            offsets, text = np.empty(rows + 1, np.int32), np.empty(36 * rows, np.uint8)
            bad = wide.decode_uuid(data, positions, offsets, text, valid, nulls)
            buffers = [offsets, text]
        case "numeric":
            words = np.empty(2 * rows, np.uint64)
            bad = _decode_numeric(form, data, positions, words, valid, nulls)
            buffers = [words]
        case "bool":
            bits = np.zeros((rows + 7) // 8, np.uint8)
            bad = kernels.decode_bool(data, positions, bits, valid, nulls)
            buffers = [bits]
        case "int16":
            shorts = np.empty(rows, np.int16)
            bad = kernels.decode_int16(data, positions, shorts, valid, nulls)
            buffers = [shorts]
        case "int32" | "date":
            integers = np.empty(rows, np.int32)
            bad = kernels.decode_int32(data, positions, integers, *_RANGES[form.wire], valid, nulls)
            buffers = [integers]
        case _:
            longs = np.empty(rows, np.int64)
            bad = kernels.decode_int64(data, positions, longs, *_RANGES[form.wire], valid, nulls)
            buffers = [longs]
    if bad >= 0:
        raise _CannotHold(int(positions[bad]), form)
    return _build_array(form, rows, valid, nulls, buffers)


def _decode_bytes(form: Form, data: Bytes, positions: Positions, valid: Bytes, nulls: Any) -> pa.Array:
    offsets = np.empty(positions.size + 1, np.int32)
    size = int(kernels.measure_bytes(data, positions, offsets, valid, nulls))
    values = np.empty(size + kernels.SLACK, np.uint8)
    kernels.gather_bytes(data, positions, offsets, values)
    return _build_array(form, positions.size, valid, nulls, [offsets, values[:size]])


def _decode_numeric(
    form: Form, data: Bytes, positions: Positions, words: npt.NDArray[np.uint64], valid: Bytes, nulls: Any
) -> int:
    precision, scale = form.arrow_type.precision, form.arrow_type.scale
    groups = -(-scale // 4)
    dropped = 10 ** (4 * groups - scale)
    kept = 10_000 // dropped
    if precision <= _SMALL_DIGITS:
        limit = 10**precision
        return int(wide.decode_small_numeric(data, positions, groups, kept, dropped, limit, words, valid, nulls))
    high, low = divmod(10**precision, 1 << 64)
    return int(wide.decode_numeric(data, positions, groups, kept, dropped, high, low, words, valid, nulls))


def _decode_lists(form: Form, element: Form, data: Bytes, positions: Positions) -> pa.Array:
    rows = positions.size
    valid, nulls = np.full((rows + 7) // 8, 255, np.uint8), np.zeros(1, np.int64)
    offsets = np.empty(rows + 1, np.int32)
    bad = int(wide.measure_lists(data, positions, offsets, valid, nulls))
    if bad < 0:
        inner = np.empty(int(offsets[rows]), np.int32)
        bad = int(wide.find_elements(data, positions, offsets, inner))
    if bad >= 0:
        raise _CannotHold(int(positions[bad]), form)
    return _build_array(form, rows, valid, nulls, [offsets], [_decode(element, data, inner)])


def _build_array(
    form: Form, rows: int, valid: Bytes, nulls: Any, buffers: list[Any], children: list[pa.Array] | None = None
) -> pa.Array:
    missing = int(nulls[0])
    bitmap = pa.py_buffer(valid) if missing else None
    return pa.Array.from_buffers(
        form.arrow_type, rows, [bitmap, *map(pa.py_buffer, buffers)], missing, children=children
    )
