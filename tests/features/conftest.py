"""A lake with a small shop's orders and products, written as the archive writes them, and the feature sets over it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from adfml_assets import lake_layout
from adfml_assets.features.definition import FeatureSetSpec, TableRef
from adfml_assets.features.feature_set import build_features
from adfml_assets.features.sources import find_partitions
from resources.lake import Lake
from resources.manifest import Manifest, build_manifest, commit_manifest, list_data_paths, read_manifest
from tests.conftest import NOW
from tests.features.definitions import HERE

ORDERS = pa.schema(
    [
        ("OrderId", pa.int64()),
        ("Customer", pa.int64()),
        ("Product", pa.string()),
        ("Amount", pa.decimal128(12, 3)),
        ("OrderedAt", pa.timestamp("us")),
    ]
)
PRODUCTS = pa.schema([("Product", pa.string()), ("Category", pa.string())])
CATALOG = [("p1", "books"), ("p2", "games"), ("p3", None), ("p4", "Büch|er")]
DAY = "2026-03-10"

Order = tuple[int | None, str, Decimal, datetime]
"""Customer, product, amount, moment."""

TABLES = {
    "orders": TableRef("shop.main.Orders", timestamp="OrderedAt"),
    "products": TableRef("shop.main.Products"),
}
SPEND = FeatureSetSpec(
    name="spend",
    key="Customer",
    tables=TABLES,
    function=f"{HERE}.spend",
    parameters={"days": 30, "category": "books"},
    step_days=10,
    count=3,
)
EVENTS = FeatureSetSpec(
    name="events",
    key="OrderId",
    tables={"orders": TABLES["orders"]},
    function=f"{HERE}.events",
    rows="event",
    event_time="OrderedAt",
    parameters={"days": 30},
)


def orders_only(name: str, **changes: Any) -> FeatureSetSpec:
    """A set over orders alone, by a function of the definitions."""
    given: dict[str, Any] = {
        "key": "Customer",
        "tables": {"orders": TABLES["orders"]},
        "function": f"{HERE}.{name}",
        "count": 2,
        "step_days": 10,
    }
    return FeatureSetSpec(name=name, **{**given, **changes})


@dataclass
class Shop:
    """What tests do over and over: archive partitions and build features of them."""

    lake: Lake

    def archive(
        self, table: str, rows: pa.Table, day: str = DAY, *, state: str = "snapshot", run_id: str = "r"
    ) -> Manifest:
        """A partition as the archive leaves it."""
        build = lake_layout.current_folder if state == "current" else lake_layout.archive_folder
        folder = build("shop", "main", table, day)
        written = self.lake.write_table(f"{folder}/{table}_20260310093000.parquet", rows)
        manifest = build_manifest(
            asset="archive", partition=day, files=[written], schema=rows.schema, written_at=NOW, run_id=run_id
        )
        commit_manifest(self.lake, folder, manifest)
        return manifest

    def archive_orders(
        self, orders: Sequence[Order], day: str = DAY, *, state: str = "snapshot", run_id: str = "r"
    ) -> None:
        """Orders, numbered from 1, and the catalog."""
        columns = list(zip(*orders, strict=True)) or [[]] * 4
        arrays = [
            pa.array(list(values), column.type)
            for values, column in zip([range(1, len(orders) + 1), *columns], ORDERS, strict=True)
        ]
        self.archive("Orders", pa.Table.from_arrays(arrays, schema=ORDERS), day, state=state, run_id=run_id)
        names, categories = zip(*CATALOG, strict=True)
        self.archive("Products", pa.table([list(names), list(categories)], schema=PRODUCTS), day, state=state)

    def build(self, spec: FeatureSetSpec, day: str = DAY) -> tuple[str, Manifest]:
        """A partition of a feature set."""
        partitions = find_partitions(self.lake, spec.tables, day)
        return build_features(self.lake, spec, partitions, day, asset="features", now=NOW, run_id="r")

    def build_rows(self, spec: FeatureSetSpec, day: str = DAY) -> list[dict[str, Any]]:
        """The rows of such a partition, in the order of their keys."""
        folder, _ = self.build(spec, day)
        return self.read_rows(spec, folder)

    def read_rows(self, spec: FeatureSetSpec, folder: str) -> list[dict[str, Any]]:
        """The rows of a partition that was built, in the order of their keys."""
        manifest = read_manifest(self.lake, folder)
        assert manifest is not None
        rows = [row for path in list_data_paths(folder, manifest) for row in self.lake.read_table(path).to_pylist()]
        return sorted(rows, key=lambda row: [row[name] for name in spec.identity])


@pytest.fixture
def shop(lake: Lake) -> Shop:
    return Shop(lake)


@pytest.fixture
def orders() -> list[Order]:
    """Two hundred orders of nine customers (some without one) over half a year, up to the archive's day."""
    found: list[Order] = []
    for number in range(200):
        customer = None if number % 17 == 0 else number % 9
        amount = Decimal(number * 7919 % 100_000) / 1000 + Decimal("0.001")
        moment = datetime(2026, 3, 10 - 9 * (number % 2), 23, 59, 59, 999_999) if number < 4 else _moment(number)
        product = "p2" if customer == 8 else CATALOG[number % 4][0] if number % 5 else "p9"
        found.append((customer, product, amount, moment))
    return found


def _moment(number: int) -> datetime:
    return datetime(2025, 9, 8) + timedelta(seconds=number * 79_000)


@pytest.fixture(scope="package")
def spark() -> Iterator[Any]:
    """Spark in this process, one for all tests."""
    if shutil.which("java") is None:
        pytest.fail("Spark needs Java 17, and there is no java here: `make java` installs it.", pytrace=False)
    from adfml_assets.features.spark_engine import open_session

    with pytest.MonkeyPatch.context() as patch:
        # Short queries never get back what the second compiler costs.
        patch.setenv("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")
        session = open_session()
    session.conf.set("spark.sql.shuffle.partitions", "2")
    yield session
    session.stop()


def require_same(found: Sequence[dict[str, Any]], expected: Sequence[dict[str, Any]]) -> None:
    """The same rows, columns and values; floats to 1e-9."""
    assert len(found) == len(expected)
    for row, wanted in zip(found, expected, strict=True):
        assert list(row) == list(wanted)
        for name, value in wanted.items():
            near = pytest.approx(value, rel=1e-9, abs=1e-9) if isinstance(value, float) else value
            assert row[name] == near, (name, row, wanted)
