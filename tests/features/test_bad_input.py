"""What cannot be built is said in one sentence before any work, with what was found and what was expected."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from adfml_assets.archived_partitions import PartitionMissing
from adfml_assets.features.definition import TableRef
from adfml_assets.features.errors import (
    DuplicateFeatures,
    ExpressionFailed,
    ExpressionNotFound,
    KeyMissing,
    NotPortable,
    SqlInvalid,
    WrongArguments,
    WrongDate,
    WrongType,
)
from resources.errors import NotFound
from tests.features.conftest import SPEND, Order, Shop, orders_only

ORDERED = "FROM orders, feature_dates WHERE Customer = 1"


@pytest.fixture(autouse=True)
def _archived(shop: Shop, orders: list[Order]) -> None:
    shop.archive_orders(orders)


def by_sql(sql: str, **changes: Any) -> Any:
    return orders_only("broken", **{"function": None, "sql": sql, **changes})


def orders_only_at(**table: Any) -> Any:
    return replace(SPEND, tables={**SPEND.tables, "orders": TableRef("shop.main.Orders", **table)})


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        (
            replace(SPEND, key="Client"),
            NotFound,
            "no column 'Client' in archived table orders or products. It has: Amount, Category, Customer",
        ),
        (
            replace(SPEND, partition_by="Custumer"),
            NotFound,
            "no column 'Custumer' in archived table orders or products.* Did you mean 'Customer'",
        ),
        (orders_only_at(timestamp="When"), NotFound, "no column 'When' in archived table orders. It has: .*OrderedAt"),
        (
            orders_only_at(timestamp="Product"),
            WrongType,
            "orders.Product is string and cannot be a timestamp: expected a date or a timestamp",
        ),
        (replace(SPEND, function="nowhere.at.all"), ExpressionNotFound, "'nowhere.at.all' cannot be used"),
        (orders_only("not_a_function"), ExpressionNotFound, "it is a int, no function"),
        (
            replace(SPEND, parameters={"day": 3, "category": "books"}),
            WrongArguments,
            r"takes no 'day' and is not given 'days'. It takes: orders, products, feature_dates, days, category. Did "
            "you mean 'days'",
        ),
        (replace(SPEND, tables={"orders": SPEND.tables["orders"]}), WrongArguments, "is not given 'products'"),
        (
            orders_only("wrong_column"),
            ExpressionFailed,
            "cannot be used: .*Price.* Its tables: orders has OrderId, Customer, Product, Amount, OrderedAt; "
            "feature_dates has feature_date",
        ),
        (orders_only("no_date"), NotFound, "no column 'feature_date' in the result of tests.features.definitions"),
        (
            orders_only("wrong_type"),
            WrongType,
            r"the result's pair is STRUCT\(.*cannot be a feature: expected a number, true or false",
        ),
        (orders_only("in_python"), NotPortable, "the Python function double"),
        (by_sql("SELECT Customer,\nfeature_date FORM orders"), SqlInvalid, "line 2 of its SQL: Parser Error"),
        (by_sql("SELECT 'abc"), SqlInvalid, "line 1 of its SQL: Parser Error: unterminated"),
        (by_sql("SELECT 1; SELECT 2"), SqlInvalid, "it has 2 statements"),
        (by_sql("-- nothing"), SqlInvalid, "it has 0 statements"),
        (by_sql("DROP TABLE orders"), SqlInvalid, "it is a statement DROP"),
        (
            by_sql(f"SELECT Customer,\n feature_date,\n Price {ORDERED}"),
            ExpressionFailed,
            r'Referenced column "Price" not found.*\(line 3\). Its tables: orders has OrderId, Customer',
        ),
        (by_sql("SELECT * FROM order_lines"), ExpressionFailed, "order_lines does not exist"),
        (
            by_sql(f"SELECT Customer, feature_date, $least AS x {ORDERED}", parameters={"last": 1}),
            WrongArguments,
            "its SQL takes no 'last' and is not given 'least'. It takes: least",
        ),
        (
            by_sql(f"SELECT Customer, now() AS feature_date {ORDERED}"),
            WrongType,
            "the result's feature_date is TIMESTAMP WITH TIME ZONE and cannot be the feature date: expected a date",
        ),
        (
            by_sql(f"SELECT Customer, feature_date {ORDERED}", rows="event", event_time="feature_date", count=0),
            ExpressionFailed,
            "feature_dates does not exist",
        ),
        (
            by_sql(
                "SELECT OrderId, Product AS moment FROM orders",
                key="OrderId",
                rows="event",
                event_time="moment",
                count=0,
            ),
            WrongType,
            "the result's moment is VARCHAR and cannot be the event's time",
        ),
    ],
)
def test_what_cannot_be_is_said(shop: Shop, spec: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        shop.build(spec)
    assert "\n" not in str(caught.value)
    assert shop.lake.list_files(f"feature-store/{spec.name}") == []


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        (
            orders_only("every_line"),
            DuplicateFeatures,
            r"rows repeat a \(Customer, feature_date\) that another row has",
        ),
        (orders_only("nobody"), KeyMissing, "rows of the result have no Customer"),
        (
            orders_only("tomorrow"),
            WrongDate,
            "the result has feature_date 2026-03-11; expected one of 2026-02-18, 2026-02-28, 2026-03-10",
        ),
    ],
)
def test_rows_that_cannot_be_leave_the_features_before_them(
    shop: Shop, spec: Any, error: type[Exception], message: str
) -> None:
    good = replace(spec, function=None, sql=f"SELECT DISTINCT Customer, feature_date {ORDERED}")
    folder, manifest = shop.build(good)
    with pytest.raises(error, match=message):
        shop.build(spec)
    shop.lake.verify_file(f"{folder}/features.parquet", manifest.files[0])
    assert len(shop.lake.list_files(folder)) == 2


def test_a_partition_that_is_not_there_is_named(shop: Shop) -> None:
    with pytest.raises(PartitionMissing, match="archive/shop/main/Orders has no partition 2026-03-11 in the lake"):
        shop.build(SPEND, "2026-03-11")
    current = {name: replace(table, state="current") for name, table in SPEND.tables.items()}
    with pytest.raises(PartitionMissing, match="current/shop/main/Orders has no partition 2026-03-10 in the lake"):
        shop.build(replace(SPEND, tables=current))


def test_values_of_parameters_are_values(shop: Shop) -> None:
    nasty = "x'); DROP TABLE orders; --"
    sql = f"SELECT Customer, feature_date, any_value($text) AS text, any_value(5-$minus) AS six {ORDERED} GROUP BY ALL;"
    spec = by_sql(f"{sql} -- the end", parameters={"text": nasty, "minus": -1})
    assert {(row["text"], row["six"]) for row in shop.build_rows(spec)} == {(nasty, 6)}


def test_without_any_event_there_are_no_features(shop: Shop) -> None:
    shop.archive_orders([])
    folder, manifest = shop.build(SPEND)
    assert manifest.rows == 0
    assert manifest.facts["feature_dates"] == []
    assert manifest.facts["feature_date"] is None
    assert shop.lake.read_table(f"{folder}/features.parquet").column_names[:2] == ["Customer", "feature_date"]


def test_spark_without_java_is_said(shop: Shop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import subprocess
    import sys

    code = (
        "from tests.features.conftest import SPEND, Shop\nfrom dataclasses import replace\n"
        "from resources.lake import Lake\nShop(Lake()).build(replace(SPEND, engine='spark'))"
    )
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert re.search(r"EngineFailed: Feature set spend: Spark failed \(.*Java", done.stderr), done.stderr[-2000:]


def test_a_name_is_looked_for_as_it_is_written(shop: Shop) -> None:
    shop.archive("Orders", pa.table({'Kunde "1"': [1], "am `Tag`": pa.array([0], pa.timestamp("us"))}))
    spec = by_sql(
        'SELECT "Kunde ""1""", feature_date, count(*) AS n FROM orders, feature_dates GROUP BY ALL',
        key='Kunde "1"',
        tables={"orders": TableRef("shop.main.Orders", "am `Tag`")},
    )
    assert [row["n"] for row in shop.build_rows(spec)] == [1, 1, 1]


def test_an_event_after_the_cut_is_refused(shop: Shop) -> None:
    sql = "SELECT OrderId, OrderedAt + INTERVAL 400 DAY AS OrderedAt FROM orders"
    spec = by_sql(sql, key="OrderId", rows="event", event_time="OrderedAt", count=0)
    with pytest.raises(WrongDate, match=r"the result has OrderedAt 2027-.*; expected before 2026-03-11 00:00:00"):
        shop.build(spec)
