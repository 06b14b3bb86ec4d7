"""A database of the world, value by value against Python's sqlite3."""

import os
import sqlite3
from contextlib import closing
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from resources.servers.base import TableName
from tests.servers.sqlite.conftest import open_server, read, whole

# Read at import: fixtures of the whole test suite clear the ADFML_ variables.
DATA = Path(os.environ.get("ADFML_TEST_DATA") or Path(__file__).resolve().parents[4] / "shared" / "data")
SOURCE = DATA / "chinook.sqlite"

pytestmark = pytest.mark.skipif(
    not SOURCE.is_file(), reason=f"{SOURCE.name} is not in {DATA}; set ADFML_TEST_DATA to the folder that holds it"
)


def expect(value: Any, declared: str) -> Any:
    if value is None:
        return None
    if declared.startswith("NUMERIC"):
        return Decimal(str(value)).quantize(Decimal("0.01"))
    return datetime.fromisoformat(value) if declared == "DATETIME" else value


def test_every_value_of_every_table(direct: bool) -> None:
    server = open_server(SOURCE, direct=direct)
    with closing(sqlite3.connect(f"{SOURCE.as_uri()}?mode=ro", uri=True)) as plain, server.open_snapshot() as snapshot:
        names = [row[0] for row in plain.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        tables = server.list_tables()
        assert tables == [TableName("main", name) for name in names if not name.startswith("sqlite_")]
        rows = 0
        for table in tables:
            query = whole(snapshot, table.table)
            declared = [row[2] for row in plain.execute(f'PRAGMA table_info("{table.table}")')]
            expected = [
                tuple(expect(value, kind) for value, kind in zip(row, declared, strict=True))
                for row in plain.execute(f'SELECT * FROM "{table.table}"')
            ]
            found = [tuple(row.values()) for row in read(snapshot, query).to_pylist()]
            assert sorted(found, key=repr) == sorted(expected, key=repr)
            rows += snapshot.count(query)
        assert rows > 10_000
