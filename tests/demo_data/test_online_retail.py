"""The loader on a small file made here, with everything in it that the real one has, and on what it must refuse."""

from datetime import datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from demo.online_retail import ensure_online_retail, load_online_retail
from demo.shop_schema import ShopSourceError
from tests.demo_data.shop import query, value

LINES = [
    # invoice, code, description, quantity, day, price, customer, country
    ("536365", "85123A", "WHITE HANGING HEART ", 6, 1, 2.55, 17850, "United Kingdom"),
    ("536365", "85123A", "WHITE HEART", 2, 1, 2.55, 17850, "United Kingdom"),
    ("536366", "85123a", "white heart, other stock", 1, 2, 2.1, 12583, "Spain"),
    ("536367", "POST", "POSTAGE", 1, 2, 18.0, 12583, "France"),
    ("C536368", "85123A", "WHITE HANGING HEART ", -6, 3, 2.55, 17850, "United Kingdom"),
    ("536369", "22139", None, 56, 3, 0.0, None, "United Kingdom"),
    ("A563186", "B", "Adjust bad debt", 1, 4, -11062.06, None, "United Kingdom"),
    ("536370", "gift_0001_20", "Dotcomgiftshop Gift Voucher £20.00", 1, 4, 16.667, None, "United Kingdom"),
    ("536371", "85123A", "damaged", -3, 5, 0.0, None, "United Kingdom"),
    ("536372", "m", "Manual", 1, 5, 0.001, 17850, "EIRE"),
    ("536372", "DCGS0003", "ashtray", 1, 5, 123456789.125, 17850, "EIRE"),
    ("536372", "DCGS0003", "ebay", 1, 5, 1.25, 17850, "Cyprus"),
]


def columns(lines=LINES):
    invoice, code, description, quantity, day, price, customer, country = zip(*lines, strict=True)
    return {
        "InvoiceNo": pa.array(invoice, pa.large_string()),
        "StockCode": pa.array(code, pa.large_string()),
        "Description": pa.array(description, pa.large_string()),
        "Quantity": pa.array(quantity, pa.int64()),
        "InvoiceDate": pa.array([datetime(2010, 12, number, 8, 26) for number in day], pa.timestamp("us")),
        "UnitPrice": pa.array(price, pa.float64()),
        "CustomerID": pa.array(customer, pa.int64()),
        "Country": pa.array(country, pa.large_string()),
    }


def write(path, **changed):
    pq.write_table(pa.table({**columns(), **changed}), path)
    return path


@pytest.fixture
def source(tmp_path):
    return write(tmp_path / "retail.parquet")


@pytest.fixture
def shop(tmp_path):
    return tmp_path / "shop.db"


def test_every_line_arrives_as_it_is(source, shop):
    load_online_retail(source, shop)
    rows = query(
        shop,
        """SELECT TransactionId, InvoiceNo, StockCode, Description, Quantity, TransactionDate, UnitPrice, CustomerId,
                  Country, ModifiedDate FROM Transactions ORDER BY TransactionId""",
    )
    stored = [f"2010-12-0{line[4]} 08:26:00.000000" for line in LINES]
    assert rows == [
        (number, *line[:4], moment, *line[5:], moment)
        for number, (line, moment) in enumerate(zip(LINES, stored, strict=True), start=1)
    ]


def test_customers_are_the_distinct_ones_with_the_country_of_their_last_line(source, shop):
    load_online_retail(source, shop)
    assert query(shop, "SELECT * FROM Customers ORDER BY CustomerId") == [
        (12583, None, "France", "2010-12-02 08:26:00.000000", "2010-12-02 08:26:00.000000"),
        (17850, None, "Cyprus", "2010-12-01 08:26:00.000000", "2010-12-05 08:26:00.000000"),
    ]


def test_products_are_the_distinct_codes_with_their_usual_name_and_last_price(source, shop):
    load_online_retail(source, shop)
    assert {row[0]: row[1:4] for row in query(shop, "SELECT * FROM Products")} == {
        "85123A": ("WHITE HANGING HEART ", "Product", 0),
        "85123a": ("white heart, other stock", "Product", 2.1),
        "POST": ("POSTAGE", "Service", 18),
        "22139": (None, "Product", 0),
        "B": ("Adjust bad debt", "Service", -11062.06),
        "gift_0001_20": ("Dotcomgiftshop Gift Voucher £20.00", "Service", 16.667),
        "m": ("Manual", "Service", 0.001),
        "DCGS0003": ("ebay", "Product", 1.25),
    }
    newest = "SELECT ModifiedDate FROM Products WHERE StockCode = '85123A'"
    assert value(shop, newest) == "2010-12-05 08:26:00.000000"


def test_nothing_is_invented(source, shop):
    summary = load_online_retail(source, shop)
    assert (summary.rows["Feedback"], summary.rows["SensorReadings"]) == (0, 0)
    assert summary.planted_faults == ()


def test_summary_is_exact(source, shop):
    summary = load_online_retail(source, shop)
    assert summary.net_total == sum(line[3] * Decimal(str(line[5])) for line in LINES)
    assert summary.rows == {"Customers": 2, "Products": 8, "Transactions": 12, "Feedback": 0, "SensorReadings": 0}
    assert (summary.cancellation_lines, summary.lines_without_customer, summary.customers_with_transactions) == (
        1,
        4,
        2,
    )
    assert summary.last_transaction.isoformat() == "2010-12-05T08:26:00+00:00"


def test_types_that_hold_the_same_values_load_the_same_rows(source, shop, tmp_path):
    load_online_retail(source, shop)
    given = columns()
    other = write(
        tmp_path / "other.parquet",
        CustomerID=given["CustomerID"].cast(pa.float64()),
        Quantity=given["Quantity"].cast(pa.int16()),
        UnitPrice=given["UnitPrice"].cast(pa.decimal128(18, 6)),
        InvoiceDate=given["InvoiceDate"].cast(pa.timestamp("ns", "UTC")),
        Country=given["Country"].dictionary_encode(),
        StockCode=given["StockCode"].cast(pa.string()),
    )
    load_online_retail(other, tmp_path / "other.db")
    everything = "SELECT * FROM Transactions ORDER BY TransactionId"
    assert query(tmp_path / "other.db", everything) == query(shop, everything)


def test_several_batches_keep_the_order(shop, tmp_path):
    many = [(str(n), "1", None, n, 1, 0.5, None, "X") for n in range(1, 120_002)]
    pq.write_table(pa.table(columns(many)), tmp_path / "many.parquet", row_group_size=7_000)
    assert load_online_retail(tmp_path / "many.parquet", shop).rows["Transactions"] == 120_001
    wrong = "SELECT count(*) FROM Transactions WHERE TransactionId <> Quantity OR InvoiceNo <> CAST(Quantity AS TEXT)"
    assert value(shop, wrong) == 0


def test_a_file_without_lines_makes_empty_tables(shop, tmp_path):
    empty = tmp_path / "empty.parquet"
    pq.write_table(pa.table(columns()).slice(0, 0), empty)
    assert set(load_online_retail(empty, shop).rows.values()) == {0}


def test_the_same_bytes_are_loaded_once_other_bytes_again(source, shop):
    first = ensure_online_retail(source, shop)
    built = shop.stat().st_ino
    moved = source.rename(source.with_name("moved.parquet"))
    assert ensure_online_retail(moved, shop) == first
    assert shop.stat().st_ino == built
    prices = [2 * line[5] for line in LINES]
    write(moved, UnitPrice=pa.array(prices, pa.float64()))
    assert ensure_online_retail(moved, shop).net_total == 2 * first.net_total
    assert shop.stat().st_ino != built


def refused(source, shop):
    """The error, after making sure that nothing was left at the database's place."""
    with pytest.raises(ShopSourceError) as caught:
        load_online_retail(source, shop)
    assert [path.name for path in shop.parent.iterdir() if "shop.db" in path.name] == []
    return caught.value


def test_a_missing_column_is_named_with_those_there_are(shop, tmp_path):
    table = pa.table(columns()).drop_columns(["CustomerID", "Country"]).append_column("Customer ID", [[1] * len(LINES)])
    pq.write_table(table, tmp_path / "renamed.parquet")
    problem = refused(tmp_path / "renamed.parquet", shop).problem
    assert "no column CustomerID, Country" in problem
    assert "InvoiceNo, StockCode, Description, Quantity, InvoiceDate, UnitPrice, Customer ID" in problem


@pytest.mark.parametrize("function", [load_online_retail, ensure_online_retail])
def test_a_missing_file_is_named(shop, tmp_path, function):
    with pytest.raises(ShopSourceError, match="No such file") as caught:
        function(tmp_path / "nowhere.parquet", shop)
    assert caught.value.where == str(tmp_path / "nowhere.parquet")


def test_a_folder_is_refused(shop, tmp_path):
    assert "cannot be opened" in refused(tmp_path, shop).problem


@pytest.mark.parametrize("content", [b"", b"InvoiceNo,StockCode\n536365,85123A\n", b"PAR1 cut PAR1"])
def test_what_is_no_parquet_is_refused(shop, tmp_path, content):
    file = tmp_path / "retail.csv"
    file.write_bytes(content)
    assert "as Parquet" in refused(file, shop).problem


def test_a_damaged_page_is_refused(shop, tmp_path):
    many = [(str(n * 7919 % 100_003), "1", None, n, 1, 0.5, None, "X") for n in range(1, 100_000)]
    file = tmp_path / "damaged.parquet"
    pq.write_table(pa.table(columns(many)), file, write_page_checksum=True, compression="zstd")
    data = bytearray(file.read_bytes())
    data[2_000:120_000] = bytes(118_000)
    file.write_bytes(data)
    assert refused(file, shop).where == str(file)


@pytest.mark.parametrize(
    ("column", "values", "line", "expected"),
    [
        ("UnitPrice", pa.array([2.55] * 11 + [2.5512]), 12, "three decimals"),
        ("UnitPrice", pa.array([float("nan")] + [1.0] * 11), 1, "three decimals"),
        ("UnitPrice", pa.array([1.0, float("inf")] + [1.0] * 10), 2, "three decimals"),
        ("UnitPrice", pa.array([1.0, 1e9] + [1.0] * 10), 2, "nine digits"),
        ("UnitPrice", pa.array([1.0, 1.0, None] + [1.0] * 9), 3, "a value"),
        ("InvoiceNo", pa.array(["1"] * 5 + [None] + ["1"] * 6), 6, "a value"),
        ("Country", pa.array(["x" * 60] * 4 + ["ä" * 61] * 8), 5, "60 characters"),
        ("InvoiceDate", pa.array([datetime(2010, 1, 1)] * 11 + [datetime(999, 1, 1)], pa.timestamp("us")), 12, "year"),
    ],
)
def test_a_value_the_table_cannot_hold_is_refused_with_its_line(shop, tmp_path, column, values, line, expected):
    error = refused(write(tmp_path / "bad.parquet", **{column: values}), shop)
    assert error.where.endswith(f"line {line}, column {column}")
    assert expected in error.expected


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("Quantity", pa.array([1.5] * 12)),
        ("Quantity", pa.array([2**31] * 12)),
        ("CustomerID", pa.array([2**40] * 12)),
        ("InvoiceDate", pa.array(["yesterday"] * 12)),
        ("InvoiceDate", pa.array([1] * 12, pa.timestamp("ns"))),
    ],
)
def test_a_type_that_would_lose_something_is_refused(shop, tmp_path, column, values):
    error = refused(write(tmp_path / "bad.parquet", **{column: values}), shop)
    assert f"column {column}" in error.where
    assert "without loss" in error.problem
