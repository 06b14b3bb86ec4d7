"""The sources of the archive's benchmarks: every value follows from the number of its row, on every server."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

LARGE, WARM = "sales", "warm"
WARM_ROWS = 1000


@dataclass(frozen=True)
class SourceColumn:
    """A column: its declaration on both servers, its values on three as SQL of the row number `i`, and what is right.

    Attributes:
        name: of the column.
        postgresql, sqlite: the declared types.
        values: the SQL that PostgreSQL and DuckDB both understand.
        sqlite_values: SQLite's SQL for what an application stores that uses SQLAlchemy's types.
        types: the Arrow types that are right for PostgreSQL's declaration.
        sqlite_types: and for SQLite's; empty: the same.
    """

    name: str
    postgresql: str
    sqlite: str
    values: str
    sqlite_values: str
    types: tuple[str, ...]
    sqlite_types: tuple[str, ...] = ()

    def right_types(self, server: str) -> tuple[str, ...]:
        """The Arrow types that are right on a server."""
        return self.sqlite_types or self.types if server == "sqlite" else self.types


_TEXT = ("string", "large_string")
_MICROSECONDS = "(i * 13000137)"


def _moment(microseconds: str) -> str:
    seconds = f"strftime('%Y-%m-%d %H:%M:%S', 1577836800 + {microseconds} / 1000000, 'unixepoch')"
    return f"{seconds} || printf('.%06d', {microseconds} % 1000000)"


def _after(kind: str, start: str) -> str:
    # Whole seconds and microseconds apart: an interval times a number goes through a float on some servers.
    seconds, rest = f"({_MICROSECONDS} // 1000000)", f"({_MICROSECONDS} % 1000000)"
    return f"{kind} '{start}' + {seconds} * INTERVAL '1 second' + {rest} * INTERVAL '1 microsecond'"


COLUMNS = (
    SourceColumn("id", "bigint PRIMARY KEY", "BIGINT NOT NULL PRIMARY KEY", "i::bigint", "i", ("int64",)),
    SourceColumn(
        "quantity", "int NOT NULL", "INTEGER NOT NULL", "(i * 7919 % 1000003)::int", "i * 7919 % 1000003",
        ("int32",), ("int64",),
    ),
    SourceColumn(
        "warehouse", "smallint NOT NULL", "SMALLINT NOT NULL", "(i % 300 - 150)::smallint", "i % 300 - 150",
        ("int16",), ("int64",),
    ),
    SourceColumn(
        "created", "timestamp NOT NULL", "DATETIME NOT NULL", _after("timestamp", "2020-01-01"), _moment(_MICROSECONDS),
        ("timestamp[us]",),
    ),
    SourceColumn(
        "changed", "timestamptz NOT NULL", "DATETIME NOT NULL", _after("timestamptz", "2020-01-01 00:00:00+00"),
        _moment(_MICROSECONDS), ("timestamp[us, tz=UTC]",), ("timestamp[us]",),
    ),
    SourceColumn(
        "amount", "decimal(12,2) NOT NULL", "DECIMAL(12, 2) NOT NULL",
        "((i * 790721 % 1000000007 - 500000000)::decimal(18,2) * 0.01)::decimal(12,2)",
        "(i * 790721 % 1000000007 - 500000000) / 100.0", ("decimal128(12, 2)",),
    ),
    SourceColumn(
        "customer", "text NOT NULL", "VARCHAR(40) NOT NULL", "'customer ' || (i * 31 % 200003)",
        "'customer ' || (i * 31 % 200003)", _TEXT,
    ),
    SourceColumn(
        "city", "text NOT NULL", "VARCHAR(40) NOT NULL", "'Zürich ' || (i % 97)", "'Zürich ' || (i % 97)", _TEXT
    ),
    SourceColumn("weight", "float8 NOT NULL", "FLOAT NOT NULL", "i::float8 / 7", "i / 7.0", ("double",)),
    SourceColumn("active", "bool NOT NULL", "BOOLEAN NOT NULL", "(i % 3 = 0)", "i % 3 = 0", ("bool",)),
    SourceColumn(
        "shipped", "date", "DATE",
        "CASE WHEN i % 5 <> 0 THEN (date '2020-01-01' + (i % 2000)::int) END",
        "CASE WHEN i % 5 <> 0 THEN date('2020-01-01', '+' || (i % 2000) || ' days') END", ("date32[day]",),
    ),
    SourceColumn(
        "discount", "int", "INTEGER", "CASE WHEN i % 7 <> 0 THEN (i % 41)::int END",
        "CASE WHEN i % 7 <> 0 THEN i % 41 END", ("int32",), ("int64",),
    ),
)  # fmt: skip
"""The twelve columns of the large table."""

SMALL_POSTGRESQL = (
    "id int PRIMARY KEY, name text NOT NULL, amount decimal(12,2), created timestamp, active bool, quantity int"
)
SMALL_SQLITE = (
    "id INTEGER NOT NULL PRIMARY KEY, name VARCHAR(40) NOT NULL, amount DECIMAL(12, 2), created DATETIME, "
    "active BOOLEAN, quantity INTEGER"
)
SMALL_ROWS = 10


def select_truth(rows: int) -> str:
    """DuckDB's SQL for what a copy of PostgreSQL's table must hold; of SQLite's too, once types are compared apart."""
    values = ", ".join(f"{column.values} AS {column.name}" for column in COLUMNS)
    return f"SELECT {values} FROM range(1, {rows + 1}) numbers(i)"  # noqa: S608 - constants


def fill_postgresql(url: URL, rows: int) -> None:
    """Make the large and the warm table."""
    from tests.postgresql_server import connect

    declared = ", ".join(f"{column.name} {column.postgresql}" for column in COLUMNS)
    # `//` is DuckDB's whole division; PostgreSQL's `/` is that of its operands.
    values = ", ".join(column.values.replace("//", "/") for column in COLUMNS)
    with connect(url) as connection:
        for table, count in ((LARGE, rows), (WARM, WARM_ROWS)):
            connection.execute(f"CREATE UNLOGGED TABLE {table} ({declared})".encode())
            connection.execute(
                f"INSERT INTO {table} SELECT {values} FROM generate_series(1::bigint, {count}) AS i".encode()  # noqa: S608
            )
        connection.execute(b"VACUUM ANALYZE")
        connection.execute(b"CHECKPOINT")


def fill_sqlite(path: Path, rows: int) -> None:
    """Make the large and the warm table in a new file in WAL mode."""
    declared = ", ".join(f"{column.name} {column.sqlite}" for column in COLUMNS)
    values = ", ".join(column.sqlite_values for column in COLUMNS)
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {})"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA journal_mode = OFF")
        for table, count in ((LARGE, rows), (WARM, WARM_ROWS)):
            connection.execute(f"CREATE TABLE {table} ({declared})")
            connection.execute(f"INSERT INTO {table} {numbers.format(count)} SELECT {values} FROM n")  # noqa: S608
        connection.commit()
        connection.execute("PRAGMA journal_mode = WAL")


def name_small(count: int) -> list[str]:
    """The names of the small tables."""
    return [f"t{number:04}" for number in range(count)]


def fill_small_postgresql(url: URL, count: int) -> None:
    """Make the small tables."""
    from tests.postgresql_server import connect

    with connect(url) as connection, connection.transaction():
        for table in name_small(count):
            connection.execute(f"CREATE UNLOGGED TABLE {table} ({SMALL_POSTGRESQL})".encode())
            connection.execute(
                f"INSERT INTO {table} SELECT i, 'name ' || i, i / 4.0, timestamp '2026-01-01' + i * interval '1 day', "  # noqa: S608
                f"i % 2 = 0, i FROM generate_series(1, {SMALL_ROWS}) AS i".encode()
            )


def fill_small_sqlite(path: Path, count: int) -> None:
    """Make the small tables in a new file in WAL mode."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        for table in name_small(count):
            connection.execute(f"CREATE TABLE {table} ({SMALL_SQLITE})")
            connection.executemany(
                f"INSERT INTO {table} VALUES (?, ?, ?, ?, ?, ?)",  # noqa: S608
                [
                    (i, f"name {i}", i / 4, f"2026-01-{i + 1:02} 00:00:00.000000", i % 2, i)
                    for i in range(1, SMALL_ROWS + 1)
                ],
            )
        connection.commit()
