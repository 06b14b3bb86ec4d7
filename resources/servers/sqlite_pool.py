"""Connections to one SQLite file that see one state of it, where the file's journal allows that."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from resources.servers.sqlite_failure import SqliteFailure
from resources.servers.sqlite_plan import Plan

if TYPE_CHECKING:
    import pyarrow as pa

Mode = Literal["ro", "rw"]
_ATTEMPTS = 20
_TOUCH = "SELECT count(*) FROM main.sqlite_master"


class Connection(Protocol):
    """A connection to SQLite, called directly or through Python's sqlite3; safe to share between threads."""

    def fetch(self, sql: str, parameters: Sequence[int | str | None] = ()) -> list[tuple[Any, ...]]:
        """All rows of a small query."""
        ...

    def read(
        self, sql: str, parameters: Sequence[int | str | None], plan: Plan
    ) -> Iterator[tuple[pa.RecordBatch, int]]:
        """The rows of a query as batches, each with the number of values that are not of their type."""
        ...

    def close(self) -> None:
        """Close it; twice is no error."""
        ...


Connect: TypeAlias = Callable[[Mode], Connection]


class SharedPool:
    """Connections whose open transactions see one state. More reads than connections share them, taking turns.

    Attributes:
        isolation: what the reads see, in words.
        readers: how many reads can go on beside each other.
        one_state: whether all reads see the same.
        main: the connection of small queries.
    """

    one_state = True

    def __init__(self, connections: Sequence[Connection], isolation: str) -> None:
        self.isolation = isolation
        self.main = connections[0]
        self._readers = list(connections[1:]) or [self.main]
        self.readers = len(self._readers)
        self._uses = [0] * self.readers
        self._lock = threading.Lock()

    @contextmanager
    def borrow(self) -> Iterator[Connection]:
        """The connection that is used least, for one read."""
        with self._lock:
            index = self._uses.index(min(self._uses))
            self._uses[index] += 1
        try:
            yield self._readers[index]
        finally:
            with self._lock:
                self._uses[index] -= 1

    def close(self) -> None:
        """Close every connection."""
        _close([self.main, *self._readers])


class SeparatePool:
    """A connection for every read: an open transaction would keep the application from writing.

    Attributes:
        isolation: what the reads see, in words.
        readers: how many reads should go on beside each other.
        one_state: whether all reads see the same.
        main: the connection of small queries.
    """

    one_state = False
    isolation = "each read sees one state; reads one after the other may see different ones (no WAL)"

    def __init__(self, connect: Connect, main: Connection, readers: int) -> None:
        self.main, self.readers = main, readers
        self._connect = connect
        self._open: list[Connection] = []
        self._lock = threading.Lock()

    @contextmanager
    def borrow(self) -> Iterator[Connection]:
        """A connection of its own for one read."""
        connection = self._connect("ro")
        with self._lock:
            self._open.append(connection)
        try:
            yield connection
        finally:
            with self._lock:
                self._open.remove(connection)
            connection.close()

    def close(self) -> None:
        """Close every connection, those of reads that go on, too."""
        with self._lock:
            _close([self.main, *self._open])


Pool: TypeAlias = SharedPool | SeparatePool


def open_pool(connect: Connect, readers: int) -> tuple[Pool, str]:
    """Open the connections of a snapshot; with the journal mode of the file.

    Raises:
        SqliteFailure: the file cannot be opened or read.
    """
    main = connect("ro")
    try:
        main.fetch(_TOUCH)
        journal = str(main.fetch("PRAGMA main.journal_mode")[0][0])
    except SqliteFailure:
        main.close()
        raise
    if journal != "wal":
        return SeparatePool(connect, main, readers), journal
    return _open_shared(connect, main, readers), journal


def _open_shared(connect: Connect, main: Connection, readers: int) -> SharedPool:
    connections = [main]
    try:
        for _ in range(readers):
            connections.append(connect("ro"))
            connections[-1].fetch(_TOUCH)
        if _begin_unchanged(connect, connections):
            return SharedPool(connections, "all reads see one state (WAL)")
        if _begin_locked(connect, connections):
            return SharedPool(connections, "all reads see one state (WAL, writers held up for a moment)")
        _close(connections[1:])
        _begin(connections[:1])
        return SharedPool(connections[:1], "all reads see one state (WAL, through one connection: no lock was given)")
    except BaseException:
        _close(connections)
        raise


def _begin_unchanged(connect: Connect, connections: Sequence[Connection]) -> bool:
    """Begin all transactions with no commit between the first and the last, without any lock; whether that was so."""
    witness = connect("ro")
    try:
        witness.fetch(_TOUCH)
        for _ in range(_ATTEMPTS):
            before = witness.fetch("PRAGMA main.data_version")
            _begin(connections)
            if witness.fetch("PRAGMA main.data_version") == before:
                return True
            _end(connections)
        return False
    finally:
        witness.close()


def _begin_locked(connect: Connect, connections: Sequence[Connection]) -> bool:
    """Begin all transactions while no other process can write; False: the lock was not given."""
    try:
        writer = connect("rw")
    except SqliteFailure:
        return False  # a file that may only be read
    try:
        # Closed before the others, which keeps SQLite from writing the journal back into the file.
        writer.fetch("BEGIN IMMEDIATE")
    except SqliteFailure:
        writer.close()
        return False  # it may only be read, or another process writes for longer than we wait
    try:
        _begin(connections)
        writer.fetch("ROLLBACK")
    finally:
        writer.close()
    return True


def _begin(connections: Sequence[Connection]) -> None:
    for connection in connections:
        connection.fetch("BEGIN")
        connection.fetch(_TOUCH)


def _end(connections: Sequence[Connection]) -> None:
    for connection in connections:
        connection.fetch("ROLLBACK")


def _close(connections: Sequence[Connection]) -> None:
    for connection in connections:
        connection.close()
