"""A real PostgreSQL, SQLite and DuckDB, and a table in each of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from threadpoolctl import threadpool_limits

from tests.in_database.compiled_models import Servers, open_servers
from tests.postgresql_server import RunningPostgresql, run_postgresql


@pytest.fixture(scope="package")
def postgresql() -> Iterator[RunningPostgresql]:
    with run_postgresql() as server:
        yield server


@pytest.fixture(scope="package", autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads that wait for each other on busy cores take longer than the work."""
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="package")
def servers(postgresql: RunningPostgresql) -> Iterator[Servers]:
    """All databases that run here, to score the same rows in each."""
    with postgresql.database() as url, open_servers(url) as opened:
        yield opened
