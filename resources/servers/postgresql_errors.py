"""PostgreSQL's errors in the words of this project."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from resources.database import describe_address
from resources.errors import (
    ConnectionLost,
    NotFound,
    NotPermitted,
    Refused,
    ResourceError,
    UnexpectedValue,
    Unreachable,
)

if TYPE_CHECKING:
    import psycopg
    from sqlalchemy import Engine

    from resources.servers.base import TableName
    from resources.settings import Setting

_AGAIN = "that the server runs, and try again: another try starts from the beginning"
_LOST_CLASSES = ("08", "25P", "40", "53", "55P03", "57", "72", "XX000")
"""Connections cut, idle limits, conflicts with a standby's recovery, servers short of memory or shutting down,
locks not given in time, statements cancelled, snapshots too old, tables dropped while they were opened."""
_MISSING = ("42P01", "3F000")
_FORBIDDEN = "42501"
_UNREADABLE = ("22021", "22P05")
_TOO_LARGE = "54000"
_SNAPSHOT_GONE = ("22023", "42704", "55000")


class StatementFailed(Exception):
    """The server's error while rows were copied: its SQLSTATE (None: the connection broke) and first line."""

    def __init__(self, sqlstate: str | None, reason: str) -> None:
        self.sqlstate = sqlstate
        self.reason = reason
        super().__init__(reason)


class Messages:
    """The errors of one database; `user` is the login once a connection was made."""

    def __init__(self, engine: Engine, database: str, setting: Setting) -> None:
        self.service = f"Database '{database}'"
        self.where = f"database '{database}'"
        self.address = describe_address(engine)
        self.user = engine.url.username or ""
        self._password = str(engine.url.password or "")
        self._setting = setting

    def first_line(self, error: BaseException) -> str:
        """What an error says, without what else drivers add and without the password."""
        lines = str(error).strip().splitlines()
        line = lines[0] if lines else type(error).__name__
        return line.replace(self._password, "***") if self._password else line

    def unreachable(self, error: BaseException) -> Unreachable:
        """No connection could be made."""
        check = f"{self._setting.name}, the server's firewall and that the server runs"
        return Unreachable(self.service, self.address, self.first_line(error), check)

    def lost(self, reason: str) -> ConnectionLost:
        """A connection was cut, or what is read is no longer what was described."""
        return ConnectionLost(self.service, self.address, reason, _AGAIN)

    def changed(self, table: TableName, what: str) -> ConnectionLost:
        """A table is not what the snapshot saw."""
        return self.lost(f"{table} {what} after the snapshot was opened")

    def forbidden(self, table: TableName, reason: str) -> NotPermitted:
        """A table may not be read."""
        user, schema, name = _quote(self.user), _quote(table.schema), _quote(table.table)
        if "row-level security" in reason or "row level security" in reason:
            return NotPermitted(str(table), reason, f"ALTER ROLE {user} BYPASSRLS; without it rows would be missing")
        return NotPermitted(
            str(table),
            reason,
            f"GRANT USAGE ON SCHEMA {schema} TO {user}; GRANT SELECT ON {schema}.{name} TO {user};",
        )

    def translate(
        self, error: psycopg.Error | StatementFailed, table: TableName, list_existing: Callable[[], list[str]]
    ) -> ResourceError:
        """An error of a statement about a table."""
        state = error.sqlstate
        reason = self.first_line(error)
        if state.startswith(_LOST_CLASSES) if state else _is_broken(error):
            return self.lost(reason)
        if state in _MISSING:
            return NotFound("table", str(table), self.where, list_existing())
        if state == _FORBIDDEN:
            return self.forbidden(table, reason)
        if state in _UNREADABLE:
            return UnexpectedValue(
                str(table), "(a text column)", "text that is UTF-8 or can be converted to it", reason
            )
        check = f"the condition (`where`) declared for {table}"
        if state == _TOO_LARGE:
            check = f"{table}: the server sends rows of at most 1 GB; archive a view that splits or leaves out columns"
        return Refused(self.service, self.address, f"{reason} (SQLSTATE {state or 'none'})", check)

    def translate_import(self, error: psycopg.Error) -> ResourceError:
        """An error of joining the snapshot: where it is gone, so is the connection that held it."""
        state = error.sqlstate
        if state is None or state.startswith(_LOST_CLASSES) or state in _SNAPSHOT_GONE:
            return self.lost(self.first_line(error))
        return self.unreachable(error)


def _is_broken(error: Exception) -> bool:
    """Of an error that the server did not send: whether the connection is at fault, not the statement."""
    import psycopg

    return isinstance(error, StatementFailed | psycopg.OperationalError | psycopg.InterfaceError)


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
