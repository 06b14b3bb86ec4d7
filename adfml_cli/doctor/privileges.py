"""What a login may do, asked of the server in its own words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy import Connection

_WHO = {
    "postgresql": "SELECT current_user, 'PostgreSQL ' || current_setting('server_version')",
    "mssql": "SELECT USER_NAME(), CONCAT('SQL Server ', CAST(SERVERPROPERTY('ProductVersion') AS nvarchar(60)))",
}
FILES = ("sqlite", "duckdb")
"""Databases in a file of this machine: they have no logins."""

_NOW = {"postgresql": "SELECT clock_timestamp()", "mssql": "SELECT SYSUTCDATETIME()"}


@dataclass(frozen=True)
class Login:
    """Who is signed in, and to what server."""

    name: str
    server: str


def read_login(connection: Connection) -> Login:
    """Who this connection is signed in as."""
    import sqlalchemy as sa

    from adfml_cli.people import name_user

    match connection.dialect.name:
        case "sqlite":
            return Login(name_user(), f"SQLite {connection.execute(sa.text('SELECT sqlite_version()')).scalar_one()}")
        case "duckdb":
            return Login(name_user(), f"DuckDB {connection.execute(sa.text('SELECT version()')).scalar_one()}")
        case other:
            statement = _WHO[other]
    who, server = connection.execute(sa.text(statement)).one()
    return Login(str(who), str(server))


def read_clock(connection: Connection) -> datetime | None:
    """The server's clock, with its zone; None: it is this machine's."""
    import sqlalchemy as sa

    statement = _NOW.get(connection.dialect.name)
    if statement is None:
        return None
    moment: datetime = connection.execute(sa.text(statement)).scalar_one()
    return moment.replace(tzinfo=moment.tzinfo or UTC)


def find_missing(connection: Connection, schema: str | None, table: str, wanted: Sequence[str]) -> list[str]:
    """Which privileges on a table the login lacks, of SELECT, INSERT, UPDATE, DELETE; of a file its rights."""
    import sqlalchemy as sa

    match connection.dialect.name:
        case "postgresql":
            ask = sa.text("SELECT has_table_privilege(:name, :privilege)")
        case "mssql":
            ask = sa.text("SELECT HAS_PERMS_BY_NAME(:name, 'OBJECT', :privilege)")
        case _:
            return [] if set(wanted) <= {"SELECT"} or _is_writable(connection) else [p for p in wanted if p != "SELECT"]
    name = _quote(connection, schema, table)
    return [
        privilege
        for privilege in wanted
        if not connection.execute(ask, {"name": name, "privilege": privilege}).scalar_one()
    ]


def may_create(connection: Connection, schema: str | None) -> bool:
    """Whether the login may make a table in a schema."""
    import sqlalchemy as sa

    match connection.dialect.name:
        case "postgresql":
            name = "current_schema()" if schema is None else ":schema"
            ask = sa.text(f"SELECT has_schema_privilege({name}, 'CREATE')")
        case "mssql":
            ask = sa.text(
                "SELECT CASE WHEN HAS_PERMS_BY_NAME(NULL, 'DATABASE', 'CREATE TABLE') = 1 AND "
                "HAS_PERMS_BY_NAME(COALESCE(:schema, SCHEMA_NAME()), 'SCHEMA', 'ALTER') = 1 THEN 1 ELSE 0 END"
            )
        case _:
            return _is_writable(connection)
    parameters = {} if schema is None and connection.dialect.name == "postgresql" else {"schema": schema}
    return bool(connection.execute(ask, parameters).scalar_one())


def quote_table(connection: Connection, schema: str | None, table: str) -> str:
    """A table's name for a statement."""
    return _quote(connection, schema, table)


def _quote(connection: Connection, schema: str | None, table: str) -> str:
    quote: Any = connection.dialect.identifier_preparer.quote_identifier
    return f"{quote(schema)}.{quote(table)}" if schema else str(quote(table))


def _is_writable(connection: Connection) -> bool:
    """Whether a database in a file may write it, and its journal beside it."""
    import os
    from pathlib import Path

    path = connection.engine.url.database
    if not path or path == ":memory:" or path.startswith("file:"):
        return True
    return os.access(path, os.W_OK) and os.access(Path(path).absolute().parent, os.W_OK)
