"""One definition gives the same rows, values and types on DuckDB and on Spark."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from adfml_assets.features.definition import FeatureSetSpec
from adfml_assets.features.errors import EngineFailed
from tests.features.conftest import EVENTS, SPEND, Order, Shop, require_same
from tests.features.definitions import HERE, SPEND_SQL

SETS = {
    "function": SPEND,
    "sql": replace(SPEND, function=None, sql=SPEND_SQL),
    "events": EVENTS,
    "categories": replace(SPEND, name="categories", function=f"{HERE}.categories", parameters={}),
}


@pytest.mark.usefixtures("spark")
@pytest.mark.parametrize("name", SETS)
def test_both_engines_give_the_same(shop: Shop, orders: list[Order], name: str) -> None:
    spec = SETS[name]
    shop.archive_orders(orders)
    folder, on_duckdb = shop.build(spec)
    expected = shop.read_rows(spec, folder)
    assert expected
    if "times" in expected[0]:
        assert {row["times"] is None for row in expected} == {True, False}
    _, on_spark = shop.build(replace(spec, engine="spark"))
    require_same(shop.read_rows(spec, folder), expected)
    assert on_spark.columns == on_duckdb.columns
    assert {**on_spark.facts, "engine": "duckdb"} == on_duckdb.facts
    assert [path.rpartition("/")[2] for path in shop.lake.list_files(folder)] == ["_manifest.json", "features.parquet"]
    assert shop.lake.list_files(f"feature-store/{spec.name}/_jobs") == []


def test_a_function_and_its_sql_give_the_same(shop: Shop, orders: list[Order]) -> None:
    shop.archive_orders(orders)
    require_same(shop.build_rows(SETS["sql"]), shop.build_rows(SETS["function"]))


def test_a_division_by_zero_has_no_value(shop: Shop, orders: list[Order]) -> None:
    shop.archive_orders([order for order in orders if order[1] != "p1"])
    _, manifest = shop.build(SPEND)
    for row in shop.build_rows(SPEND):
        assert (row["per_book_or_none"], row["remainder"], row["times"]) == (None, None, None)
    assert manifest.facts["missing"]["per_book_or_none"] == manifest.rows
    assert manifest.facts["missing"]["spend"] == 0


def test_categories_are_counted_and_named(shop: Shop, orders: list[Order]) -> None:
    shop.archive_orders(orders)
    _, manifest = shop.build(SETS["categories"])
    assert manifest.facts["features"] == ["orders", "weight", "by_category"]
    assert manifest.facts["category_columns"] == ["by_category"]
    rows = shop.build_rows(SETS["categories"])
    for row in rows:
        names = [one["name"] for one in row["by_category"]]
        assert names == sorted(names)
        assert row["orders"] == sum(one["count"] for one in row["by_category"])
    largest = manifest.facts["categories"]["by_category"]["largest"]
    assert sum(largest.values()) == sum(row["orders"] for row in rows)
    assert set(largest) == {"books", "games", "Büch|er"}


@pytest.mark.parametrize("engine", ["duckdb", "spark"])
def test_a_value_that_stops_an_engine_leaves_nothing(shop: Shop, orders: list[Order], engine: Any, spark: Any) -> None:
    broken = "SELECT Customer, feature_date, CAST(Product AS INT) AS n FROM orders, feature_dates WHERE Customer = 1"
    spec = FeatureSetSpec(
        name="broken", key="Customer", tables={"orders": SPEND.tables["orders"]}, sql=broken, engine=engine
    )
    shop.archive_orders(orders)
    with pytest.raises(EngineFailed, match=r"Feature set broken: (DuckDB|Spark) failed \(.*p[0-9]"):
        shop.build(spec)
    assert shop.lake.list_files("feature-store/broken") == []
