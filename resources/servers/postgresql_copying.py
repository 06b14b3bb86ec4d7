"""COPY TO STDOUT: whole rows, as the server sent them, in a staging buffer.

Where psycopg's libpq can be called by address, a compiled loop takes the rows from it without a Python object each;
elsewhere psycopg hands them over one by one: slower, the same bytes.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import select
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg
from psycopg import pq

from resources.servers import postgresql_kernels as kernels
from resources.servers.base import BATCH_BYTES
from resources.servers.postgresql_errors import StatementFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

_SIGNATURE = b"PGCOPY\n\xff\r\n\0"
_FUNCTIONS = ("PQgetCopyData", "PQfreemem")
_WAIT_SECONDS = 0.2


@cache
def find_libpq() -> ctypes.CDLL | None:
    """The libpq that psycopg uses, never another one of the process; None: it cannot be called by address."""
    if os.name != "posix":
        return None
    try:
        if pq.__impl__ == "python":
            library = importlib.import_module("psycopg.pq._pq_ctypes").pq
        else:
            # A symbol looked up through the extension is that of the library it was linked with.
            library = ctypes.CDLL(importlib.import_module(f"psycopg_{pq.__impl__}.pq").__file__)
        for name in _FUNCTIONS:
            getattr(library, name)
    except (ImportError, OSError, AttributeError):
        return None
    return library


def _find_address(library: ctypes.CDLL, name: str) -> int:
    return ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0


class Copy:
    """One COPY ... TO STDOUT (FORMAT binary) under way on a connection that nothing else uses.

    Attributes:
        ended: whether all rows were fetched and the server said that it was well.
        sent_rows: how many rows the server says it sent; None: not yet.
    """

    def __init__(self, connection: psycopg.Connection[Any], statement: bytes, library: ctypes.CDLL | None) -> None:
        self._link: Any = connection.pgconn
        self._library = library
        self._state = np.zeros(5, np.int64)
        self._pending: bytes = b""
        self._header = True
        self.ended = False
        self.sent_rows: int | None = None
        self._link.send_query(statement)
        result = self._wait_result()
        if result is None or result.status != pq.ExecStatus.COPY_OUT:
            raise self._find_error(result)

    def read_buffers(self) -> Iterator[tuple[npt.NDArray[np.uint8], int, int, int]]:
        """Buffers of whole rows: the bytes, where the rows begin and end, and the most rows there can be.

        A buffer is overwritten by the next.

        Raises:
            StatementFailed: the server ended the copy, or the connection broke.
        """
        buffer = np.empty(BATCH_BYTES + kernels.SLACK, np.uint8)
        filler = self._fill_native() if self._library is not None else self._fill_slowly()
        while not self.ended:
            needed = len(self._pending) or int(self._state[2] if self._state[1] else 0)
            target = buffer
            if needed > BATCH_BYTES:
                # A row larger than a batch is one of its own, in a buffer of its own.
                target = np.empty(needed + kernels.SLACK, np.uint8)
            used = filler(target)
            start = self._skip_header(target, used)
            if used > start:
                yield target, start, used, int(self._state[3])
            del target

    def _fill_native(self) -> Any:
        assert self._library is not None  # noqa: S101 - the caller looked
        get_copy_data, free = (_find_address(self._library, name) for name in _FUNCTIONS)
        connection = self._link.pgconn_ptr

        def fill(target: npt.NDArray[np.uint8]) -> int:
            used = int(kernels.fetch_rows(get_copy_data, free, connection, target, self._state))
            if self._state[0] != kernels.FULL:
                self._finish()
            return used

        return fill

    def _fill_slowly(self) -> Any:
        def fill(target: npt.NDArray[np.uint8]) -> int:
            used, capacity, view = 0, target.size - kernels.SLACK, target.data
            self._state[3] = 0
            while True:
                row = self._pending or self._receive_row()
                if row is None:
                    self._finish()
                    return used
                if used + len(row) > capacity:
                    self._pending = row
                    return used
                view[used : used + len(row)] = row
                self._pending = b""
                used += len(row)
                self._state[3] += 1

        return fill

    def _receive_row(self) -> bytes | None:
        while True:
            try:
                length, row = self._link.get_copy_data(1)
                if length > 0:
                    return bytes(row)
                if length < 0:
                    return None
                self._wait_input()
            except psycopg.OperationalError:
                raise StatementFailed(None, self._describe_link()) from None

    def _skip_header(self, data: npt.NDArray[np.uint8], used: int) -> int:
        if not self._header or used == 0:
            return 0
        self._header = False
        size = len(_SIGNATURE)
        if data[:size].tobytes() != _SIGNATURE:
            raise StatementFailed("08P01", "the server did not send binary COPY data")
        extension = int.from_bytes(data[size + 4 : size + 8].tobytes(), "big")
        return size + 8 + extension

    def _wait_input(self) -> None:
        select.select([self._link.socket], [], [], _WAIT_SECONDS)
        self._link.consume_input()

    def _wait_result(self) -> pq.abc.PGresult | None:
        try:
            while self._link.flush():
                select.select([self._link.socket], [self._link.socket], [], _WAIT_SECONDS)
                self._link.consume_input()
            while self._link.is_busy():
                self._wait_input()
            return self._link.get_result()
        except psycopg.OperationalError:
            raise StatementFailed(None, self._describe_link()) from None

    def _finish(self) -> None:
        while (result := self._wait_result()) is not None:
            if result.status != pq.ExecStatus.COMMAND_OK:
                raise self._find_error(result)
            self.sent_rows = result.command_tuples
        if self.sent_rows is None:
            raise StatementFailed(None, self._describe_link())
        self.ended = True

    def _find_error(self, result: pq.abc.PGresult | None) -> StatementFailed:
        state = result.error_field(pq.DiagnosticField.SQLSTATE) if result is not None else None
        reason = result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) if result is not None else None
        if state is None:
            return StatementFailed(None, self._describe_link())
        return StatementFailed(state.decode(), (reason or b"").decode("utf-8", "replace"))

    def _describe_link(self) -> str:
        lines = self._link.get_error_message().strip().splitlines()
        return lines[0] if lines else "the connection was closed"

    def close(self) -> None:
        """Free a row that did not fit and was not fetched again."""
        if self._state[1] and self._library is not None:
            free = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(_find_address(self._library, "PQfreemem"))
            free(int(self._state[1]))
            self._state[1] = 0
