"""Opening a database as a source, by the kind of server its address names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resources.errors import SettingInvalid
from resources.servers.base import Mismatches, Server
from resources.settings import Setting

if TYPE_CHECKING:
    from sqlalchemy import Engine


def open_server(engine: Engine, database: str, setting: Setting, mismatches: Mismatches = "fail") -> Server:
    """The server behind an engine.

    Args:
        engine: of the database; see `resources.database.build_engine`.
        database: its name in YAML, for messages.
        setting: the setting that holds its address, for messages.
        mismatches: what becomes of values that are not of their column's declared type (SQLite keeps such):
            `fail` the table, or `keep` them as text in the column `_mismatched`.

    Raises:
        SettingInvalid: the address names another kind of server.
    """
    match engine.dialect.name:
        case "sqlite":
            from resources.servers.sqlite import SqliteServer

            return SqliteServer(engine, database, setting, mismatches)
        case "postgresql":
            from resources.servers.postgresql import PostgresqlServer

            return PostgresqlServer(engine, database, setting)
        case "duckdb":
            from resources.servers.duckdb import DuckdbServer

            return DuckdbServer(engine, database, setting)
        case "mssql":
            from resources.servers.sqlserver import SqlServer

            return SqlServer(engine, database, setting)
        case other:
            raise SettingInvalid(
                setting.name, f"a URL of sqlite, postgresql, duckdb or mssql; {other} cannot be archived"
            )
