"""Nothing that came later is in a partition, from its day's tables or the lake; and the check sees it where it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adfml_assets.features import hash_parts, point_in_time
from adfml_assets.features.definition import FeatureSetSpec, TableRef
from adfml_assets.features.feature_set import plan_features
from adfml_assets.features.point_in_time import compare_with_past
from adfml_assets.features.sources import find_partitions
from adfml_assets.point_in_time_check import build_point_in_time_check
from resources.lake import Lake
from tests.features.conftest import DAY, EVENTS, SPEND, Order, Shop, orders_only, require_same
from tests.features.definitions import SPEND_SQL

END = datetime(2026, 3, 11)
LATER = "2026-03-14"

customers = st.one_of(st.none(), st.integers(1, 3))
amounts = st.decimals(0, 100, places=3)


def orders_within(first: datetime, last: datetime, most: int) -> st.SearchStrategy[list[Order]]:
    one = st.tuples(customers, st.sampled_from(["p1", "p2", "p9"]), amounts, st.datetimes(first, last))
    return st.lists(one, max_size=most)


known = orders_within(datetime(2026, 1, 20), END - timedelta(microseconds=1), 12)
later = orders_within(END, END + timedelta(days=40), 6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        path = tmp_path_factory.mktemp("lake")
        patch.setenv("ADFML_LAKE", str(path))
        yield path


@pytest.mark.parametrize("state", ["snapshot", "current"])
@pytest.mark.parametrize("name", ["function", "sql", "events"])
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=known, after=later, snapshots=later)
def test_no_later_row_changes_a_partition(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    state: Any,
    name: str,
    before: list[Order],
    after: list[Order],
    snapshots: list[Order],
) -> None:
    monkeypatch.setenv("ADFML_LAKE", str(folder))
    tables = {table: replace(one, state=state) for table, one in SPEND.tables.items()}
    spec = {
        "function": replace(SPEND, tables=tables),
        "sql": replace(SPEND, tables=tables, function=None, sql=SPEND_SQL),
        "events": replace(EVENTS, tables={"orders": tables["orders"]}),
    }[name]
    shop = Shop(Lake())
    shop.archive_orders(before, state=state)
    path, manifest = shop.build(spec)
    expected = shop.read_rows(spec, path)
    # Rows with later timestamps in the day's own table, and whatever later days archived.
    shop.archive_orders([*before, *after], state=state)
    for other in ("snapshot", "current"):
        shop.archive_orders([*snapshots, *after], LATER, state=other)
    assert shop.build(spec)[1].facts == manifest.facts
    require_same(shop.read_rows(spec, path), expected)


def compare(shop: Shop, spec: FeatureSetSpec) -> Any:
    stored = shop.build(spec)
    plan = plan_features(shop.lake, spec, find_partitions(shop.lake, spec.tables, DAY), DAY)
    return compare_with_past(shop.lake, plan, stored)


HONEST = {
    "earlier dates are stored": SPEND,
    "no earlier date is stored": replace(SPEND, count=0),
    "SQL": replace(SPEND, function=None, sql=SPEND_SQL),
    "events": EVENTS,
}


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_definition_passes(shop: Shop, orders: list[Order], name: str) -> None:
    shop.archive_orders(orders)
    found = compare(shop, HONEST[name])
    assert found.passed
    assert found.rows > 5
    assert "are the same when computed from tables that end at" in found.describe()


@pytest.mark.parametrize("name", ["function", "events"])
def test_of_many_rows_one_part_is_compared(
    shop: Shop, orders: list[Order], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(hash_parts, "ROWS_A_PART", 40)
    shop.archive_orders(orders)
    spec = replace(SPEND if name == "function" else EVENTS, partition_by="Customer")
    found = compare(shop, spec)
    assert found.passed
    assert 0 < found.rows < compare(shop, replace(spec, partition_by=None)).rows


@pytest.mark.parametrize(("name", "most"), [("earlier dates are stored", 4), ("events", 40)])
def test_of_very_many_rows_some_keys_are_compared(
    shop: Shop, orders: list[Order], monkeypatch: pytest.MonkeyPatch, name: str, most: int
) -> None:
    shop.archive_orders(orders)
    whole = compare(shop, HONEST[name])
    monkeypatch.setattr(point_in_time, "MOST_COMPARED", most)
    found = compare(shop, HONEST[name])
    assert found.passed
    assert 0 < found.rows < whole.rows


@pytest.mark.parametrize("count", [0, 3])
def test_a_definition_that_sees_the_future_is_caught_with_its_columns(
    shop: Shop, orders: list[Order], count: int
) -> None:
    shop.archive_orders(orders)
    found = compare(shop, orders_only("leaking", count=count))
    assert not found.passed
    assert list(found.columns) == ["later"]
    assert "looks into the future" in found.describe()
    assert f"later in {found.columns['later']} rows" in found.describe()


def compare_later(shop: Shop, spec: FeatureSetSpec, stored: Any) -> Any:
    plan = plan_features(shop.lake, spec, find_partitions(shop.lake, spec.tables, DAY), DAY)
    return compare_with_past(shop.lake, plan, stored)


@pytest.mark.parametrize("spec", [SPEND, EVENTS], ids=["dates", "events"])
def test_a_table_that_was_archived_anew_is_no_look_into_the_future(
    shop: Shop, orders: list[Order], spec: FeatureSetSpec
) -> None:
    shop.archive_orders(orders)
    stored = shop.build(spec)
    corrected = [(customer, product, amount + 1, moment) for customer, product, amount, moment in orders]
    shop.archive_orders(corrected, run_id="another")
    assert compare_later(shop, spec, stored).passed


def test_a_definition_that_was_changed_since_is_judged_as_it_is_now(shop: Shop, orders: list[Order]) -> None:
    shop.archive_orders(orders)
    stored = shop.build(SPEND)
    assert list(compare_later(shop, orders_only("leaking", count=3), stored).columns) == ["later"]


@pytest.mark.parametrize("rows_a_part", [500_000, 20])
def test_an_event_that_is_left_out_by_what_came_later_is_caught(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, rows_a_part: int
) -> None:
    monkeypatch.setattr(hash_parts, "ROWS_A_PART", rows_a_part)
    rare = [(number % 50, "p1", Decimal(1), datetime(2026, 1, 1) + timedelta(days=number // 2)) for number in range(99)]
    shop.archive_orders(rare)
    spec = orders_only("leaking_events", key="OrderId", rows="event", event_time="OrderedAt", count=0)
    found = compare(shop, replace(spec, partition_by="Customer"))
    assert not found.passed
    assert found.only_stored > 0
    assert found.columns == {}


def test_where_everything_happened_on_one_day_there_is_nothing_to_compare(shop: Shop) -> None:
    shop.archive_orders([(1, "p1", Decimal(1), datetime(2026, 3, 10, 12))])
    assert compare(shop, SPEND) is None
    shop.archive_orders([])
    assert compare(shop, SPEND) is None


def test_the_check_says_it_in_dagster(shop: Shop, orders: list[Order]) -> None:
    shop.archive_orders(orders)
    for spec, passed in ((SPEND, True), (orders_only("leaking"), False)):
        shop.build(spec)
        check = build_point_in_time_check(spec)
        job = dg.Definitions(
            asset_checks=[check], resources={"lake": shop.lake}
        ).resolve_implicit_global_asset_job_def()
        result = job.execute_in_process(raise_on_error=False)
        (evaluation,) = result.get_asset_check_evaluations()
        assert evaluation.passed is passed
        assert evaluation.blocking
        assert evaluation.metadata["partition"].value == DAY
        assert evaluation.metadata["differing_features"].value == ("none" if passed else "later")


def test_rows_without_a_moment_are_never_seen(shop: Shop, orders: list[Order]) -> None:
    shop.archive_orders(orders)
    expected = shop.build_rows(SPEND)
    timeless: Any = (1, "p1", Decimal(5), None)
    shop.archive_orders([*orders, timeless])
    require_same(shop.build_rows(SPEND), expected)


def test_a_timestamp_with_a_zone_is_cut_by_utc(shop: Shop) -> None:
    import pyarrow as pa

    moments = [datetime(2026, 3, 10, 23, 59), datetime(2026, 3, 11, 0, 0)]
    zoned = pa.array(moments, pa.timestamp("us")).cast(pa.timestamp("us", "UTC"))
    for column in (zoned, zoned.cast(pa.timestamp("us", "Asia/Tokyo")), pa.array(moments, pa.date32())):
        shop.archive("Orders", pa.table({"Customer": [1, 1], "OrderedAt": column}))
        sql = "SELECT Customer, feature_date, COUNT(*) AS n FROM orders, feature_dates GROUP BY ALL"
        spec = FeatureSetSpec(
            name="n", key="Customer", tables={"orders": TableRef("shop.main.Orders", "OrderedAt")}, sql=sql
        )
        assert [row["n"] for row in shop.build_rows(spec)] == [1]
        assert shop.build(spec)[1].facts["last_event"].startswith("2026-03-10T")
