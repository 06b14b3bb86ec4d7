"""SQL databases, reached through SQLAlchemy by the name they have in YAML."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field, PrivateAttr

from resources.errors import NotFound, SettingInvalid, Unreachable
from resources.settings import Setting, database_setting

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine
    from sqlalchemy.engine import URL


class Databases(dg.ConfigurableResource):
    """Every SQL database of the deployment: database `shop` is at the SQLAlchemy URL in ADFML_SHOP_URL.

    Engines are made on first use, one a database and process. On Azure SQL without user or password in the URL the
    managed identity signs in.
    """

    connect_timeout_seconds: int = Field(default=15, description="How long to wait for a connection, in seconds.")
    _engines: dict[str, Any] = PrivateAttr(default_factory=dict)

    def engine(self, database: str) -> Engine:
        """The SQLAlchemy engine of a database.

        Raises:
            SettingMissing: its URL is not set.
            SettingInvalid: its URL is none.
        """
        if database not in self._engines:
            setting = database_setting(database)
            self._engines[database] = build_engine(setting.read(), setting, self.connect_timeout_seconds)
        return self._engines[database]

    @contextmanager
    def connect(self, database: str) -> Iterator[Connection]:
        """A connection that is closed afterwards; nothing is committed unless told.

        Raises:
            Unreachable: the database does not answer, with its address and what to check.
        """
        with open_connection(self.engine(database), database, database_setting(database)) as connection:
            yield connection


def build_engine(address: str, setting: Setting, connect_timeout_seconds: int = 15) -> Engine:
    """An engine for a SQLAlchemy URL: a file that does not exist is not made, and identities sign in on Azure SQL."""
    import sqlalchemy as sa

    url = parse_url(address, setting)
    backend = url.get_backend_name()
    connect_args: dict[str, Any] = {}
    if backend == "sqlite":
        connect_args["timeout"] = connect_timeout_seconds
    elif backend == "postgresql":
        connect_args["connect_timeout"] = connect_timeout_seconds
    elif backend == "mssql" and url.drivername.endswith("mssqlpython"):
        connect_args["timeout"] = connect_timeout_seconds
    if "timeout" in connect_args and backend == "mssql" and not url.username:
        from azure.identity import DefaultAzureCredential

        connect_args["token_provider"] = DefaultAzureCredential()
    return sa.create_engine(url, connect_args=connect_args, pool_pre_ping=True, hide_parameters=True)


def parse_url(address: str, setting: Setting) -> URL:
    """A SQLAlchemy URL.

    Raises:
        SettingInvalid: it is none; the value is not repeated, it may hold a password.
    """
    import sqlalchemy as sa

    try:
        return sa.make_url(address)
    except sa.exc.ArgumentError:
        raise SettingInvalid(setting.name, f"a SQLAlchemy URL such as {setting.example}") from None


def describe_address(engine: Engine) -> str:
    """The database's address without its password."""
    return engine.url.render_as_string(hide_password=True)


@contextmanager
def open_connection(engine: Engine, database: str, setting: Setting) -> Iterator[Connection]:
    """Connect, or say which database at what address could not be reached and what to check."""
    import sqlalchemy as sa

    _require_file(engine, database, setting)
    try:
        connection = engine.connect()
    except sa.exc.DBAPIError as error:
        raise Unreachable(
            f"Database '{database}'",
            describe_address(engine),
            str(error.orig).strip().splitlines()[0] if error.orig else type(error).__name__,
            f"{setting.name}, the server's firewall and that the server runs",
        ) from None
    with connection:
        yield connection


def _require_file(engine: Engine, database: str, setting: Setting) -> None:
    # SQLite makes an empty database of a mistyped path, and every table would then be "missing".
    from pathlib import Path

    if engine.url.get_backend_name() != "sqlite" or not (path := engine.url.database) or path == ":memory:":
        return
    if not path.startswith("file:") and not Path(path).is_file():
        raise Unreachable(
            f"Database '{database}'", describe_address(engine), "the file does not exist", f"the path in {setting.name}"
        )


def require_table(connection: Connection, database: str, schema: str | None, table: str) -> None:
    """Make sure a table or view exists.

    Raises:
        NotFound: it does not; with the names that do.
    """
    import sqlalchemy as sa

    inspector = sa.inspect(connection)
    if inspector.has_table(table, schema=schema):
        return
    existing = [*inspector.get_table_names(schema=schema), *inspector.get_view_names(schema=schema)]
    where = f"database '{database}'" + (f", schema '{schema}'" if schema else "")
    raise NotFound("table", table, where, existing)
