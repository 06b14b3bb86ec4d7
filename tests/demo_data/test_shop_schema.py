"""The tables have exactly the names and types that were agreed, here and on the servers they may move to."""

import pickle
from datetime import datetime
from decimal import Decimal

import pytest
from sqlalchemy import create_engine, func, select
from sqlalchemy.dialects import mssql, postgresql
from sqlalchemy.schema import CreateTable

from demo import shop_schema
from demo.shop_schema import ShopFileError, shop_metadata
from tests.demo_data.shop import COLUMNS, query


def test_tables_and_columns_are_as_agreed(sample):
    path, _ = sample
    tables = [name for (name,) in query(path, "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY rowid")]
    assert tables == list(COLUMNS)
    for table, expected in COLUMNS.items():
        found = [
            (name, kind, notnull, key) for _, name, kind, notnull, _, key in query(path, f"PRAGMA table_info({table})")
        ]
        assert found == expected


def test_metadata_makes_the_same_tables_through_an_engine(tmp_path):
    path = tmp_path / "by_engine.db"
    engine = create_engine(f"sqlite:///{path}")
    shop_metadata.create_all(engine)
    engine.dispose()
    for table, expected in COLUMNS.items():
        found = [
            (name, kind, notnull, key) for _, name, kind, notnull, _, key in query(path, f"PRAGMA table_info({table})")
        ]
        assert found == expected


@pytest.mark.parametrize(
    ("dialect", "expected"),
    [
        (postgresql.dialect(), ['"UnitPrice" NUMERIC(12, 3)', '"ModifiedDate" TIMESTAMP WITHOUT TIME ZONE']),
        (mssql.dialect(), ["[UnitPrice] NUMERIC(12, 3)", "[ModifiedDate] DATETIME2(6)", "Latin1_General_100_BIN2"]),
    ],
    ids=["postgresql", "mssql"],
)
def test_servers_keep_microseconds_and_decimals(dialect, expected):
    statement = str(CreateTable(shop_schema.transactions).compile(dialect=dialect))
    assert [part for part in expected if part not in statement] == []


def test_sqlalchemy_reads_exact_decimals_and_datetimes(sample):
    path, summary = sample
    engine = create_engine(f"sqlite:///{path}")
    table = shop_schema.transactions
    with engine.connect() as connection:
        rows = connection.execute(select(table.c.Quantity, table.c.UnitPrice, table.c.TransactionDate)).all()
        last = connection.execute(select(func.max(table.c.TransactionDate))).scalar_one()
    engine.dispose()
    assert all(type(price) is Decimal and type(moment) is datetime for _, price, moment in rows)
    assert sum(quantity * price for quantity, price, _ in rows) == summary.net_total
    assert last == summary.last_transaction.replace(tzinfo=None)


def test_an_error_keeps_its_facts_across_processes():
    error = pickle.loads(pickle.dumps(ShopFileError("shop.db", "it is a folder", "a file", "Choose another.")))  # noqa: S301
    assert (error.where, error.problem, error.expected, error.remedy) == (
        "shop.db",
        "it is a folder",
        "a file",
        "Choose another.",
    )
    assert str(error) == "shop.db: it is a folder; expected a file. Choose another."
