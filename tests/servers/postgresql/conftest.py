"""One server for all tests here, a database for each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from resources.database import build_engine
from resources.servers import postgresql_copying
from resources.servers.postgresql import PostgresqlServer
from tests.postgresql_reading import SETTING, Open, Read, query_of, read_table
from tests.postgresql_server import RunningPostgresql, connect, run_postgresql


@pytest.fixture(scope="session")
def postgresql() -> Iterator[RunningPostgresql]:
    with run_postgresql() as running:
        yield running


@pytest.fixture
def url(postgresql: RunningPostgresql) -> Iterator[URL]:
    """An empty database."""
    with postgresql.database() as url:
        yield url


@pytest.fixture
def open_at() -> Iterator[Open]:
    """A server at a URL."""
    engines: list[sa.Engine] = []

    def open_server(url: URL) -> PostgresqlServer:
        engines.append(build_engine(url.render_as_string(hide_password=False), SETTING))
        return PostgresqlServer(engines[-1], "shop", SETTING)

    yield open_server
    for engine in engines:
        engine.dispose()


@pytest.fixture
def server(open_at: Open, url: URL) -> PostgresqlServer:
    """The code under test, at the test's database."""
    return open_at(url)


@pytest.fixture
def writer(url: URL) -> Iterator[psycopg.Connection[Any]]:
    """Somebody else's connection to the test's database, in autocommit."""
    with connect(url) as connection:
        yield connection


@pytest.fixture(params=["compiled", "psycopg"])
def fetching(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of fetching rows; the compiled one must be there on the platforms that tests run on."""
    if request.param == "psycopg":
        monkeypatch.setattr(postgresql_copying, "find_libpq", lambda: None)
    else:
        assert postgresql_copying.find_libpq() is not None
    return str(request.param)


@pytest.fixture
def read(server: PostgresqlServer) -> Read:
    """Read a table of the test's database in a snapshot of its own."""

    def read_all(table: str, schema: str = "public", **changes: Any) -> Any:
        with server.open_snapshot() as snapshot:
            return read_table(snapshot, query_of(snapshot, table, schema, **changes))

    return read_all
