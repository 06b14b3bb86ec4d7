"""A connection to SQLite through Python's sqlite3, for where the library cannot be called directly."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from resources.servers.base import BATCH_BYTES
from resources.servers.sqlite_failure import SqliteFailure
from resources.servers.sqlite_plan import KeptValues, Plan
from resources.servers.sqlite_values import Text

if TYPE_CHECKING:
    import pyarrow as pa


class PythonConnection:
    """One connection, with the behaviour of `DirectConnection`: the same rows, value by value in Python.

    Raises:
        SqliteFailure: from every method, with SQLite's code.
    """

    def __init__(self, uri: str, timeout_seconds: float) -> None:
        self._lock, self._closed = threading.RLock(), False
        with _failures():
            self._connection = sqlite3.connect(
                uri,
                uri=True,
                timeout=timeout_seconds,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=0,
            )
        self._connection.text_factory = Text

    def close(self) -> None:
        """Close; twice is no error."""
        with self._lock:
            self._closed = True
            self._connection.close()

    def fetch(self, sql: str, parameters: Sequence[int | str | None] = ()) -> list[tuple[Any, ...]]:
        """All rows of a small query; texts as str."""
        with self._lock, _failures():
            rows = self._connection.execute(sql, tuple(parameters)).fetchall()
        return [tuple(v.decode(errors="replace") if isinstance(v, Text) else v for v in row) for row in rows]

    def read(
        self, sql: str, parameters: Sequence[int | str | None], plan: Plan
    ) -> Iterator[tuple[pa.RecordBatch, int]]:
        """The rows of a query as batches, each with the number of values that are not of their type.

        Raises:
            UnexpectedValue: such a value, where they are not kept.
        """
        import pyarrow as pa

        with self._lock, _failures():
            cursor = self._connection.execute(sql, tuple(parameters))
        try:
            before, ended = 0, False
            while not ended:
                kept = KeptValues(plan, before)
                columns: list[list[Any]] = [[] for _ in plan.conversions]
                with self._lock:
                    rows, ended = _fill(cursor, columns, kept)
                before += rows
                if not rows:
                    continue
                fields = [plan.schema.field(index) for index in range(len(columns))]
                arrays = [pa.array(values, field.type) for values, field in zip(columns, fields, strict=True)]
                if plan.mismatches == "keep":
                    arrays.append(kept.build_array(rows))
                yield pa.RecordBatch.from_arrays(arrays, schema=plan.schema), kept.count(rows)
        finally:
            with self._lock, _failures():
                if not self._closed:
                    cursor.close()


def _fill(cursor: sqlite3.Cursor, columns: list[list[Any]], kept: KeptValues) -> tuple[int, bool]:
    count, rows, used = len(columns), 0, 0
    while rows < kept.plan.batch_rows and used + kept.bytes < BATCH_BYTES:
        with _failures():
            values = cursor.fetchone()
        if values is None:
            return rows, True
        row_id = values[count] if kept.plan.row_id else None
        for index, column in enumerate(columns):
            column.append(kept.resolve(rows, index, values[index], row_id))
        used += sum(len(value) for value in values if isinstance(value, bytes))
        rows += 1
    return rows, False


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise SqliteFailure(getattr(error, "sqlite_errorcode", 1), str(error)) from None
