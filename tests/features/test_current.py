"""Features over a table's current state: the latest version of each key as of the day, without what was deleted."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

import pyarrow as pa

from adfml_assets import lake_layout
from adfml_assets.archive.current import build_current
from adfml_assets.archive.tables import SourceTable, TableRules
from resources.control import ControlDatabase
from resources.manifest import build_manifest, commit_manifest
from resources.servers.base import Watermark
from tests.conftest import NOW
from tests.features.conftest import ORDERS, Shop, orders_only

SOURCE = SourceTable("shop", "main", "Orders")
RULES = TableRules(Watermark("ChangedAt"))
SPENT = replace(
    orders_only(
        "spent",
        function=None,
        count=0,
        sql="""
        SELECT Customer, feature_date, count(*) AS orders, CAST(sum(Amount) AS DOUBLE) AS spent
        FROM orders, feature_dates GROUP BY ALL
    """,
    ),
)
SPENT = replace(SPENT, tables={"orders": replace(SPENT.tables["orders"], state="current")})

Version = tuple[int, int, int, int, int]
"""Order, customer, amount, and the days it was ordered and changed on, from the tests' day."""


def put(shop: Shop, kind: str, day: int, versions: list[Version]) -> None:
    """A partition of the archive: a full snapshot, or an extract."""
    build = lake_layout.archive_folder if kind == "snapshot" else lake_layout.incremental_folder
    written_at = NOW + timedelta(days=day)
    folder = build("shop", "main", "Orders", f"{written_at:%Y-%m-%d}")
    midnight = datetime(2026, 3, 10)
    columns = [
        [order for order, *_ in versions],
        [customer for _, customer, *_ in versions],
        ["p1"] * len(versions),
        [Decimal(amount) for _, _, amount, *_ in versions],
        [midnight + timedelta(days=ordered, hours=12) for *_, ordered, _ in versions],
        [midnight + timedelta(days=changed, hours=12) for *_, changed in versions],
    ]
    schema = ORDERS.append(pa.field("ChangedAt", pa.timestamp("us")))
    arrays = [pa.array(values, column.type) for values, column in zip(columns, schema, strict=True)]
    written = shop.lake.write_table(f"{folder}/Orders_1.parquet", pa.Table.from_arrays(arrays, schema=schema))
    manifest = build_manifest(
        asset=kind,
        partition=f"{written_at:%Y-%m-%d}",
        files=[written],
        schema=schema,
        written_at=written_at,
        run_id="r",
        facts={"primary_key": ["OrderId"]},
    )
    commit_manifest(shop.lake, folder, manifest)


def find_spent(shop: Shop, control: ControlDatabase, day: int) -> dict[int, tuple[int, float]]:
    """Customer -> orders and spend, as of a day, from the table's state put together for it."""
    now = NOW + timedelta(days=day, hours=5)
    partition = f"{now:%Y-%m-%d}"
    claim = control.claims.take("current", partition, now, f"run {day}")
    folder, manifest = build_current(shop.lake, SOURCE, RULES, partition, claim, now=now, run_id="r")
    commit_manifest(shop.lake, folder, manifest, before=claim.stamp)
    return {row["Customer"]: (row["orders"], row["spent"]) for row in shop.build_rows(SPENT, partition)}


def test_the_latest_version_of_each_key_counts_and_deleted_ones_do_not(shop: Shop, control: ControlDatabase) -> None:
    put(shop, "incremental", 0, [(1, 1, 10, -3, -3), (2, 1, 20, -2, -2), (3, 2, 5, -1, -1)])
    assert find_spent(shop, control, 0) == {1: (2, 30.0), 2: (1, 5.0)}
    # Order 1 is changed, order 3 goes to another customer, order 4 is new.
    put(shop, "incremental", 1, [(1, 1, 11, -3, 1), (3, 1, 5, -1, 1), (4, 2, 7, 1, 1)])
    assert find_spent(shop, control, 1) == {1: (3, 36.0), 2: (1, 7.0)}
    # Order 2 was deleted at the source, which a full snapshot shows.
    put(shop, "snapshot", 2, [(1, 1, 11, -3, 1), (3, 1, 5, -1, 1), (4, 2, 7, 1, 1)])
    assert find_spent(shop, control, 2) == {1: (2, 16.0), 2: (1, 7.0)}


def test_an_earlier_day_that_is_built_later_is_as_it_was(shop: Shop, control: ControlDatabase) -> None:
    put(shop, "incremental", 0, [(1, 1, 10, -3, -3), (3, 2, 5, -1, -1)])
    expected = find_spent(shop, control, 0)
    put(shop, "incremental", 1, [(1, 1, 99, -3, 1), (4, 3, 7, -2, 1)])
    put(shop, "snapshot", 2, [(4, 3, 7, -2, 1)])
    assert find_spent(shop, control, 0) == expected == {1: (1, 10.0), 2: (1, 5.0)}


def test_an_order_of_the_day_after_is_not_seen_though_it_is_there(shop: Shop, control: ControlDatabase) -> None:
    put(shop, "incremental", 0, [(1, 1, 10, 0, 0), (2, 1, 20, 1, 0)])
    assert find_spent(shop, control, 0) == {1: (1, 10.0)}
