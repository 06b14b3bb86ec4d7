"""Connections for reading: read-only transactions with settings of their own, on one state of the database."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import psycopg
import sqlalchemy as sa
from psycopg import sql

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from resources.servers.postgresql_errors import Messages

_CANCEL_SECONDS = 5
_BEGIN = "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"
_SETTINGS = {
    # Values as text are exact and the same whatever the defaults of role, database and server.
    "TimeZone": "UTC",
    "DateStyle": "ISO",
    "IntervalStyle": "iso_8601",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "client_encoding": "UTF8",
    # A long read is no idle one, and rows that a policy hides are an error, not missing.
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "transaction_timeout": "0",
    "row_security": "off",
    # Two reads of one state have one order.
    "synchronize_seqscans": "off",
    # Firewalls and load balancers forget connections on which nothing moves.
    "tcp_keepalives_idle": "60",
    "tcp_keepalives_interval": "15",
    "tcp_keepalives_count": "8",
}
_PARAMETERS = {"client_encoding": "UTF8", "keepalives_idle": 60, "keepalives_interval": 15, "keepalives_count": 8}
# Local to the transaction: poolers hand a connection to others afterwards. Older servers lack some.
_APPLY = (
    "SELECT set_config(s.name, v.value, true) FROM (VALUES {}) v(name, value) JOIN pg_settings s ON s.name = v.name"
)


def connect(engine: Engine, messages: Messages) -> psycopg.Connection[Any]:
    """A connection of its own, made as the engine makes them, in autocommit.

    Raises:
        Unreachable: the server does not answer.
    """
    try:
        pooled = engine.raw_connection()
    except sa.exc.DBAPIError as error:
        raise messages.unreachable(error.orig or error) from None
    except psycopg.Error as error:
        raise messages.unreachable(error) from None
    connection = pooled.driver_connection
    assert isinstance(connection, psycopg.Connection)  # noqa: S101 - the server only takes engines of psycopg
    pooled.detach()
    messages.user = connection.info.user
    # Poolers do not keep prepared statements.
    connection.prepare_threshold = None
    connection.autocommit = True
    return connection


def prepare_engine(engine: Engine) -> None:
    """Let the connections that an engine makes from now on speak UTF-8 and notice a dead network."""
    if not sa.event.contains(engine, "do_connect", _set_parameters):
        sa.event.listen(engine, "do_connect", _set_parameters)


def _set_parameters(dialect: Any, record: Any, arguments: Any, parameters: dict[str, Any]) -> None:
    # Without the encoding, SQLAlchemy cannot connect to databases of encoding SQL_ASCII.
    for name, value in _PARAMETERS.items():
        parameters.setdefault(name, value)


def begin(connection: psycopg.Connection[Any], snapshot: str | None = None) -> None:
    """Begin a read-only transaction, on an exported snapshot where one is given."""
    connection.execute(_BEGIN)
    connection.execute("SET LOCAL statement_timeout = 0")
    if snapshot is not None:
        connection.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(snapshot)))
    pairs = [
        sql.SQL("({}, {})").format(sql.Literal(name), sql.Literal(value)) for name, value in sorted(_SETTINGS.items())
    ]
    connection.execute(sql.SQL(_APPLY).format(sql.SQL(", ").join(pairs)))


def close(connection: psycopg.Connection[Any]) -> None:
    """Close, and with it end what still runs."""
    if connection.pgconn.transaction_status == psycopg.pq.TransactionStatus.ACTIVE:
        _cancel(connection)
    connection.close()


def _cancel(connection: psycopg.Connection[Any]) -> None:
    # A server that cannot be told finds the connection closed when it sends the next rows.
    with contextlib.suppress(psycopg.Error):
        connection.cancel_safe(timeout=_CANCEL_SECONDS)


class Sessions:
    """The connections of one snapshot: taken for a read, kept for the next, closed together.

    Attributes:
        snapshot: the exported snapshot they are on; None: each read is a transaction of its own.
    """

    def __init__(self, engine: Engine, messages: Messages, snapshot: str | None) -> None:
        self._engine = engine
        self._messages = messages
        self.snapshot = snapshot
        self._lock = threading.Lock()
        self._idle: list[psycopg.Connection[Any]] = []
        self._busy: set[psycopg.Connection[Any]] = set()
        self._closed = False

    def join(self) -> bool:
        """Whether there is a snapshot to share; one that a second connection cannot join is given up.

        Behind a pooler that connection may be to another server.

        Raises:
            Unreachable: the server takes no second connection.
        """
        if self.snapshot is None:
            return False
        connection = connect(self._engine, self._messages)
        try:
            begin(connection, self.snapshot)
        except psycopg.Error as error:
            close(connection)
            if error.sqlstate is None:
                raise self._messages.unreachable(error) from None
            self.snapshot = None
            return False
        self._idle.append(connection)
        return True

    @contextlib.contextmanager
    def take(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection for one read; one that the read did not end cleanly is thrown away.

        Raises:
            Unreachable: the server takes no more connections.
            ConnectionLost: the snapshot is gone.
        """
        with self._lock:
            if self._closed:
                raise self._messages.lost("the snapshot was closed")
            connection = self._idle.pop() if self._idle else None
        if connection is None:
            connection = connect(self._engine, self._messages)
            try:
                self._begin(connection)
            except BaseException:
                close(connection)
                raise
        with self._lock:
            self._busy.add(connection)
        kept = False
        try:
            yield connection
            # Without a shared snapshot the next read is to see what is there then.
            kept = self.snapshot is not None
        finally:
            with self._lock:
                self._busy.discard(connection)
                kept = kept and not self._closed
                if kept:
                    self._idle.append(connection)
            if not kept:
                close(connection)

    def _begin(self, connection: psycopg.Connection[Any]) -> None:
        try:
            begin(connection, self.snapshot)
        except psycopg.Error as error:
            raise self._messages.translate_import(error) from None

    def close(self) -> None:
        """Close all; what still reads in other threads is cancelled and closed there."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            busy = list(self._busy)
        for connection in busy:
            _cancel(connection)
        for connection in idle:
            close(connection)
