"""The archive while its runs are killed: a bank that books, a lake that is read, processes that die. One worker."""

from __future__ import annotations

import os
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.archive.conftest import Source, open_source, postgresql
from tests.archive_kills.bank import Bank
from tests.archive_kills.processes import Archiver, Archivers
from tests.kills import count_kills

__all__ = ["postgresql"]

KILLS = count_kills(3)
"""How many runs are killed in each combination of mode and server."""

BIG_ROWS = 30_000
BIG_BYTES = 24_000_000
END_SECONDS = 30.0


@pytest.fixture(params=["sqlite", "postgresql"])
def source(
    request: pytest.FixtureRequest, tmp_path: Path, _settings: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Source]:
    # No DuckDB: a file of it is open in one process at a time, and here several are at it at once.
    with open_source(request.param, tmp_path, request, monkeypatch) as found:
        yield found


@pytest.fixture(scope="session")
def archivers() -> Archivers:
    return Archivers()


@pytest.fixture
def seed() -> int:
    """Of every random choice of a test; pytest shows it where the test fails. ADFML_TEST_SEED gives one again."""
    found = int(os.environ.get("ADFML_TEST_SEED", random.SystemRandom().randrange(1_000_000)))
    print(f"ADFML_TEST_SEED={found}")
    return found


@pytest.fixture
def control_url(source: Source, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[sa.URL]:
    """The control database: a server of the source's kind has it, so that both are tried."""
    if source.kind == "sqlite":
        yield sa.make_url(os.environ["ADFML_CONTROL_URL"])
        return
    with request.getfixturevalue("postgresql").database() as url:
        monkeypatch.setenv("ADFML_CONTROL_URL", url.render_as_string(hide_password=False))
        yield url


@pytest.fixture
def bank(source: Source, control_url: sa.URL) -> Bank:
    bank = Bank(source, transfers=2_500)
    if source.kind == "postgresql":
        # The estimated size decides whether several connections read a table.
        source.execute('ANALYZE "Bookings"')
    return bank


@pytest.fixture
def big_tables(source: Source, control_url: sa.URL) -> tuple[str, ...]:
    """A table of several batches, whose rows do not compress, and a small one."""
    number = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {BIG_ROWS})"
    width = BIG_BYTES // BIG_ROWS
    data, kind = f"randomblob({width})", "BLOB"
    if source.kind == "postgresql":
        data = (
            f"(SELECT decode(string_agg(md5((i * 100 + j)::text), ''), 'hex') FROM generate_series(1, {width // 16}) j)"
        )
        kind = "BYTEA"
    source.execute(
        f'CREATE TABLE "Big" ("Id" INTEGER PRIMARY KEY, "Data" {kind})',
        f'INSERT INTO "Big" {number} SELECT i, {data} FROM n',
        'CREATE TABLE "Small" ("Id" INTEGER PRIMARY KEY)',
        'INSERT INTO "Small" VALUES (1), (2)',
    )
    return f"{source.schema}.Big", f"{source.schema}.Small"


def require_unlocked(source: Source, control_url: sa.URL, archiver: Archiver) -> None:
    """Make sure that a dead process holds nothing: no lock of the control database, no transaction of a server."""
    if source.kind == "sqlite":
        with closing(sqlite3.connect(str(control_url.database), timeout=0, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        return
    query = sa.text("SELECT count(*) FROM pg_stat_activity WHERE application_name = :name")
    deadline = time.monotonic() + END_SECONDS
    with source.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        # The server notices the closed socket by itself, without a time-out: at its next read or write.
        while connection.execute(query, {"name": archiver.name}).scalar_one():
            assert time.monotonic() < deadline, "a killed run's connection is still there"
            time.sleep(0.01)
