"""A connection to SQLite through the library itself: rows become Arrow in compiled code, without the GIL."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from resources.servers.sqlite_buffers import Buffers
from resources.servers.sqlite_failure import SqliteFailure
from resources.servers.sqlite_library import Library
from resources.servers.sqlite_plan import KeptValues, Plan
from resources.servers.sqlite_values import Stored, Text

if TYPE_CHECKING:
    import pyarrow as pa

_READ_ONLY, _READ_WRITE, _URI, _NO_MUTEX = 0x1, 0x2, 0x40, 0x8000
_OK, _ROW, _DONE, _NOMEM = 0, 100, 101, 7
_INTEGER, _FLOAT, _TEXT, _BLOB = 1, 2, 3, 4
# Tells SQLite to copy a text that is bound.
_TRANSIENT = ctypes.c_void_p(-1)


class DirectConnection:
    """One connection; its lock is held during each call of SQLite, so that threads may share it.

    Raises:
        SqliteFailure: from every method, with SQLite's code.
    """

    def __init__(self, library: Library, kernels: ModuleType, uri: str, timeout_seconds: float, *, write: bool) -> None:
        self._library, self._kernels = library, kernels
        self._lock = threading.RLock()
        self._statements: set[int] = set()
        handle = ctypes.c_void_p()
        flags = _URI | _NO_MUTEX | (_READ_WRITE if write else _READ_ONLY)
        code = library.open_v2(uri.encode(), ctypes.byref(handle), flags, None)
        self._handle: int | None = handle.value
        try:
            self._check(code)
            self._check(library.busy_timeout(self._handle, int(timeout_seconds * 1000)))
        except SqliteFailure:
            self.close()
            raise

    def close(self) -> None:
        """Close, ending what is still being read; twice is no error."""
        with self._lock:
            if self._handle is None:
                return
            for statement in list(self._statements):
                self._finalize(statement)
            self._library.close_v2(self._handle)
            self._handle = None

    def fetch(self, sql: str, parameters: Sequence[int | str | None] = ()) -> list[tuple[Any, ...]]:
        """All rows of a small query; texts as str."""
        with self._lock:
            statement = self._prepare(sql, parameters)
            try:
                count, rows = self._library.column_count(statement), []
                while (code := self._library.step(statement)) == _ROW:
                    rows.append(tuple(_decode(self._value(statement, index)) for index in range(count)))
                if code != _DONE:
                    self._check(code)
                return rows
            finally:
                self._finalize(statement)

    def read(
        self, sql: str, parameters: Sequence[int | str | None], plan: Plan
    ) -> Iterator[tuple[pa.RecordBatch, int]]:
        """The rows of a query as batches, each with the number of values that are not of their type.

        Raises:
            UnexpectedValue: such a value, where they are not kept.
        """
        import pyarrow as pa

        with self._lock:
            statement = self._prepare(sql, parameters)
        try:
            buffers, before, ended = Buffers(plan, self._kernels), 0, False
            while not ended:
                kept = KeptValues(plan, before)
                with self._lock:
                    self._require_open(statement)
                    ended = self._fill(statement, buffers, kept)
                rows = int(buffers.state[self._kernels.ROWS])
                arrays = buffers.finish()
                if plan.mismatches == "keep":
                    arrays.append(kept.build_array(rows))
                before += rows
                if rows:
                    yield pa.RecordBatch.from_arrays(arrays, schema=plan.schema), kept.count(rows)
        finally:
            with self._lock:
                self._finalize(statement)

    def _fill(self, statement: int, buffers: Buffers, kept: KeptValues) -> bool:
        """Fill one batch; whether it was the last."""
        kernels, state, plan = self._kernels, buffers.state, kept.plan
        buffers.begin()
        while True:
            code = kernels.fill(statement, buffers.columns, state)
            if code == kernels.ASK:
                column = int(state[kernels.COLUMN])
                value = self._value(statement, column)
                row_id = self._library.column_int64(statement, len(plan.conversions)) if plan.row_id else None
                size = kept.bytes
                buffers.put(kept.resolve(int(state[kernels.ROWS]), column, value, row_id))
                state[kernels.USED] += kept.bytes - size
            elif code == kernels.GROW:
                buffers.grow()
            elif code == kernels.FULL:
                return False
            elif code == kernels.DONE:
                return True
            else:
                self._check(code)

    def _prepare(self, sql: str, parameters: Sequence[int | str | None]) -> int:
        if self._handle is None:
            raise SqliteFailure(21, "the snapshot is closed")
        statement, tail = ctypes.c_void_p(), ctypes.c_void_p()
        text = ctypes.create_string_buffer(sql.encode())
        code = self._library.prepare_v2(self._handle, text, -1, ctypes.byref(statement), ctypes.byref(tail))
        self._check(code)
        if not statement.value:
            raise SqliteFailure(1, "an empty statement")
        self._statements.add(statement.value)
        if tail.value and ctypes.string_at(tail.value).strip():
            # A condition that ends the statement would take with it the conditions that follow.
            self._finalize(statement.value)
            raise SqliteFailure(1, "more than one statement")
        for index, value in enumerate(parameters, 1):
            if value is None:
                code = self._library.bind_null(statement, index)
            elif isinstance(value, int):
                if not -(2**63) <= value < 2**63:
                    self._finalize(statement.value)
                    raise OverflowError(f"{value} is no integer of 64 bits")
                code = self._library.bind_int64(statement, index, value)
            else:
                data = value.encode()
                code = self._library.bind_text(statement, index, data, len(data), _TRANSIENT)
            try:
                self._check(code)
            except SqliteFailure:
                self._finalize(statement.value)
                raise
        return statement.value

    def _finalize(self, statement: int) -> None:
        if statement in self._statements:
            self._statements.remove(statement)
            # Its result repeats the failure of the last step, which was raised there.
            self._library.finalize(statement)

    def _require_open(self, statement: int) -> None:
        if statement not in self._statements:
            raise SqliteFailure(21, "the snapshot was closed while its rows were read")

    def _value(self, statement: int, column: int) -> Stored:
        library = self._library
        match library.column_type(statement, column):
            case code if code == _INTEGER:
                return int(library.column_int64(statement, column))
            case code if code == _FLOAT:
                return float(library.column_double(statement, column))
            case code if code in (_TEXT, _BLOB):
                read = library.column_text if code == _TEXT else library.column_blob
                address, size = read(statement, column), library.column_bytes(statement, column)
                if address is None and size:
                    raise SqliteFailure(_NOMEM, "out of memory")
                data = ctypes.string_at(address, size) if size else b""
                return Text(data) if code == _TEXT else data
        return None

    def _check(self, code: int) -> None:
        if code == _OK:
            return
        if self._handle is None:
            raise SqliteFailure(code, self._library.errstr(code).decode(errors="replace"))
        message = self._library.errmsg(self._handle).decode(errors="replace")
        raise SqliteFailure(self._library.extended_errcode(self._handle) or code, message)


def _decode(value: Stored) -> Any:
    return value.decode(errors="replace") if isinstance(value, Text) else value
