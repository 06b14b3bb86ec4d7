"""The tables of the demo's source database, for SQLite and for the servers it may move to, and what one holds."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from sqlalchemy import (
    Column,
    DateTime,
    Float,
    Integer,
    MetaData,
    Numeric,
    Table,
    Unicode,
    UnicodeText,
    func,
    select,
    text,
)
from sqlalchemy.dialects import mssql, sqlite
from sqlalchemy.schema import CreateTable
from sqlalchemy.sql.expression import insert
from sqlalchemy.types import TypeEngine

SCHEMA_VERSION = 1
"""Raised when a table or a column changes: databases of another version are built anew."""

STORED_DATETIME = "%Y-%m-%d %H:%M:%S.%f"
"""How SQLite holds a DATETIME: text, UTC, always with six digits of a second, so that text order is time order."""

shop_metadata = MetaData()
"""Every table of the shop; `shop_metadata.create_all(engine)` makes them on any database SQLAlchemy knows."""


def _moment() -> TypeEngine:
    # SQL Server's own DATETIME rounds to 3.33 ms, which would move a watermark.
    exact = mssql.DATETIME2(6)  # type: ignore[no-untyped-call]  # SQLAlchemy left this constructor untyped
    return DateTime().with_variant(exact, "mssql")


def _stock_code() -> TypeEngine:
    # '85123A' and '85123a' are two products in the real file; SQL Server's usual collation would call them one.
    exact_case = mssql.NVARCHAR(20, collation="Latin1_General_100_BIN2")
    return Unicode(20).with_variant(exact_case, "mssql")


customers = Table(
    "Customers",
    shop_metadata,
    Column("CustomerId", Integer, primary_key=True, autoincrement=False),
    Column("Name", Unicode(100), nullable=True),
    Column("Country", Unicode(60), nullable=False),
    Column("CreatedDate", _moment(), nullable=False),
    Column("ModifiedDate", _moment(), nullable=False),
)

products = Table(
    "Products",
    shop_metadata,
    Column("StockCode", _stock_code(), primary_key=True),
    Column("Description", Unicode(200), nullable=True),
    Column("Category", Unicode(40), nullable=False),
    Column("UnitPrice", Numeric(12, 3), nullable=False),
    Column("ModifiedDate", _moment(), nullable=False),
)

transactions = Table(
    "Transactions",
    shop_metadata,
    Column("TransactionId", Integer, primary_key=True, autoincrement=False),
    Column("InvoiceNo", Unicode(20), nullable=False),
    Column("CustomerId", Integer, nullable=True),
    Column("StockCode", _stock_code(), nullable=False),
    Column("Description", Unicode(200), nullable=True),
    Column("Quantity", Integer, nullable=False),
    Column("UnitPrice", Numeric(12, 3), nullable=False),
    Column("Country", Unicode(60), nullable=False),
    Column("TransactionDate", _moment(), nullable=False),
    Column("ModifiedDate", _moment(), nullable=False),
)

feedback = Table(
    "Feedback",
    shop_metadata,
    Column("FeedbackId", Integer, primary_key=True, autoincrement=False),
    Column("CustomerId", Integer, nullable=True),
    Column("FeedbackText", UnicodeText, nullable=False),
    Column("Rating", Integer, nullable=True),
    Column("CreatedDate", _moment(), nullable=False),
    Column("Sentiment", Unicode(20), nullable=True),
    Column("ConfidencePositive", Float, nullable=True),
    Column("ConfidenceNeutral", Float, nullable=True),
    Column("ConfidenceNegative", Float, nullable=True),
    Column("scored", Integer, nullable=False, server_default=text("0")),
    Column("ModifiedDate", _moment(), nullable=False),
)

sensor_readings = Table(
    "SensorReadings",
    shop_metadata,
    Column("ReadingId", Integer, primary_key=True, autoincrement=False),
    Column("MachineId", Unicode(20), nullable=False),
    Column("ReadingTime", _moment(), nullable=False),
    Column("Temperature", Float, nullable=False),
    Column("Pressure", Float, nullable=False),
    Column("Vibration", Float, nullable=False),
    Column("ModifiedDate", _moment(), nullable=False),
)


def create_statements() -> list[str]:
    """The CREATE TABLE statements for SQLite, in the order of the tables above."""
    dialect = sqlite.dialect()
    return [str(CreateTable(table).compile(dialect=dialect)) for table in shop_metadata.tables.values()]


def insert_statement(table: Table, columns: tuple[str, ...] | None = None) -> str:
    """An INSERT for SQLite with one `?` a column, for `executemany` with plain tuples.

    Args:
        table: one of the tables of this module.
        columns: the columns to fill; default: all of the table's. Either way the `?` come in the table's order.
    """
    names = None if columns is None else list(columns)
    return str(insert(table).compile(dialect=sqlite.dialect(), column_keys=names))


class ShopError(Exception):
    """Something about a shop database went wrong. Base of every error of the modules that make one.

    Attributes:
        where: the file or the argument that is at fault.
        problem: what is wrong with it.
        expected: what it should have been.
        remedy: what to do.
    """

    def __init__(self, where: str, problem: str, expected: str, remedy: str) -> None:
        super().__init__(where, problem, expected, remedy)
        self.where = where
        self.problem = problem
        self.expected = expected
        self.remedy = remedy

    def __str__(self) -> str:
        """The four facts as one sentence and the remedy as the next."""
        return f"{self.where}: {self.problem}; expected {self.expected}. {self.remedy}"


class ShopArgumentError(ShopError):
    """An argument is out of its range."""


class ShopSourceError(ShopError):
    """The file to load from is missing, unreadable, or not what it should be."""


class ShopFileError(ShopError):
    """The database file cannot be read or replaced."""


@dataclass(frozen=True)
class PlantedFault:
    """Where the generator put a fault into the sensor readings: each value is normal alone, together they are not.

    Attributes:
        machine: MachineId.
        start: ReadingTime of the first faulty reading, UTC.
        end: ReadingTime of the last faulty reading, UTC.
        sensors: the columns that no longer follow the others.
    """

    machine: str
    start: datetime
    end: datetime
    sensors: tuple[str, ...]


@dataclass(frozen=True)
class ShopSummary:
    """What a shop database holds now (not only what it was built with).

    Attributes:
        rows: rows per table, every table of the schema.
        first_transaction: smallest TransactionDate, UTC; None without transactions.
        last_transaction: largest TransactionDate, UTC; None without transactions.
        customers_with_transactions: distinct CustomerId in Transactions.
        lines_without_customer: Transactions rows whose CustomerId is NULL.
        cancellation_lines: Transactions rows whose InvoiceNo starts with C.
        net_total: sum of Quantity * UnitPrice over all Transactions, exact, three decimals.
        planted_faults: faults the generator put into SensorReadings; empty for data that was not generated.
    """

    rows: dict[str, int]
    first_transaction: datetime | None
    last_transaction: datetime | None
    customers_with_transactions: int
    lines_without_customer: int
    cancellation_lines: int
    net_total: Decimal
    planted_faults: tuple[PlantedFault, ...] = ()


def summarise(database: Path, faults: tuple[PlantedFault, ...] = ()) -> ShopSummary:
    """Counts and adds up what a shop database holds at this moment.

    Raises:
        ShopFileError: SQLite cannot read the file, or finds it locked or damaged.
    """
    # SQLite adds prices as binary floats; whole thousandths add up exactly.
    totals = """
        SELECT min(TransactionDate), max(TransactionDate), count(DISTINCT CustomerId),
               count(*) - count(CustomerId), count(*) FILTER (WHERE substr(InvoiceNo, 1, 1) = 'C'),
               coalesce(sum(Quantity * CAST(round(UnitPrice * 1000) AS INTEGER)), 0)
        FROM Transactions"""
    with reading(database) as connection:
        rows = {
            name: int(connection.execute(str(select(func.count()).select_from(table))).fetchone()[0])
            for name, table in shop_metadata.tables.items()
        }
        first, last, customers, anonymous, cancelled, thousandths = connection.execute(totals).fetchone()
    return ShopSummary(
        rows=rows,
        first_transaction=_utc(first) if first else None,
        last_transaction=_utc(last) if last else None,
        customers_with_transactions=customers,
        lines_without_customer=anonymous,
        cancellation_lines=cancelled,
        net_total=Decimal(thousandths).scaleb(-3),
        planted_faults=faults,
    )


@contextmanager
def reading(database: Path) -> Iterator[sqlite3.Connection]:
    """A connection to a shop database that cannot write; what SQLite cannot read becomes a ShopFileError."""
    try:
        with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            yield connection
    except sqlite3.DatabaseError as error:
        raise ShopFileError(
            str(database),
            f"SQLite cannot read it ({error})",
            "a whole shop database that no other process has locked",
            "If it is damaged, delete it and run again: it is built anew.",
        ) from error


def _utc(stored: str) -> datetime:
    return datetime.fromisoformat(stored).replace(tzinfo=UTC)
