"""SQL Server's errors in the words of this project.

The driver gives no error numbers, only the SQLSTATE in its own words (`driver_error`) and the server's text. The text
is English: every session asks for it. Numbers are in the patterns' comments.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from resources.database import describe_address
from resources.errors import ConnectionLost, NotFound, NotPermitted, Refused, ResourceError, SettingInvalid, Unreachable
from resources.servers.sqlserver_statements import quote, quote_table

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from resources.servers.base import TableName
    from resources.settings import Setting

_AGAIN = "that the server runs, and try again: another try starts from the beginning"
_SECRET = re.compile(r"(?i)\b(pwd|password|accesstoken|access_token)\s*=\s*(\{[^}]*\}|[^;\s]*)")
_PREFIX = re.compile(r"^(?:\[[^\]]*\]\s*)+")

_LOST_STATES = (
    "Disconnect error",
    "Client unable to establish connection",
    "Connection not open",
    "Connection failure during transaction",
    "Communication link failure",
    "Timeout expired",
    "Connection timeout expired",
    "Serialization failure",
    "Connection operation failed",
    "Statement completion unknown",
    "Transaction is rolled back",
    "An error occurred with SQLSTATE code: 08S02",
    "An error occurred with SQLSTATE code: 10054",
)
_LOST = re.compile(
    "|".join(
        (
            r"is not currently available",  # 40613
            r"service has encountered an error processing your request",  # 40197, 40143
            r"service is currently busy",  # 40501
            r"Resource ID\s*:",  # 10928, 10929
            r"deadlock",  # 1205
            r"Snapshot isolation transaction (?:aborted|failed)",  # 3960, 3961, 3957, 3958
            r"version store",  # 3966, 3967
            r"forcibly closed|transport-level error|TCP Provider|Communication link failure",  # 10054, 10053, 64
            r"being recovered|in the middle of a restore|SHUTDOWN is in progress",  # 922, 927, 6005
            r"on a closed connection|connection has been closed|Connection is closed",
            r"Cannot continue the execution because the session is in the kill state",  # 596
        )
    ),
    re.IGNORECASE,
)
_MISSING = re.compile(r"Invalid object name|Could not find object|Cannot find the object", re.IGNORECASE)  # 208
_FORBIDDEN = re.compile(r"permission was denied", re.IGNORECASE)  # 229, 230
_UNLOADED = re.compile(r"Failed to load (?:the driver|library|required function)")
_LOGIN = re.compile(
    r"Login failed|Cannot open (?:database|server)|Failed to acquire token|token_provider", re.IGNORECASE
)  # 18456, 4060, 40532, 40615


class Messages:
    """The errors of one database."""

    def __init__(self, engine: Engine, database: str, setting: Setting) -> None:
        self.service = f"Database '{database}'"
        self.where = f"database '{database}'"
        self.address = describe_address(engine)
        self.user = engine.url.username or "the identity that signs in"
        self._password = str(engine.url.password or "")
        self._setting = setting

    def reason(self, error: BaseException) -> str:
        """The first line of what the server or driver says, without prefixes, addresses and secrets."""
        text = str(getattr(error, "ddbc_error", "") or getattr(error, "driver_error", "") or error)
        lines = _PREFIX.sub("", text.strip()).splitlines()
        line = _SECRET.sub(r"\1=***", lines[0]) if lines else type(error).__name__
        return line.replace(self._password, "***") if self._password else line

    def connecting(self, error: BaseException) -> ResourceError:
        """No session could be had: Refused where the server said no, otherwise Unreachable.

        SettingInvalid where the driver does not understand the address; what it found is not repeated.
        """
        from mssql_python.exceptions import ConnectionStringParseError

        if isinstance(error, ConnectionStringParseError):
            expected = "a URL with options that the driver knows, such as ?Encrypt=yes"
            return SettingInvalid(self._setting.name, expected)
        reason = self.reason(error)
        state = getattr(error, "driver_error", "")
        if _LOGIN.search(f"{state} {reason}") or state == "Invalid authorization specification":
            check = f"user, password and database in {self._setting.name}, and the server's firewall"
            return Refused(self.service, self.address, reason, check)
        check = f"{self._setting.name}, the server's firewall and that the server runs"
        if _UNLOADED.search(reason):
            check = f"that the driver's system libraries are there (libltdl7, libkrb5-3), before {self._setting.name}"
        return Unreachable(self.service, self.address, reason, check)

    def forbidden(self, table: TableName, reason: str) -> NotPermitted:
        """A table may not be read."""
        return NotPermitted(str(table), reason, f"GRANT SELECT ON {quote_table(table)} TO {quote(self.user)};")

    def missing(self, table: TableName, existing: list[str]) -> NotFound:
        """A table is not there, or this login cannot see it."""
        return NotFound("table", str(table), f"{self.where} as {self.user} sees it", existing)

    def translate(
        self, error: BaseException, table: TableName | None, list_existing: Callable[[], list[str]]
    ) -> ResourceError:
        """An error of a statement, about a table where one is named."""
        reason = self.reason(error)
        state = getattr(error, "driver_error", "")
        if state in _LOST_STATES or _LOST.search(f"{state} {reason}"):
            return ConnectionLost(self.service, self.address, reason, _AGAIN)
        if table is not None and (state == "Base table or view not found" or _MISSING.search(reason)):
            return self.missing(table, list_existing())
        if table is not None and _FORBIDDEN.search(reason):
            return self.forbidden(table, reason)
        if _LOGIN.search(reason) or state == "Invalid authorization specification":
            return self.connecting(error)
        check = "the login's permissions" if table is None else f"the condition (`where`) declared for {table}"
        return Refused(self.service, self.address, reason, check)

    @contextmanager
    def translating(self, table: TableName | None, list_existing: Callable[[], list[str]]) -> Iterator[None]:
        """Turn the driver's errors within the block into the project's."""
        from mssql_python import exceptions

        try:
            yield
        # Its compiled part raises RuntimeError where it has no SQLSTATE.
        except (exceptions.Exception, RuntimeError) as error:
            raise self.translate(error, table, list_existing) from None
