"""The declared feature sets give the same rows and values on DuckDB and on Spark, at once and in parts."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

import pyarrow as pa
import pytest

from adfml_assets import lake_layout
from adfml_assets.archived_partitions import require_partition
from adfml_assets.features import hash_parts
from adfml_assets.features.feature_set import plan_features
from adfml_assets.features.point_in_time import compare_with_past
from adfml_assets.features.sources import find_partitions
from resources.lake import Lake
from tests.feature_engineering.declared import DAY, archive, build, read_examples, read_specs
from tests.feature_engineering.engine import PRODUCTS, Row, assert_same, index_rows, make_transactions
from tests.feature_engineering.plain_python import Line

SPECS = read_specs()


def make_lines() -> list[Line]:
    """Two thousand lines of thirty customers over two years: several a moment, some cancelled, of nobody, or free."""
    drawn = random.Random(7)  # noqa: S311
    lines = []
    for invoice in range(800):
        customer = drawn.choice([None, *range(30)])
        moment = datetime(2024, 3, 1) + timedelta(seconds=drawn.randrange(730 * 86_400), microseconds=invoice)
        for _ in range(drawn.randint(1, 4)):
            quantity = drawn.choice([-1, 1, 2, 10])
            price = Decimal(drawn.choice([0, 999, drawn.randrange(100_000)])) / 1000
            lines.append(Line(len(lines), f"I{invoice}", customer, f"P{drawn.randrange(9)}", quantity, price, moment))
    return lines


@pytest.fixture
def filled(lake: Lake) -> Lake:
    products = pa.table([[f"P{n}" for n in range(7)], ["Home", "Garden", None, "Home", "Toys", "Ö", "home"]], PRODUCTS)
    archive(lake, {"Transactions": make_transactions(make_lines()), "Products": products})
    return lake


def index(name: str, table: pa.Table) -> dict[object, Row]:
    return index_rows(table.to_pylist(), *SPECS[name].identity)


@pytest.mark.usefixtures("spark")
@pytest.mark.parametrize("name", SPECS)
def test_spark_gives_the_same(filled: Lake, name: str) -> None:
    on_duckdb = build(filled, SPECS[name])
    on_spark = build(filled, SPECS[name], engine="spark")
    assert on_spark.schema == on_duckdb.schema
    assert on_duckdb.num_rows > 500
    assert_same(index(name, on_spark), index(name, on_duckdb))


@pytest.mark.usefixtures("spark")
def test_spark_takes_the_sql_of_the_docs(filled: Lake) -> None:
    (sql,) = read_examples("sql")
    spec = replace(SPECS["customer_features"], function=None, sql=sql, parameters={"window_days": 30})
    on_duckdb, on_spark = build(filled, spec), build(filled, spec, engine="spark")
    assert on_spark.schema == on_duckdb.schema
    assert on_duckdb.num_rows > 500
    assert_same(index("customer_features", on_spark), index("customer_features", on_duckdb))


@pytest.mark.parametrize("name", SPECS)
def test_nothing_of_the_future_is_found(filled: Lake, name: str) -> None:
    build(filled, SPECS[name])
    partitions = find_partitions(filled, SPECS[name].tables, DAY)
    stored = require_partition(filled, lake_layout.features_folder(name, DAY), name, DAY)
    found = compare_with_past(filled, plan_features(filled, SPECS[name], partitions, DAY), stored)
    assert found is not None
    assert found.rows > 20
    assert found.passed, found.describe()


@pytest.mark.parametrize("name", SPECS)
def test_parts_give_the_same(filled: Lake, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = build(filled, SPECS[name])
    monkeypatch.setattr(hash_parts, "ROWS_A_PART", 300)
    in_parts = build(filled, SPECS[name])
    assert in_parts.schema == at_once.schema
    assert_same(index(name, in_parts), index(name, at_once))
