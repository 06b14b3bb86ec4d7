"""Features are what was known at the end of a feature date: right, and nothing of what came later."""

from __future__ import annotations

import sqlite3
from datetime import date, datetime, timedelta
from typing import Any

import pytest

from adfml_assets.features.expressions import ExpressionNotFound, load_function
from adfml_assets.features.feature_set import (
    DuplicateFeatures,
    FeatureSetSpec,
    build_features,
    choose_feature_dates,
)
from resources.control import ControlDatabase
from resources.database import Databases
from resources.errors import NotFound
from resources.lake import Lake
from resources.manifest import Manifest
from tests.conftest import NOW, TODAY, add_line, archive_transactions, stamp

HERE = "adfml_assets.defs"
SPEC = FeatureSetSpec(
    name="customer_features",
    function=f"{HERE}.DF_FeatureEngineering.customer_features.build",
    key="CustomerId",
    timestamp_table="transactions",
    timestamp="TransactionDate",
    parameters={"window_days": 30, "min_transactions": 1},
    as_of="snapshot_date",
    step_days=10,
    count=12,
)


def test_feature_dates_begin_where_the_data_begins_and_end_with_it() -> None:
    first, last = datetime(2026, 1, 5, 8), datetime(2026, 1, 31, 20)
    day = date(2026, 3, 10)
    closed = FeatureSetSpec(**{**SPEC.__dict__, "as_of": "last_transaction"})
    assert choose_feature_dates(closed, day, first, last) == [date(2026, 1, 11), date(2026, 1, 21), date(2026, 1, 31)]
    assert choose_feature_dates(SPEC, day, first, last)[-1] == day
    assert choose_feature_dates(SPEC, day, None, None) == []


@pytest.fixture
def archived(
    lake: Lake, databases: Databases, control: ControlDatabase, shop: sqlite3.Connection
) -> dict[str, tuple[str, Manifest]]:
    for number in range(160):
        when = date(2025, 10, 1) + timedelta(days=number)
        add_line(shop, number % 7, stamp(when.isoformat()), price=float(number))
    found = archive_transactions(lake, databases, control)
    return {"transactions": (found.folder, found.manifest)}


def build(lake: Lake, archived: dict[str, tuple[str, Manifest]], **changes: Any) -> tuple[str, Manifest]:
    spec = FeatureSetSpec(**{**SPEC.__dict__, **changes})
    return build_features(lake, spec, archived, TODAY, asset="f", now=NOW, run_id="r")


def test_missing_columns_and_functions_are_named(lake: Lake, archived: dict[str, tuple[str, Manifest]]) -> None:
    with pytest.raises(
        NotFound, match=r"no column 'Customer' in archived table transactions.*Did you mean 'CustomerId'"
    ):
        build(lake, archived, key="Customer")
    with pytest.raises(NotFound, match="no column 'Date' in archived table transactions"):
        build(lake, archived, timestamp="Date")
    with pytest.raises(ExpressionNotFound, match=r"function: 'nowhere.at.all' cannot be used"):
        load_function("nowhere.at.all")


def test_two_rows_for_one_key_are_refused(lake: Lake, archived: dict[str, tuple[str, Manifest]]) -> None:
    with pytest.raises(DuplicateFeatures, match=r"rows repeat a \(CustomerId, feature_date\)"):
        build(lake, archived, function="tests.test_features.every_line", parameters={})
    assert lake.list_files("feature-store/customer_features") == []


def every_line(transactions: Any, feature_dates: Any) -> Any:
    return transactions.cross_join(feature_dates).select("CustomerId", "feature_date")
