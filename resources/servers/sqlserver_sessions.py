"""Sessions of a SQL Server snapshot: connections of its own, each with one transaction where the database allows it.

SQL Server cannot hand a snapshot to another connection. So several SNAPSHOT transactions begin together, and what is
done with one table stays on one session as long as that is free: a table's largest watermark, its count and its rows
are of one state.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from resources.servers.sqlserver_statements import Statement

if TYPE_CHECKING:
    from resources.servers.base import TableName

_ENGLISH = Statement("SET LANGUAGE us_english")
_OPEN_TRANSACTIONS = Statement("SELECT @@TRANCOUNT")


class Session:
    """One connection.

    Attributes:
        thread: the thread that last used it.
    """

    def __init__(self, connection: Any, level: str | None) -> None:
        """Take over a connection of the driver.

        Args:
            connection: belongs to no pool.
            level: the isolation level of its transactions; None: as the server has it.
        """
        self._driver = connection
        self.thread: int | None = None
        # The pool's check of the connection may have begun a transaction, and a level cannot change within one.
        self._driver.rollback()
        self.run(_ENGLISH)
        if level is not None:
            self.run(Statement(f"SET TRANSACTION ISOLATION LEVEL {level}"))
            self.end()

    def open_cursor(self, statement: Statement) -> Any:
        """Execute a statement; the caller closes the cursor."""
        cursor = self._driver.cursor()
        try:
            if statement.parameters:
                cursor.execute(statement.text, statement.parameters)
            else:
                cursor.execute(statement.text)
        except BaseException:
            with suppress(*_driver_errors()):
                cursor.close()
            raise
        return cursor

    def run(self, statement: Statement) -> None:
        """Execute a statement without rows."""
        self.open_cursor(statement).close()

    def fetch(self, statement: Statement) -> list[tuple[Any, ...]]:
        """The rows of a small result."""
        cursor = self.open_cursor(statement)
        try:
            return [tuple(row) for row in cursor.fetchall()]
        finally:
            cursor.close()

    def end(self) -> None:
        """End the transaction, and with it its locks."""
        self._driver.rollback()

    def is_whole(self) -> bool:
        """Whether the connection works and its transaction is still the one that began with it."""
        try:
            return bool(self.fetch(_OPEN_TRANSACTIONS)[0][0])
        except _driver_errors():
            return False

    def close(self) -> None:
        """Close the connection. One that is broken is given up: its reader has had the error already."""
        with suppress(*_driver_errors()):
            self._driver.close()


class Sessions:
    """The sessions of one snapshot at one isolation level.

    Attributes:
        opened: how many were opened.
        late: how many of them after the snapshot was opened, with a later state.
        spread_seconds: within what time the first ones began.
    """

    def __init__(self, connect: Callable[[], Any], level: str | None, anchor: Statement | None = None) -> None:
        """Prepare; nothing is opened yet.

        Args:
            connect: opens a connection of the driver that belongs to no pool.
            level: of the transactions; None: as the server has it.
            anchor: reads a row: a SNAPSHOT transaction sees the state of its first access to data. None: every
                use is a transaction of its own.
        """
        self._connect = connect
        self._level = level
        self._anchor = anchor
        self._lock = threading.Lock()
        self._idle: list[Session] = []
        self._used: set[Session] = set()
        self._by_table: dict[TableName, Session] = {}
        self._closed = False
        self.opened = 0
        self.late = 0
        self.spread_seconds = 0.0

    def begin(self, count: int) -> None:
        """Open `count` sessions, and begin their transactions as close together as can be."""
        with ThreadPoolExecutor(max_workers=count) as threads:
            futures = [threads.submit(self._open) for _ in range(count)]
            failed = [future.exception() for future in futures]
            self._idle = [future.result() for future, error in zip(futures, failed, strict=True) if error is None]
            for error in failed:
                if error is not None:
                    self.close()
                    raise error
            if self._anchor is not None:
                started = time.monotonic()
                try:
                    list(threads.map(self._begin, self._idle))
                except BaseException:
                    self.close()
                    raise
                self.spread_seconds = round(time.monotonic() - started, 3)
        self.opened = count

    @contextmanager
    def lease(self, table: TableName | None) -> Iterator[Session]:
        """A session for this thread alone, until the block ends.

        After an exception it is used again only if its snapshot is still there: SQL Server ends the transaction on
        some errors, and what came next would silently see a later state.
        """
        session = self._take(table)
        whole = False
        try:
            yield session
            whole = True
        except GeneratorExit:
            # A reader that stops early.
            whole = True
            raise
        finally:
            self._put_back(session, whole)

    def close(self) -> None:
        """Close every session, those in use too: who reads on gets an error."""
        with self._lock:
            self._closed = True
            sessions: Sequence[Session] = [*self._idle, *self._used]
            self._idle, self._used = [], set()
            self._by_table.clear()
        for session in sessions:
            session.close()

    def _take(self, table: TableName | None) -> Session:
        thread = threading.get_ident()
        with self._lock:
            if self._closed:
                raise RuntimeError("The snapshot is closed: its connection has been closed.")
            session = self._choose(table, thread)
            if session is not None:
                self._idle.remove(session)
                self._used.add(session)
        if session is None:
            session = self._open_late()
        session.thread = thread
        if table is not None:
            with self._lock:
                self._by_table[table] = session
        return session

    def _choose(self, table: TableName | None, thread: int) -> Session | None:
        known = self._by_table.get(table) if table is not None else None
        if known is not None:
            # Where the table's own session is busy or lost only a later state will do: in an earlier one rows could
            # be missing that its largest watermark covers.
            return known if known in self._idle else None
        alive = {other.ident for other in threading.enumerate()}
        for fits in (
            lambda session: session.thread == thread,
            lambda session: session.thread is None,
            lambda session: session.thread not in alive,
        ):
            for session in self._idle:
                if fits(session):
                    return session
        return None

    def _open_late(self) -> Session:
        session = self._open()
        try:
            self._begin(session)
        except BaseException:
            session.close()
            raise
        with self._lock:
            if not self._closed:
                self._used.add(session)
                self.opened += 1
                self.late += 1
                return session
        session.close()
        raise RuntimeError("The snapshot is closed: its connection has been closed.")

    def _open(self) -> Session:
        connection = self._connect()
        try:
            return Session(connection, self._level)
        except BaseException:
            with suppress(*_driver_errors()):
                connection.close()
            raise

    def _begin(self, session: Session) -> None:
        if self._anchor is not None:
            session.fetch(self._anchor)

    def _put_back(self, session: Session, whole: bool) -> None:
        try:
            if self._anchor is not None:
                whole = whole or session.is_whole()
            elif whole:
                session.end()
        except _driver_errors():
            whole = False
        with self._lock:
            # After close() it is in neither.
            kept = whole and session in self._used
            self._used.discard(session)
            if kept:
                self._idle.append(session)
        if not kept:
            session.close()


def _driver_errors() -> tuple[type[BaseException], ...]:
    from mssql_python import exceptions

    # The driver's compiled part raises RuntimeError where it has no SQLSTATE.
    return (exceptions.Exception, RuntimeError)
