"""SQL databases, reached through SQLAlchemy by the name they have in YAML."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field, PrivateAttr

from resources.duckdb_file import CHECK, create_duckdb_engine, describe_holder, is_held
from resources.errors import NotFound, SettingInvalid, Unreachable
from resources.redaction import redact
from resources.secret_values import DatabaseSecrets, read_database_url
from resources.settings import Setting, database_setting

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine
    from sqlalchemy.engine import URL

_AFTER_PASSWORD = re.compile(r"[^:]+://(?:[^:/]*(?::[^@]*)?@)?")
_FILES = {"sqlite", "duckdb"}
"""What keeps a database in a file of this machine: its address has neither user nor password."""

_SHOWN_OPTIONS = {"host", "port", "dbname", "sslmode", "encrypt", "trustservercertificate", "driver", "database"}


class Databases(dg.ConfigurableResource):
    """Every SQL database of the deployment: database `shop` is at the SQLAlchemy URL in ADFML_SHOP_URL.

    The URL, or its password alone (ADFML_SHOP_PASSWORD), may be a secret of the Key Vault, see docs/secrets.md. Engines
    are made on first use, one a database and process. On Azure SQL without user or password in the URL the managed
    identity signs in.
    """

    connect_timeout_seconds: int = Field(default=15, description="How long to wait for a connection, in seconds.")
    _engines: dict[tuple[str, DatabaseSecrets], Any] = PrivateAttr(default_factory=dict)

    def engine(self, database: str, secrets: DatabaseSecrets = DatabaseSecrets()) -> Engine:  # noqa: B008 - frozen
        """The SQLAlchemy engine of a database.

        Args:
            database: its name.
            secrets: Key Vault secrets that a declaration names for its URL or password; they go before the settings.

        Raises:
            SettingMissing: its URL is not set.
            SettingInvalid: its URL is none.
            Refused, Unreachable: the Key Vault's, where it holds the URL or the password.
        """
        key = (database, secrets)
        if key not in self._engines:
            setting = database_setting(database)
            address = read_database_url(setting, secrets)
            self._engines[key] = build_engine(address, setting, self.connect_timeout_seconds)
        return self._engines[key]

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
    try:
        if backend == "duckdb":
            return create_duckdb_engine(url, connect_timeout_seconds)
        return sa.create_engine(url, connect_args=connect_args, pool_pre_ping=True, hide_parameters=True)
    except sa.exc.NoSuchModuleError:
        expected = f"a dialect and driver that SQLAlchemy has, not {url.drivername}, for example {setting.example}"
        raise SettingInvalid(setting.name, expected) from None


def parse_url(address: str, setting: Setting) -> URL:
    """A SQLAlchemy URL.

    Raises:
        SettingInvalid: it is none; the value is not repeated, it may hold a password.
    """
    import sqlalchemy as sa

    try:
        url = sa.make_url(address)
    except (sa.exc.ArgumentError, ValueError):  # a ValueError quotes what it takes for the port
        raise SettingInvalid(setting.name, f"a SQLAlchemy URL such as {setting.example}") from None
    if url.get_backend_name() not in _FILES and "@" in _AFTER_PASSWORD.sub("", address, count=1):
        # A password with @ in it: what is after that would be taken for the host and the database, and shown.
        raise SettingInvalid(setting.name, "@, : and / of a user or password to be written as %40, %3A and %2F")
    return url


def describe_address(engine: Engine) -> str:
    """The database's address without its password, and without options that may hold one."""
    url = engine.url
    options = {name: value for name, value in url.query.items() if name.lower() in _SHOWN_OPTIONS}
    return redact(url.set(query=options).render_as_string(hide_password=True))


@contextmanager
def open_connection(engine: Engine, database: str, setting: Setting) -> Iterator[Connection]:
    """Connect, or say which database at what address could not be reached and what to check."""
    import sqlalchemy as sa

    _require_file(engine, database, setting)
    try:
        connection = engine.connect()
    except sa.exc.DBAPIError as error:
        if error.orig is not None and is_held(error.orig):
            reason = describe_holder(error.orig)
            raise Unreachable(f"Database '{database}'", describe_address(engine), reason, CHECK) from None
        raise Unreachable(
            f"Database '{database}'",
            describe_address(engine),
            redact(str(error.orig).strip().splitlines()[0]) if error.orig else type(error).__name__,
            f"{setting.name}, the server's firewall and that the server runs",
        ) from None
    with connection:
        yield connection


def _require_file(engine: Engine, database: str, setting: Setting) -> None:
    # SQLite and DuckDB make an empty database of a mistyped path, and every table would then be "missing".
    from pathlib import Path

    if engine.url.get_backend_name() not in _FILES or not (path := engine.url.database) or path == ":memory:":
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
