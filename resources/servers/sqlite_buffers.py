"""The buffers of one batch that the compiled reader fills, and the Arrow arrays they become."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

from resources.servers.base import BATCH_BYTES
from resources.servers.sqlite_plan import Plan
from resources.servers.sqlite_types import Conversion, Kind

if TYPE_CHECKING:
    import pyarrow as pa

_WIDTHS = {Kind.DATE: 4, Kind.DECIMAL: 16, Kind.BOOLEAN: 1}
_FIRST_CAPACITY = 64 * 1024
_LONGEST = 2**31 - 1
_LONGEST_LONG = 18  # digits that 64 bits always hold


class Buffers:
    """One batch's worth of buffers, filled over and over.

    Attributes:
        columns: what the compiled loop is told of each column.
        state: what it keeps between calls.
    """

    def __init__(self, plan: Plan, kernels: Any) -> None:
        import numpy as np

        self._plan, self._kernels, self._rows = plan, kernels, plan.batch_rows
        count = len(plan.conversions)
        self.columns = np.zeros((count, kernels.COLUMN_SIZE), np.int64)
        self.state = np.zeros(kernels.STATE_SIZE, np.int64)
        self.state[kernels.MOST_ROWS], self.state[kernels.MOST_BYTES] = self._rows, BATCH_BYTES
        self.state[kernels.ROW_BYTES] = plan.row_bytes
        self._valid = np.empty((count, self._rows), np.uint8)
        self._data: list[Any] = [None] * count
        self._offsets: list[Any] = [None] * count
        for index, conversion in enumerate(plan.conversions):
            about = self.columns[index]
            about[kernels.KIND] = conversion.kind
            about[kernels.VALID] = self._valid[index].ctypes.data
            about[kernels.SCALE] = conversion.scale
            about[kernels.LIMIT] = 10 ** min(conversion.precision, _LONGEST_LONG)
            about[kernels.NOT_NULL] = plan.not_null[index]
            about[kernels.CAPACITY] = _FIRST_CAPACITY

    def begin(self) -> None:
        """Take new buffers for a batch: those of the last one belong to its arrays."""
        import pyarrow as pa

        kernels, state = self._kernels, self.state
        state[kernels.ROWS] = state[kernels.USED] = 0
        for index, conversion in enumerate(self._plan.conversions):
            about = self.columns[index]
            if conversion.kind >= Kind.TEXT:
                about[kernels.CAPACITY] = min(about[kernels.CAPACITY], 2 * BATCH_BYTES)
                self._data[index] = pa.allocate_buffer(int(about[kernels.CAPACITY]))
                self._offsets[index] = offsets = pa.allocate_buffer(4 * (self._rows + 1))
                about[kernels.OFFSETS] = offsets.address
                ctypes.memset(offsets.address, 0, 4)
            else:
                width = _WIDTHS.get(conversion.kind, 8)
                self._data[index] = pa.allocate_buffer(width * self._rows)
            about[kernels.DATA] = self._data[index].address

    def grow(self) -> None:
        """Make room for the value that did not fit."""
        import pyarrow as pa

        kernels, state = self._kernels, self.state
        index = int(state[kernels.COLUMN])
        about = self.columns[index]
        used = self._end_of(index, int(state[kernels.ROWS]))
        needed = used + int(state[kernels.NEEDED])
        larger = pa.allocate_buffer(min(max(2 * int(about[kernels.CAPACITY]), needed), max(_LONGEST, needed)))
        ctypes.memmove(larger.address, self._data[index].address, used)
        self._data[index] = larger
        about[kernels.DATA], about[kernels.CAPACITY] = larger.address, larger.size

    def put(self, value: Any) -> None:
        """Write the value that was asked for, None for NULL, and count the column up."""
        kernels, state = self._kernels, self.state
        index, row = int(state[kernels.COLUMN]), int(state[kernels.ROWS])
        conversion = self._plan.conversions[index]
        about = self.columns[index]
        self._valid[index, row] = value is not None
        if conversion.kind >= Kind.TEXT:
            data = b"" if value is None else value.encode() if isinstance(value, str) else value
            start = self._end_of(index, row)
            if start + len(data) > about[kernels.CAPACITY]:
                state[kernels.NEEDED] = len(data)
                self.grow()
            ctypes.memmove(int(about[kernels.DATA]) + start, data, len(data))
            ctypes.memmove(int(about[kernels.OFFSETS]) + 4 * (row + 1), (start + len(data)).to_bytes(4, "little"), 4)
            state[kernels.USED] += len(data)
        elif value is not None:
            data = _encode(conversion, value)
            ctypes.memmove(int(about[kernels.DATA]) + len(data) * row, data, len(data))
        state[kernels.COLUMN] += 1

    def finish(self) -> list[pa.Array]:
        """The arrays of the rows that are whole."""
        import numpy as np
        import pyarrow as pa

        rows = int(self.state[self._kernels.ROWS])
        arrays = []
        for index, conversion in enumerate(self._plan.conversions):
            valid = self._valid[index, :rows]
            nulls = rows - int(np.count_nonzero(valid))
            bits = pa.py_buffer(np.packbits(valid, bitorder="little")) if nulls else None
            data = self._data[index]
            if conversion.kind >= Kind.TEXT:
                buffers = [
                    bits,
                    self._offsets[index].slice(0, 4 * (rows + 1)),
                    data.slice(0, self._end_of(index, rows)),
                ]
            elif conversion.kind is Kind.BOOLEAN:
                values = np.frombuffer(data, np.uint8, rows)
                buffers = [bits, pa.py_buffer(np.packbits(values, bitorder="little"))]
            else:
                buffers = [bits, data.slice(0, rows * _WIDTHS.get(conversion.kind, 8))]
            arrays.append(pa.Array.from_buffers(self._plan.schema.field(index).type, rows, buffers, nulls))
            self._data[index] = self._offsets[index] = None
        return arrays

    def _end_of(self, index: int, rows: int) -> int:
        """Where the text of the first `rows` rows ends."""
        return ctypes.c_int32.from_address(self._offsets[index].address + 4 * rows).value


def _encode(conversion: Conversion, value: Any) -> bytes:
    """A value of a fixed width, as Arrow has it."""
    import numpy as np
    import pyarrow as pa

    from resources.servers.sqlite_types import find_arrow_type

    if conversion.kind is Kind.BOOLEAN:
        return b"\x01" if value else b"\x00"
    width = _WIDTHS.get(conversion.kind, 8)
    data = pa.array([value], find_arrow_type(conversion)).buffers()[1]
    return np.frombuffer(data, np.uint8, width).tobytes()
