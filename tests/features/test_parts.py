"""Work in parts by a hash gives what all at once gives, a file a part, whatever the number of parts."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adfml_assets.features import hash_parts
from adfml_assets.features.definition import FeatureSetSpec, TableRef
from adfml_assets.features.errors import DuplicateFeatures, WrongType
from tests.features.conftest import EVENTS, ORDERS, SPEND, Order, Shop, orders_only, require_same

IN_PARTS = {
    "customers": replace(SPEND, partition_by="Customer"),
    "events": replace(EVENTS, partition_by="Customer"),
}


@pytest.mark.parametrize("name", IN_PARTS)
@pytest.mark.parametrize("rows_a_part", [60, 7])
def test_parts_change_nothing(
    shop: Shop, orders: list[Order], monkeypatch: pytest.MonkeyPatch, name: str, rows_a_part: int
) -> None:
    shop.archive_orders(orders)
    expected = shop.build_rows(IN_PARTS[name])
    monkeypatch.setattr(hash_parts, "ROWS_A_PART", rows_a_part)
    folder, manifest = shop.build(IN_PARTS[name])
    require_same(shop.read_rows(IN_PARTS[name], folder), expected)
    parts = math.ceil(len(orders) / rows_a_part)
    assert [file.name for file in manifest.files] == [
        f"features_20260310093000_{index}.parquet" for index in range(parts)
    ]
    assert manifest.rows == len(expected)
    for file in manifest.files:
        shop.lake.verify_file(f"{folder}/{file.name}", file)
    assert len(shop.lake.list_files(folder)) == parts + 1


def test_rows_without_a_value_in_the_column_are_in_a_part_too(
    shop: Shop, orders: list[Order], monkeypatch: pytest.MonkeyPatch
) -> None:
    sql = "SELECT OrderId, OrderedAt, coalesce(Customer, -1) AS customer FROM orders"
    spec = replace(EVENTS, function=None, sql=sql, parameters={}, partition_by="Customer")
    monkeypatch.setattr(hash_parts, "ROWS_A_PART", 10)
    shop.archive_orders(orders)
    assert [row["customer"] for row in shop.build_rows(spec)] == [-1 if c is None else c for c, *_ in orders]


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    left=st.lists(st.one_of(st.none(), st.integers(-3, 3)), min_size=9, max_size=12),
    right=st.lists(st.integers(-3, 3), max_size=5),
)
def test_tables_meet_in_the_same_part_whatever_their_integers(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, left: list[int | None], right: list[int]
) -> None:
    moments = pa.array([datetime(2026, 3, 1)] * len(left), pa.timestamp("us"))
    shop.archive("A", pa.table({"Id": range(len(left)), "K": pa.array(left, pa.int64()), "OrderedAt": moments}))
    shop.archive("B", pa.table({"K": pa.array(right, pa.int16()), "V": pa.array(right, pa.int64())}))
    spec = FeatureSetSpec(
        name="met",
        key="Id",
        tables={"a": TableRef("shop.main.A", "OrderedAt"), "b": TableRef("shop.main.B")},
        sql="SELECT Id, OrderedAt, (SELECT sum(V) FROM b WHERE b.K = a.K) AS v FROM a",
        rows="event",
        event_time="OrderedAt",
        partition_by="K",
    )
    monkeypatch.setattr(hash_parts, "ROWS_A_PART", 3)
    assert [row["v"] for row in shop.build_rows(spec)] == [
        right.count(one) * one if one in right else None for one in left
    ]


def test_a_column_by_which_tables_cannot_be_split_is_refused(shop: Shop, orders: list[Order]) -> None:
    shop.archive_orders(orders)
    products = pa.table({"Product": pa.array([1, 2], pa.int64()), "Category": ["a", "b"]})
    shop.archive("Products", products)
    with pytest.raises(
        WrongType, match=r"Product is string in orders, int64 in products and cannot be partition_by: expected one type"
    ):
        shop.build(replace(SPEND, partition_by="Product"))


def test_duplicates_are_found_across_parts(shop: Shop, orders: list[Order], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hash_parts, "ROWS_A_PART", 10)
    shop.archive_orders(orders)
    # By order, so that a customer's rows are in many parts: the sums are wrong, and that is seen.
    with pytest.raises(DuplicateFeatures, match=r"rows repeat a \(Customer, feature_date\).*partition_by"):
        shop.build(replace(SPEND, partition_by="OrderId"))
    with pytest.raises(DuplicateFeatures, match=r"rows repeat a \(Customer, feature_date\)"):
        shop.build(orders_only("every_line", partition_by="Customer"))
    far = "SELECT OrderId % 7 * 1000000000000 AS OrderId, OrderedAt FROM orders"
    near = "SELECT OrderId % 7 AS OrderId, OrderedAt FROM orders"
    texts = "SELECT CAST(OrderId % 7 AS VARCHAR) AS OrderId, OrderedAt FROM orders"
    for sql in (far, near, texts):
        with pytest.raises(DuplicateFeatures, match="193 rows repeat a OrderId that another row has"):
            shop.build(replace(EVENTS, function=None, sql=sql, parameters={}, partition_by="Customer"))
    assert shop.lake.list_files("feature-store/events") == []


def test_only_columns_that_are_read_are_copied(shop: Shop, orders: list[Order]) -> None:
    import duckdb

    from adfml_assets.features.sources import open_sources

    shop.archive_orders(orders)
    found = open_sources(shop.lake, EVENTS, {"orders": _find(shop)})
    with duckdb.connect() as connection:
        path = shop.lake.uri(found["orders"].paths[0])
        connection.execute(f"CREATE VIEW orders AS FROM read_parquet('{path}') WHERE OrderedAt < DATE '2026-01-01'")
        for sql, expected in (
            ("SELECT Customer FROM orders WHERE Amount > 1", {"Customer", "Amount", "OrderedAt"}),
            ("SELECT count(*) FROM (SELECT DISTINCT * FROM orders)", set(ORDERS.names)),
            ("SELECT count(*) FROM orders a JOIN orders b USING (OrderId)", {"OrderId", "OrderedAt"}),
        ):
            assert hash_parts.find_needed_columns(connection, sql, found)["orders"] >= expected
        narrow = hash_parts.find_needed_columns(connection, "SELECT sum(Customer) FROM orders", found)
        assert narrow == {"orders": {"Customer", "OrderedAt"}}


def _find(shop: Shop) -> Any:
    from adfml_assets.features.sources import find_partitions

    return find_partitions(shop.lake, {"orders": EVENTS.tables["orders"]}, "2026-03-10")["orders"]


def test_many_rows_are_row_groups_of_one_file(shop: Shop) -> None:
    import numpy as np
    import pyarrow.parquet as pq

    count = 600_000
    numbers = np.arange(count)
    moments = pa.array(1_735_689_600_000_000 + numbers * 1_000_000, pa.timestamp("us"))
    amounts = pa.repeat(pa.scalar(Decimal(1), pa.decimal128(12, 3)), count)
    columns = [pa.array(numbers), pa.array(numbers % 5000), pa.repeat("p1", count), amounts, moments]
    shop.archive("Orders", pa.Table.from_arrays(columns, schema=ORDERS))
    folder, manifest = shop.build(IN_PARTS["events"])
    assert manifest.rows == count
    with shop.lake.open_file(f"{folder}/features.parquet") as file:
        groups = pq.ParquetFile(file).metadata
    assert groups.num_rows == count
    assert groups.num_row_groups > 1


def test_a_run_that_is_killed_leaves_what_was_there_and_the_next_one_takes_its_rests_away(
    shop: Shop, orders: list[Order]
) -> None:
    shop.archive_orders(orders)
    spec = IN_PARTS["customers"]
    folder, manifest = shop.build(spec)
    code = (
        "import os, signal\nfrom dataclasses import replace\n"
        "from adfml_assets.features import feature_set, hash_parts\n"
        "from resources.lake import Lake\nfrom tests.features.conftest import SPEND, Shop\n"
        "hash_parts.ROWS_A_PART = 60\n"
        "feature_set.examine_result = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "Shop(Lake()).build(replace(SPEND, partition_by='Customer'))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -signal.SIGKILL
    for file in manifest.files:
        shop.lake.verify_file(f"{folder}/{file.name}", file)
    local = Path(shop.lake.uri(folder))
    assert len(list(local.iterdir())) == 2 + 4
    assert len(shop.lake.list_files(folder)) == 2
    shop.build(spec)
    assert len(list(local.iterdir())) == 2
