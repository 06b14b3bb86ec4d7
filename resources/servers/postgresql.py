"""PostgreSQL as a source: tables as Arrow record batches from one exported snapshot."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg

from resources.errors import SettingInvalid
from resources.servers.postgresql_catalog import list_relations
from resources.servers.postgresql_errors import Messages
from resources.servers.postgresql_sessions import Sessions, begin, close, connect, prepare_engine
from resources.servers.postgresql_snapshot import PostgresqlSnapshot

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from resources.servers.base import TableName
    from resources.settings import Setting

_SHARED = "repeatable read, read only; one exported snapshot for all tables"
_SINGLE = "repeatable read, read only; each read is consistent in itself only: the server gave no snapshot to share"
_FACTS = """
SELECT to_char(now(), 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"'), current_setting('server_version')
"""
_POSITION = "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END::text"


class PostgresqlServer:
    """A PostgreSQL database, through psycopg 3.

    Args:
        engine: of a URL `postgresql+psycopg://...`; connections are made as it makes them.
        database: its name in YAML, for messages.
        setting: the setting that holds its address, for messages.

    Raises:
        SettingInvalid: the URL names another driver.
    """

    kind = "postgresql"

    def __init__(self, engine: Engine, database: str, setting: Setting) -> None:
        if engine.dialect.driver != "psycopg":
            raise SettingInvalid(setting.name, "a URL that begins with postgresql+psycopg://")
        prepare_engine(engine)
        self._engine = engine
        self._messages = Messages(engine, database, setting)

    def list_tables(self) -> list[TableName]:
        """Ordinary and partitioned tables (not their partitions) of all schemas but the system's, sorted.

        Those that may not be read are among them. Children of plain inheritance are tables of their own; their rows
        are also read with their parent.
        """
        connection = connect(self._engine, self._messages)
        try:
            begin(connection)
            return list_relations(connection)
        except psycopg.Error as error:
            raise self._messages.unreachable(error) from None
        finally:
            close(connection)

    @contextmanager
    def open_snapshot(self) -> Iterator[PostgresqlSnapshot]:
        """See `Server`: one connection holds the snapshot, reads join it with their own."""
        holder = connect(self._engine, self._messages)
        try:
            try:
                snapshot = _export(holder)
                taken_at, version = holder.execute(_FACTS).fetchone() or ("", "")
                position = _find_position(holder)
            except psycopg.Error as error:
                raise self._messages.unreachable(error) from None
            sessions = Sessions(self._engine, self._messages, snapshot)
            facts: dict[str, Any] = {
                "isolation": _SHARED if sessions.join() else _SINGLE,
                "one_state": sessions.snapshot is not None,
                "taken_at": taken_at,
                "server_version": version,
            }
            facts |= {key: value for key, value in (("id", sessions.snapshot), ("lsn", position)) if value is not None}
            try:
                yield PostgresqlSnapshot(sessions, self._messages, facts)
            finally:
                sessions.close()
        finally:
            close(holder)


def _export(holder: psycopg.Connection[Any]) -> str | None:
    """Begin, and export the transaction's snapshot; None: the server refuses."""
    begin(holder)
    try:
        row = holder.execute("SELECT pg_export_snapshot()").fetchone()
    except psycopg.Error as error:
        if holder.closed or error.sqlstate is None:
            raise
        holder.execute("ROLLBACK")
        begin(holder)
        return None
    return str(row[0]) if row else None


def _find_position(holder: psycopg.Connection[Any]) -> str | None:
    """Where the write-ahead log stood; None: this login may not know, or the server has none."""
    holder.execute("SAVEPOINT position")
    try:
        row = holder.execute(_POSITION).fetchone()
    except psycopg.Error as error:
        if holder.closed or error.sqlstate is None:
            raise
        holder.execute("ROLLBACK TO SAVEPOINT position")
        return None
    return str(row[0]) if row and row[0] is not None else None
