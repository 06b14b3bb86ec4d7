"""Both feature sets as declared, over real invoices, held to plain Python and to SQL on the source."""

from __future__ import annotations

import os
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from adfml_assets.archive.plan import ArchivePlan
from adfml_assets.archive.run import closing_run
from adfml_assets.archive.snapshot import take_snapshot
from adfml_assets.archive.tables import SourceTable, TableRules
from demo.online_retail import load_online_retail
from resources.control import ControlDatabase
from resources.database import Databases
from resources.lake import Lake
from tests.demo_data.shop import REPOSITORY
from tests.feature_engineering.declared import DAY, NOW, build, read_specs
from tests.feature_engineering.engine import assert_same, index_rows
from tests.feature_engineering.plain_python import Line, describe_customers, describe_transactions

# Read at import: fixtures of the whole test suite clear the ADFML_ variables.
DATA = Path(os.environ.get("ADFML_TEST_DATA") or REPOSITORY.parent / "shared" / "data")
RETAIL = DATA / "online_retail.parquet"
# Two whose huge orders were cancelled minutes later, and the one with the most lines.
NOTABLE = [12346, 16446, 17841]

pytestmark = pytest.mark.skipif(
    not RETAIL.is_file(), reason=f"{RETAIL.name} is not in {DATA}; set ADFML_TEST_DATA to the folder that holds it"
)


@dataclass(frozen=True)
class Built:
    """The features of all real invoices, and the database that they came from."""

    shop: Path
    customers: pa.Table
    transactions: pa.Table


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    folder = tmp_path_factory.mktemp("retail")
    shop = folder / "shop.sqlite"
    load_online_retail(RETAIL, shop)
    with pytest.MonkeyPatch.context() as settings:
        settings.setenv("ADFML_SHOP_URL", f"sqlite:///{shop}")
        settings.setenv("ADFML_LAKE", str(folder / "lake"))
        settings.setenv("ADFML_CONTROL_URL", f"sqlite:///{folder}/control.sqlite")
        lake = Lake()
        with closing_run(
            ArchivePlan("shop", "full", {}).open_run(Databases(), lake, ControlDatabase(), now=NOW, run_id="r")
        ) as run:
            for name in ("Transactions", "Products"):
                take_snapshot(run, SourceTable("shop", "main", name), TableRules(), DAY, asset=name)
        tables = {name: build(lake, spec) for name, spec in read_specs().items()}
        yield Built(shop, tables["customer_features"], tables["transaction_features"])


@pytest.fixture(scope="module")
def chosen() -> list[Line]:
    """All lines of two hundred customers, straight from the file."""
    table = pq.read_table(RETAIL)
    buyers = sorted({customer for customer in table["CustomerID"].to_pylist() if customer is not None})
    customers = {*NOTABLE, *random.Random(20101201).sample(buyers, 200 - len(NOTABLE))}  # noqa: S311
    return [
        Line(
            number,
            row["InvoiceNo"],
            row["CustomerID"],
            row["StockCode"],
            row["Quantity"],
            Decimal(repr(row["UnitPrice"])),
            row["InvoiceDate"],
        )
        for number, row in enumerate(table.to_pylist(), start=1)
        if row["CustomerID"] in customers
    ]


def query(built: Built, sql: str) -> list[tuple]:
    with closing(sqlite3.connect(built.shop)) as connection:
        return connection.execute(sql).fetchall()


def test_customers_agree_with_plain_python(built: Built, chosen: list[Line]) -> None:
    customers = sorted({line.customer for line in chosen})
    dates = sorted(set(built.customers["feature_date"].to_pylist()))
    assert len(dates) == 37
    categories = dict(query(built, "SELECT StockCode, Category FROM Products"))
    days = [*random.Random(1).sample(dates[:-1], 7), dates[-1]]  # noqa: S311
    own = built.customers.filter(pc.field("CustomerId").isin(customers) & pc.field("feature_date").isin(days))
    expected = {
        (day, customer): row
        for day in days
        for customer, row in describe_customers(chosen, categories, day, window_days=30, min_transactions=1).items()
    }
    assert len(expected) > 800
    assert_same(index_rows(own.to_pylist(), "feature_date", "CustomerId"), expected)


def test_transactions_agree_with_plain_python(built: Built, chosen: list[Line]) -> None:
    expected = describe_transactions(chosen, window_days=30, sum_days=7, min_transactions=5)
    assert len(expected) > 10_000
    own = built.transactions.filter(pc.field("TransactionId").isin([line.number for line in chosen]))
    found = index_rows(own.to_pylist(), "TransactionId", drop=["TransactionDate"])
    assert_same({number: row for (number,), row in found.items()}, expected)


def test_totals_and_first_and_last_purchase_agree_with_sql_on_the_source(built: Built) -> None:
    # Thousandths as integers: SQLite has no exact decimals to sum.
    totals = query(
        built,
        """
        SELECT CustomerId, sum(thousandths), sum(CASE WHEN Quantity > 0 THEN thousandths ELSE 0 END),
               date(min(CASE WHEN Quantity > 0 THEN TransactionDate END)),
               date(max(CASE WHEN Quantity > 0 THEN TransactionDate END)), sum(Quantity > 0),
               count(DISTINCT CASE WHEN Quantity > 0 THEN InvoiceNo || date(TransactionDate) END)
        FROM (SELECT *, Quantity * CAST(round(UnitPrice * 1000) AS INTEGER) AS thousandths FROM Transactions)
        WHERE CustomerId IS NOT NULL AND UnitPrice > 0
        GROUP BY CustomerId HAVING sum(Quantity > 0) > 0""",
    )
    newest = pc.max(built.customers["feature_date"]).as_py()
    found = {
        row["CustomerId"]: (
            round(row["net_total"] * 1000),
            round(row["gross_total"] * 1000),
            (newest - timedelta(days=row["days_since_first"])).isoformat(),
            (newest - timedelta(days=row["recency_days"])).isoformat(),
            row["transaction_count"],
            row["purchase_count"],
        )
        for row in built.customers.filter(pc.field("feature_date") == newest).to_pylist()
    }
    assert newest == date(2011, 12, 9)
    assert len(totals) == 4_338
    assert found == {customer: tuple(rest) for customer, *rest in totals}


def test_transactions_agree_with_sql_on_the_source(built: Built) -> None:
    (expected,) = query(
        built,
        """
        SELECT count(*), sum(thousandths), sum(seen) FROM (
          SELECT thousandths, count(*) OVER (PARTITION BY CustomerId ORDER BY TransactionDate RANGE UNBOUNDED PRECEDING)
                 AS seen
          FROM (SELECT *, Quantity * CAST(round(UnitPrice * 1000) AS INTEGER) AS thousandths FROM Transactions)
          WHERE CustomerId IS NOT NULL AND thousandths > 0)
        WHERE seen >= 5""",
    )
    rows = built.transactions
    thousandths = sum(round(amount * 1000) for amount in rows["amount"].to_pylist())
    assert (rows.num_rows, thousandths, sum(rows["transaction_count"].to_pylist())) == expected
