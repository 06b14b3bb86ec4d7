from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from sqlite3 import Connection, connect
from typing import Any

import pyarrow as pa
import pytest

from resources.database import build_engine
from resources.servers.base import Mismatches, TableName, TableQuery
from resources.servers.sqlite import SqliteServer, SqliteSnapshot
from resources.settings import database_setting

SHOP = database_setting("shop")
Serve = Callable[..., SqliteServer]


def open_server(
    path: Path | str, mismatches: Mismatches = "fail", *, timeout: int = 15, **options: Any
) -> SqliteServer:
    address = str(path) if "://" in str(path) else f"sqlite:///{path}"
    return SqliteServer(build_engine(address, SHOP, timeout), "shop", SHOP, mismatches, **options)


def whole(snapshot: SqliteSnapshot, table: str, **options: Any) -> TableQuery:
    """All columns of a table."""
    schema = snapshot.describe(TableName("main", table))
    return TableQuery(schema, tuple(column.name for column in schema.columns), **options)


def read(snapshot: SqliteSnapshot, query: TableQuery) -> pa.Table:
    """The rows of a query, every array checked for what Arrow allows."""
    batches = list(snapshot.read(query))
    for batch in batches:
        batch.validate(full=True)
    return pa.Table.from_batches(batches, snapshot.schema_of(query))


def read_table(server: SqliteServer, table: str, **options: Any) -> pa.Table:
    """A whole table in a snapshot of its own."""
    with server.open_snapshot() as snapshot:
        return read(snapshot, whole(snapshot, table, **options))


@pytest.fixture(params=["direct", "python"])
def direct(request: pytest.FixtureRequest) -> bool:
    """Both ways of reading: SQLite's library called directly, and Python's sqlite3."""
    return request.param == "direct"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "source.sqlite"


@pytest.fixture
def source(path: Path) -> Iterator[Connection]:
    """The database, in WAL mode, for the test to write into."""
    with closing(connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = OFF")
        yield connection


@pytest.fixture
def serve(path: Path, direct: bool) -> Serve:
    """A server of the database, in both ways of reading."""

    def make(mismatches: Mismatches = "fail", **options: Any) -> SqliteServer:
        return open_server(path, mismatches, direct=direct, **options)

    return make
