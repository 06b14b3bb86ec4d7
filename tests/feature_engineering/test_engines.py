"""The declared feature sets give the same rows and values on DuckDB and on Spark, at once and in parts."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
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
def shop(lake: Lake) -> Lake:
    products = pa.table([[f"P{n}" for n in range(7)], ["Home", "Garden", None, "Home", "Toys", "Ö", "home"]], PRODUCTS)
    archive(lake, {"Transactions": make_transactions(make_lines()), "Products": products})
    return lake


@pytest.fixture(scope="module")
def _spark() -> Iterator[None]:
    if shutil.which("java") is None:
        pytest.fail("Spark needs Java 17, and there is no java here: `make java` installs it.", pytrace=False)
    from adfml_assets.features.spark_engine import open_session

    with pytest.MonkeyPatch.context() as patch:
        # Short queries never get back what the second compiler costs.
        patch.setenv("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")
        session = open_session()
    session.conf.set("spark.sql.shuffle.partitions", "2")
    yield
    session.stop()


def index(name: str, table: pa.Table) -> dict[object, Row]:
    return index_rows(table.to_pylist(), *SPECS[name].identity)


@pytest.mark.usefixtures("_spark")
@pytest.mark.parametrize("name", SPECS)
def test_spark_gives_the_same(shop: Lake, name: str) -> None:
    on_duckdb = build(shop, SPECS[name])
    on_spark = build(shop, SPECS[name], engine="spark")
    assert on_spark.schema == on_duckdb.schema
    assert on_duckdb.num_rows > 500
    assert_same(index(name, on_spark), index(name, on_duckdb))


@pytest.mark.usefixtures("_spark")
def test_spark_takes_the_sql_of_the_docs(shop: Lake) -> None:
    (sql,) = read_examples("sql")
    spec = replace(SPECS["customer_features"], function=None, sql=sql, parameters={"window_days": 30})
    on_duckdb, on_spark = build(shop, spec), build(shop, spec, engine="spark")
    assert on_spark.schema == on_duckdb.schema
    assert on_duckdb.num_rows > 500
    assert_same(index("customer_features", on_spark), index("customer_features", on_duckdb))


@pytest.mark.parametrize("name", SPECS)
def test_nothing_of_the_future_is_found(shop: Lake, name: str) -> None:
    build(shop, SPECS[name])
    partitions = find_partitions(shop, SPECS[name].tables, DAY)
    stored = require_partition(shop, lake_layout.features_folder(name, DAY), name, DAY)
    found = compare_with_past(shop, plan_features(shop, SPECS[name], partitions, DAY), stored)
    assert found is not None
    assert found.rows > 20
    assert found.passed, found.describe()


@pytest.mark.parametrize("name", SPECS)
def test_parts_give_the_same(shop: Lake, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = build(shop, SPECS[name])
    monkeypatch.setattr(hash_parts, "ROWS_A_PART", 300)
    in_parts = build(shop, SPECS[name])
    assert in_parts.schema == at_once.schema
    assert_same(index(name, in_parts), index(name, at_once))
