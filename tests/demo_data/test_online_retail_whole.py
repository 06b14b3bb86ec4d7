"""The real file, compared value by value with what DuckDB reads from it."""

import os
import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from demo.online_retail import load_online_retail
from tests.demo_data.shop import REPOSITORY, query, value

# Read at import: fixtures of the whole test suite clear the ADFML_ variables.
DATA = Path(os.environ.get("ADFML_TEST_DATA") or REPOSITORY.parent / "shared" / "data")
SOURCE = DATA / "online_retail.parquet"

pytestmark = pytest.mark.skipif(
    not SOURCE.is_file(), reason=f"{SOURCE.name} is not in {DATA}; set ADFML_TEST_DATA to the folder that holds it"
)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    path = tmp_path_factory.mktemp("retail") / "shop.db"
    return path, load_online_retail(SOURCE, path)


@pytest.fixture(scope="module")
def both(loaded):
    """DuckDB with `shop`, the rows Python's sqlite3 reads from the database, and `source`, what DuckDB reads itself."""
    names = (
        "TransactionId, InvoiceNo, CustomerId, StockCode, Description, Quantity, UnitPrice, Country, "
        "TransactionDate, ModifiedDate"
    )
    batches = []
    with closing(sqlite3.connect(loaded[0])) as database:
        cursor = database.execute(f"SELECT {names} FROM Transactions ORDER BY TransactionId")
        kinds = [pa.int64(), pa.string(), pa.int64(), pa.string(), pa.string(), pa.int64(), pa.float64()]
        kinds += [pa.string()] * 3
        schema = pa.schema(list(zip(names.split(", "), kinds, strict=True)))
        while rows := cursor.fetchmany(50_000):
            values = zip(*rows, strict=True)
            batches.append(pa.record_batch([pa.array(v, t) for v, t in zip(values, kinds, strict=True)], schema))
    connection = duckdb.connect()
    connection.register("shop_rows", pa.Table.from_batches(batches))
    connection.execute("CREATE TABLE shop AS FROM shop_rows")
    connection.execute(
        "CREATE TABLE source AS SELECT *, file_row_number + 1 AS line FROM read_parquet(?, file_row_number = true)",
        [str(SOURCE)],
    )
    yield connection
    connection.close()


def test_every_line_is_there_once(both):
    assert both.sql("SELECT count(*), min(TransactionId), max(TransactionId) FROM shop").fetchone() == (
        541_909,
        1,
        541_909,
    )
    assert both.sql("SELECT count(*) FROM source ANTI JOIN shop ON line = TransactionId").fetchone() == (0,)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("InvoiceNo", "InvoiceNo"),
        ("CustomerId", "CustomerID"),
        ("StockCode", "StockCode"),
        ("Description", "Description"),
        ("Quantity", "Quantity"),
        ("UnitPrice", "UnitPrice"),
        ("UnitPrice::DECIMAL(12, 3)", "UnitPrice::VARCHAR::DECIMAL(12, 3)"),
        ("Country", "Country"),
        ("TransactionDate", "strftime(InvoiceDate, '%Y-%m-%d %H:%M:%S.%f')"),
        ("ModifiedDate", "strftime(InvoiceDate, '%Y-%m-%d %H:%M:%S.%f')"),
    ],
)
def test_every_value_is_the_files(both, ours, theirs):
    ours = ours.replace("UnitPrice", "shop.UnitPrice") if "::" in ours else f"shop.{ours}"
    theirs = f"source.{theirs}" if theirs[0].isupper() else theirs.replace("InvoiceDate", "source.InvoiceDate")
    differing = f"SELECT count(*) FROM source JOIN shop ON line = TransactionId WHERE {ours} IS DISTINCT FROM {theirs}"
    assert both.sql(differing).fetchone() == (0,)


def test_totals_are_the_files(both, loaded):
    path, summary = loaded
    total, quantity, anonymous, cancelled, buyers, first, last = both.sql(
        """SELECT sum(Quantity * UnitPrice::VARCHAR::DECIMAL(12, 3)), sum(Quantity), count(*) - count(CustomerID),
                  count(*) FILTER (InvoiceNo LIKE 'C%'), count(DISTINCT CustomerID), min(InvoiceDate), max(InvoiceDate)
           FROM source"""
    ).fetchone()
    assert summary.net_total == total == Decimal("9747747.934")
    assert value(path, "SELECT sum(Quantity) FROM Transactions") == quantity == 5_176_450
    assert summary.lines_without_customer == anonymous == 135_080
    assert summary.cancellation_lines == cancelled == 9_288
    assert summary.customers_with_transactions == summary.rows["Customers"] == buyers == 4_372
    assert (summary.first_transaction.replace(tzinfo=None), summary.last_transaction.replace(tzinfo=None)) == (
        first,
        last,
    )
    assert (summary.rows["Feedback"], summary.rows["SensorReadings"]) == (0, 0)


def test_customers_are_the_files(both, loaded):
    expected = both.sql(
        """SELECT CustomerID, NULL, arg_max(Country, line), strftime(min(InvoiceDate), '%Y-%m-%d %H:%M:%S.%f'),
                  strftime(max(InvoiceDate), '%Y-%m-%d %H:%M:%S.%f')
           FROM source WHERE CustomerID IS NOT NULL GROUP BY CustomerID ORDER BY CustomerID"""
    ).fetchall()
    assert query(loaded[0], "SELECT * FROM Customers ORDER BY CustomerId") == expected


def test_products_are_the_files(both, loaded):
    expected = both.sql(
        """WITH named AS (SELECT StockCode, Description, count(*) AS times, max(line) AS seen FROM source
                          WHERE Description IS NOT NULL GROUP BY ALL),
                usual AS (SELECT StockCode, arg_max(Description, (times, seen)) AS Description FROM named GROUP BY ALL),
                newest AS (SELECT StockCode, arg_max(UnitPrice, line) AS price, max(InvoiceDate) AS day
                           FROM source GROUP BY ALL)
           SELECT newest.StockCode, usual.Description, price, strftime(day, '%Y-%m-%d %H:%M:%S.%f')
           FROM newest LEFT JOIN usual USING (StockCode)"""
    ).fetchall()
    found = query(loaded[0], "SELECT StockCode, Description, UnitPrice, ModifiedDate FROM Products")
    assert sorted(found) == sorted(expected)
    assert len(found) == 4_070


def test_services_are_told_from_products(loaded):
    services = {code for (code,) in query(loaded[0], "SELECT StockCode FROM Products WHERE Category = 'Service'")}
    vouchers = {f"gift_0001_{pounds}" for pounds in (10, 20, 30, 40, 50)}
    assert services == vouchers | {
        "POST", "DOT", "M", "m", "D", "BANK CHARGES", "AMAZONFEE", "CRUK", "S", "PADS", "C2", "B"
    }  # fmt: skip
    assert value(loaded[0], "SELECT count(*) FROM Products WHERE Category NOT IN ('Service', 'Product')") == 0


def test_every_reference_is_kept(loaded):
    for key, parent in (("CustomerId", "Customers"), ("StockCode", "Products")):
        orphans = f"""SELECT count(*) FROM Transactions LEFT JOIN {parent} USING ({key})
                      WHERE Transactions.{key} IS NOT NULL AND {parent}.{key} IS NULL"""
        assert value(loaded[0], orphans) == 0
