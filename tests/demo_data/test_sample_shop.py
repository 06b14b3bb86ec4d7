"""The generated shop: the same for the same arguments, sound in itself, and worth training a model on."""

import hashlib
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from demo.sample_shop import DEFAULT_END, ensure_sample_shop, write_sample_shop
from demo.shop_schema import ShopArgumentError
from tests.demo_data.shop import COLUMNS, OWN_DATE, query, start_python, value

PROGRAM = """
import sys
from pathlib import Path
from demo.sample_shop import write_sample_shop
write_sample_shop(Path(sys.argv[1]), customers=int(sys.argv[2]), seed=int(sys.argv[3]))
"""


def contents(path):
    digest = hashlib.sha256()
    for table in COLUMNS:
        for row in query(path, f"SELECT * FROM {table} ORDER BY 1"):
            digest.update(repr(row).encode())
    return digest.hexdigest()


def test_same_arguments_make_the_same_file_in_another_process(tmp_path):
    here, there, other = tmp_path / "here.db", tmp_path / "there.db", tmp_path / "other.db"
    write_sample_shop(here, customers=150, seed=3)
    assert start_python(PROGRAM, there, 150, 3).wait(60) == 0
    write_sample_shop(other, customers=150, seed=4)
    assert contents(here) == contents(there)
    assert here.read_bytes() == there.read_bytes()
    assert contents(here) != contents(other)


def test_the_same_moment_in_another_time_zone_makes_the_same_shop(tmp_path):
    abroad = DEFAULT_END.astimezone(timezone(timedelta(hours=5, minutes=30)))
    write_sample_shop(tmp_path / "a.db", customers=20)
    assert ensure_sample_shop(tmp_path / "a.db", customers=20, end=abroad) == write_sample_shop(
        tmp_path / "b.db", customers=20, end=abroad
    )
    assert contents(tmp_path / "a.db") == contents(tmp_path / "b.db")


def test_summary_says_what_the_tables_hold(sample):
    path, summary = sample
    assert summary.rows == {table: value(path, f"SELECT count(*) FROM {table}") for table in COLUMNS}
    assert summary.rows["Customers"] == 1000
    assert summary.rows["Transactions"] > 50_000
    first, last = query(path, "SELECT min(TransactionDate), max(TransactionDate) FROM Transactions")[0]
    assert summary.first_transaction == datetime.fromisoformat(first + "+00:00")
    assert summary.last_transaction == datetime.fromisoformat(last + "+00:00")
    assert DEFAULT_END - timedelta(days=540) <= summary.first_transaction < summary.last_transaction < DEFAULT_END
    buyers = {customer for (customer,) in query(path, "SELECT CustomerId FROM Transactions")}
    assert summary.customers_with_transactions == len(buyers - {None})
    lines = query(path, "SELECT InvoiceNo, CustomerId, Quantity, printf('%.3f', UnitPrice) FROM Transactions")
    assert summary.cancellation_lines == sum(invoice.startswith("C") for invoice, *_ in lines)
    assert summary.lines_without_customer == sum(customer is None for _, customer, *_ in lines)
    assert summary.net_total == sum(quantity * Decimal(price) for _, _, quantity, price in lines)


@pytest.mark.parametrize(
    ("child", "key", "parent"),
    [
        ("Transactions", "CustomerId", "Customers"),
        ("Transactions", "StockCode", "Products"),
        ("Feedback", "CustomerId", "Customers"),
    ],
)
def test_every_reference_is_kept(sample, child, key, parent):
    path, _ = sample
    orphans = f"SELECT count(*) FROM {child} WHERE {key} IS NOT NULL AND {key} NOT IN (SELECT {key} FROM {parent})"
    assert value(path, orphans) == 0
    assert value(path, f"SELECT count({key}) FROM {child}") > 0


@pytest.mark.parametrize("table", COLUMNS)
def test_every_moment_is_stored_alike_and_before_the_end(sample, table):
    path, _ = sample
    digits = "[0-9][0-9]"
    pattern = f"{digits}{digits}-{digits}-{digits} {digits}:{digits}:{digits}.{digits * 3}"
    end = DEFAULT_END.strftime("%Y-%m-%d %H:%M:%S.%f")
    for name in [name for name, kind, *_ in COLUMNS[table] if kind == "DATETIME"]:
        wrong = f"SELECT count(*) FROM {table} WHERE {name} NOT GLOB ? OR {name} >= ?"
        assert value(path, wrong, pattern, end) == 0
    assert value(path, f"SELECT count(*) FROM {table} WHERE ModifiedDate LIKE '%.000000'") == 0
    if table in OWN_DATE:
        assert value(path, f"SELECT count(*) FROM {table} WHERE ModifiedDate < {OWN_DATE[table]}") == 0
    assert value(path, f"SELECT count(DISTINCT ModifiedDate) * 1.0 / count(*) FROM {table}") > 0.99


def test_lines_are_numbered_in_order_of_time_and_invoices_are_whole(sample):
    path, _ = sample
    backwards = """SELECT count(*) FROM (SELECT TransactionDate AS at, lag(TransactionDate) OVER by_number AS before
                   FROM Transactions WINDOW by_number AS (ORDER BY TransactionId)) WHERE at < before"""
    assert value(path, backwards) == 0
    mixed = """SELECT count(*) FROM (SELECT 1 FROM Transactions GROUP BY InvoiceNo
               HAVING count(DISTINCT TransactionDate) + count(DISTINCT coalesce(CustomerId, 0))
                      + count(DISTINCT Country) > 3)"""
    assert value(path, mixed) == 0
    lowest, highest, rows = query(path, "SELECT min(TransactionId), max(TransactionId), count(*) FROM Transactions")[0]
    assert (lowest, highest) == (1, rows)


def test_nobody_buys_before_being_a_customer(sample):
    path, _ = sample
    early = """SELECT count(*) FROM Transactions JOIN Customers USING (CustomerId)
               WHERE TransactionDate < CreatedDate OR Transactions.Country <> Customers.Country"""
    assert value(path, early) == 0


def test_prices_are_those_of_the_time(sample):
    path, _ = sample
    # Quantities from 24 get a tenth off; after a product's last change only its price of today is charged.
    other = """SELECT count(*) FROM Transactions JOIN Products USING (StockCode)
               WHERE TransactionDate >= Products.ModifiedDate AND Quantity BETWEEN 1 AND 23
                 AND Transactions.UnitPrice <> Products.UnitPrice"""
    assert value(path, other) == 0
    older = """SELECT count(*) FROM Transactions JOIN Products USING (StockCode)
               WHERE Quantity BETWEEN 1 AND 23 AND Transactions.UnitPrice < Products.UnitPrice"""
    assert value(path, older) > 100
    finer = "SELECT count(*) FROM Transactions WHERE abs(UnitPrice * 1000 - round(UnitPrice * 1000)) > 1e-6"
    assert value(path, finer) == 0
    assert value(path, "SELECT min(UnitPrice) FROM Transactions") > 0


def test_a_cancellation_reverses_an_earlier_line_of_the_same_customer(sample):
    path, summary = sample
    wrong_sign = "SELECT count(*) FROM Transactions WHERE (substr(InvoiceNo, 1, 1) = 'C') <> (Quantity < 0)"
    assert value(path, wrong_sign) == 0
    sold: dict[tuple, list[int]] = {}
    reversed_lines = 0
    for invoice, customer, product, price, quantity in query(
        path, "SELECT InvoiceNo, CustomerId, StockCode, UnitPrice, Quantity FROM Transactions ORDER BY TransactionId"
    ):
        open_lines = sold.setdefault((customer, product, price), [])
        if not invoice.startswith("C"):
            open_lines.append(quantity)
            continue
        assert max(open_lines, default=0) >= -quantity, f"{invoice} reverses nothing that was sold before"
        # Which of several equal lines it was cannot be told; the smallest that is large enough leaves most to others.
        open_lines.remove(min(line for line in open_lines if line >= -quantity))
        reversed_lines += 1
    assert reversed_lines == summary.cancellation_lines > 500


def test_customers_differ_come_and_go(sample):
    path, _ = sample
    orders = sorted(
        count
        for (count,) in query(
            path,
            """SELECT count(DISTINCT InvoiceNo) FROM Customers JOIN Transactions USING (CustomerId)
               WHERE CreatedDate < '2025-05-09' GROUP BY CustomerId""",
        )
    )
    mean = sum(orders) / len(orders)
    variance = sum((count - mean) ** 2 for count in orders) / len(orders)
    assert variance > 3 * mean, "orders a customer should vary more than chance alone makes them"
    silent = value(
        path,
        """SELECT avg(last < '2026-07-01') FROM (SELECT max(TransactionDate) AS last FROM Transactions
           WHERE CustomerId IS NOT NULL GROUP BY CustomerId)""",
    )
    assert 0.1 < silent < 0.5


def test_trade_has_a_season_and_weekends(sample):
    path, _ = sample
    by_month = dict(
        query(path, "SELECT substr(TransactionDate, 1, 7), count(DISTINCT InvoiceNo) FROM Transactions GROUP BY 1")
    )
    assert by_month["2025-11"] > 1.2 * by_month["2026-05"]
    by_weekday = dict(query(path, "SELECT strftime('%w', TransactionDate), count(*) FROM Transactions GROUP BY 1"))
    assert by_weekday["6"] < 0.7 * by_weekday["3"]
    assert value(path, "SELECT count(*) FROM Transactions WHERE Quantity > 0 AND time(TransactionDate) < '07:00'") == 0


def test_a_shop_of_one_day_without_a_sale_works(tmp_path):
    summary = write_sample_shop(tmp_path / "tiny.db", customers=1, days=1)
    assert summary.rows["Transactions"] == 0
    assert (summary.first_transaction, summary.last_transaction) == (None, None)
    assert summary.net_total == 0
    assert summary.rows["SensorReadings"] == 4 * 144


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        ({"customers": 0}, "customers"),
        ({"seed": -1}, "seed"),
        ({"days": 0}, "days"),
        ({"end": datetime(2026, 1, 1)}, "end"),
        ({"end": datetime(1066, 1, 1, tzinfo=UTC)}, "end"),
    ],
)
def test_arguments_out_of_range_are_refused_before_anything_is_written(tmp_path, arguments, where):
    with pytest.raises(ShopArgumentError) as caught:
        write_sample_shop(tmp_path / "shop.db", **arguments)
    assert caught.value.where == where
    assert list(tmp_path.iterdir()) == []
