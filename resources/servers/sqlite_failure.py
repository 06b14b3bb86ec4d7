"""What SQLite answers when it cannot, as this package's errors."""

from __future__ import annotations

from resources.errors import ConnectionLost, NotFound, NotPermitted, Refused, ResourceError, Unreachable
from resources.servers.base import TableName

_PERM, _BUSY, _LOCKED, _NOMEM, _READONLY, _IOERR, _CORRUPT = 3, 5, 6, 7, 8, 10, 11
_CANTOPEN, _AUTH, _NOTADB = 14, 23, 26
READONLY = _READONLY
CANTOPEN = _CANTOPEN


class SqliteFailure(Exception):
    """A call of SQLite that failed; its extended result code and message."""

    def __init__(self, code: int, message: str) -> None:
        self.code = code
        self.message = (message.strip().splitlines() or ["no message"])[0]
        super().__init__(f"{self.message} ({code})")

    @property
    def primary(self) -> int:
        """The primary result code."""
        return self.code & 0xFF


def explain(
    failure: SqliteFailure, database: str, address: str, setting: str, table: TableName | None, existing: list[str]
) -> ResourceError | MemoryError:
    """The error to raise for a failure.

    Args:
        failure: that happened.
        database: its name in YAML.
        address: without a password.
        setting: the name of the setting that holds it.
        table: that was read; None: it was no table's own query.
        existing: the database's tables where the table is gone, and otherwise its columns.
    """
    service, reason = f"Database '{database}'", failure.message
    match failure.primary:
        case code if code in (_BUSY, _LOCKED):
            return ConnectionLost(
                service, address, reason, "for a transaction that another process holds open for long"
            )
        case code if code == _IOERR:
            return ConnectionLost(service, address, reason, "the disk or network share the file is on")
        case code if code == _NOMEM:
            return MemoryError(f"{service} at {address}: {reason}")
        case code if code in (_CORRUPT, _NOTADB):
            check = f"that {setting} names a database; restore a damaged one from a backup (PRAGMA integrity_check)"
            return Refused(service, address, reason, check)
        case code if code == _READONLY:
            check = (
                "by opening the database once with its application: a transaction that was cut off waits to be undone"
            )
            return Refused(service, address, reason, check)
        case code if code == _CANTOPEN:
            check = f"{setting}, and that the file may be read, and its folder written where it is in WAL mode"
            return Unreachable(service, address, reason, check)
        case code if code in (_PERM, _AUTH):
            return NotPermitted(str(table or database), reason, "chmod, or the rights of the file's folder")
    if table is not None and reason.startswith("no such table"):
        missing = reason.partition(": ")[2].removeprefix(f"{table.schema}.")
        return NotFound("table", missing, f"database '{database}', schema '{table.schema}'", existing)
    if table is not None and reason.startswith("no such column: "):
        return NotFound("column", reason.removeprefix("no such column: "), str(table), existing)
    return Refused(service, address, reason, f"the declaration{f' of {table}' if table else ''}: its condition `where`")
