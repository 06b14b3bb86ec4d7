"""From a source database to training data, by the project's own definitions: archive, features, labels."""

from __future__ import annotations

import sqlite3
from datetime import date, timedelta

import pytest

from adfml_assets.archive.plan import ArchivePlan
from adfml_assets.archive.run import closing_run
from adfml_assets.archive.snapshot import take_snapshot
from adfml_assets.archive.tables import SourceTable, TableRules
from adfml_assets.features.definition import FeatureSetSpec, TableRef
from adfml_assets.features.feature_set import build_features
from adfml_assets.features.sources import find_partitions
from adfml_assets.training.spec import FeaturesSource, LabelSpec
from resources.control import ControlDatabase
from resources.database import Databases
from resources.lake import Lake
from tests.conftest import NOW, TODAY, add_line, stamp
from tests.training.conftest import World

HERE = "adfml_assets.defs"
TRANSACTIONS = TableRef("shop.main.Transactions", "TransactionDate")
CUSTOMERS = FeatureSetSpec(
    name="customers",
    function=f"{HERE}.DF_FeatureEngineering.customer_features.build",
    key="CustomerId",
    tables={"transactions": TRANSACTIONS, "products": TableRef("shop.main.Products")},
    parameters={"window_days": 30, "min_transactions": 1},
    step_days=10,
    count=12,
)
EVENTS = FeatureSetSpec(
    name="events",
    sql="SELECT TransactionId, TransactionDate, Quantity * UnitPrice AS amount FROM transactions WHERE UnitPrice > 0",
    key="TransactionId",
    tables={"transactions": TRANSACTIONS},
    rows="event",
    event_time="TransactionDate",
)
LABEL = LabelSpec(
    "spend",
    f"{HERE}.PL_ML_Training_Databricks.spend.build",
    30,
    "net_spend_per_30_days",
    {"transactions": TableRef("shop.main.Transactions")},
)


@pytest.fixture
def archived(world: World, control: ControlDatabase, shop: sqlite3.Connection) -> World:
    """160 days of sales: a line a day, tea and, in the last days, cake."""
    shop.execute("ALTER TABLE Transactions ADD COLUMN StockCode VARCHAR(20)")
    shop.execute("CREATE TABLE Products (StockCode VARCHAR(20) PRIMARY KEY, Category VARCHAR(20))")
    shop.execute("INSERT INTO Products VALUES ('T', 'Tea'), ('C', 'Cake')")
    for number in range(160):
        when = date(2025, 10, 1) + timedelta(days=number)
        add_line(shop, number % 7, stamp(when.isoformat()), price=float(number + 1))
    shop.execute("UPDATE Transactions SET StockCode = CASE WHEN TransactionId > 100 THEN 'C' ELSE 'T' END")
    shop.commit()
    plan = ArchivePlan("shop", "full", {})
    with closing_run(plan.open_run(world.databases, world.lake, control, now=NOW, run_id="r")) as run:
        for table in ("Transactions", "Products"):
            source = SourceTable("shop", "main", table)
            take_snapshot(run, source, TableRules(), TODAY, asset=f"archive/shop/main/{table}")
    return world


def build(lake: Lake, spec: FeatureSetSpec) -> None:
    build_features(lake, spec, find_partitions(lake, spec.tables, TODAY), TODAY, asset="f", now=NOW, run_id="r")


def test_customers_are_trained_on_with_the_categories_of_the_train_split(archived: World, databases: Databases) -> None:
    build(archived.lake, CUSTOMERS)
    archived.source, archived.label = FeaturesSource("customers"), LABEL
    built = archived.build()
    card = built.card
    assert card["pinned"] == {"categories": ["Tea"]}
    assert card["unknown_categories"]["test"] == {"categories": ["Cake"]}
    assert [name for name in card["features"] if name.startswith("categories")] == [
        "categories_tea",
        "categories_other",
    ]
    assert card["snapshot_date"] == TODAY
    assert len(card["definition_sha256"]) == 64
    (test,) = card["periods"]["test"]
    spent: dict[int, float] = {}
    for number in range(160):
        if 0 < (date(2025, 10, 1) + timedelta(days=number) - date.fromisoformat(test)).days <= 30:
            spent[number % 7] = spent.get(number % 7, 0.0) + number + 1
    rows = built.read("test").select(["CustomerId", "spend"]).to_pylist()
    assert {row["CustomerId"]: row["spend"] for row in rows} == pytest.approx(spent)


def test_events_are_trained_on_too(archived: World) -> None:
    build(archived.lake, EVENTS)
    archived.source = FeaturesSource("events", test_dates=5, validation_dates=5)
    function = "tests.training.test_with_feature_sets.next_amount"
    archived.label = LabelSpec("next", function, 7, "amount", LABEL.tables)
    built = archived.build()
    assert built.read("test").column_names == ["TransactionId", "feature_date", "amount", "next"]
    assert built.read("test")["next"].to_pylist() == [
        id_ + 7.0 for id_ in built.read("test")["TransactionId"].to_pylist()
    ]
    assert built.card["rows"]["test"] == 5


def next_amount(transactions: object, feature_dates: object, *, days: int) -> object:
    """What the customer of a line spends on the same weekday of the next week."""
    from ibis import _

    lines = transactions.mutate(feature_date=_.TransactionDate.date())  # type: ignore[attr-defined]
    later = lines.view()
    paired = lines.join(
        later,
        [lines.CustomerId == later.CustomerId, later.feature_date.delta(lines.feature_date, unit="day") == days],
    )
    return paired.select("TransactionId", "feature_date", label=later.UnitPrice)
