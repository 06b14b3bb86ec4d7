"""Features are what was known at the end of a feature date: right, and nothing of what came later."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adfml_assets.defs.DF_FeatureEngineering import customer_features
from adfml_assets.features.expressions import ExpressionNotFound, load_function, make_dates
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

Line = tuple[int | None, int, int, Decimal]  # customer, day number, quantity, price


def run(lines: list[Line], dates: list[date], function: Any, **parameters: Any) -> list[dict[str, Any]]:
    import ibis
    import pyarrow as pa

    table = pa.table(
        {
            "CustomerId": pa.array([c for c, *_ in lines], pa.int64()),
            "InvoiceNo": pa.array([f"I{c}-{d}" for c, d, *_ in lines], pa.string()),
            "Quantity": pa.array([q for _, _, q, _ in lines], pa.int64()),
            "UnitPrice": pa.array([p for *_, p in lines], pa.decimal128(12, 3)),
            "TransactionDate": pa.array([moment(d) for _, d, *_ in lines], pa.timestamp("us")),
        }
    )
    expression = function(transactions=ibis.memtable(table), feature_dates=make_dates(dates), **parameters)
    found = expression.to_pyarrow().to_pylist()
    return sorted(found, key=lambda row: (row["feature_date"], row["CustomerId"]))


def moment(day: int) -> datetime:
    return datetime(2026, 1, 1, 23, 59, 59) + timedelta(days=day)


lines = st.lists(
    st.tuples(
        st.one_of(st.none(), st.integers(1, 3)),
        st.integers(0, 120),
        st.integers(-5, 20).filter(bool),
        st.decimals(0, 100, places=3),
    ),
    max_size=25,
)
DATES = [date(2026, 1, 31), date(2026, 3, 2), date(2026, 4, 1)]


@settings(max_examples=40, deadline=None)
@given(lines, lines)
def test_nothing_that_happens_later_changes_a_feature(before: list[Line], later: list[Line]) -> None:
    cut = date(2026, 3, 2)
    earlier = [line for line in before if moment(line[1]).date() <= cut]
    after = [line for line in later if moment(line[1]).date() > cut]
    parameters = {"window_days": 30, "min_transactions": 1}
    found = run(earlier + after, [cut], customer_features.build, **parameters)
    expected = run(earlier, [cut], customer_features.build, **parameters)
    assert [row["CustomerId"] for row in found] == [row["CustomerId"] for row in expected]
    # Floats are added up in whatever order DuckDB's threads come to them.
    for row, wanted in zip(found, expected, strict=True):
        for name, value in wanted.items():
            assert row[name] == (pytest.approx(value, abs=1e-9) if isinstance(value, float) else value), name


@settings(max_examples=40, deadline=None)
@given(lines)
def test_features_agree_with_plain_python(given_lines: list[Line]) -> None:
    found = run(given_lines, DATES, customer_features.build, window_days=7, min_transactions=2)
    expected = [row for day in DATES for row in expect_features(given_lines, day)]
    assert [(r["CustomerId"], r["feature_date"]) for r in found] == [
        (r["CustomerId"], r["feature_date"]) for r in expected
    ]
    for row, wanted in zip(found, expected, strict=True):
        for name, value in wanted.items():
            assert row[name] == (pytest.approx(value, abs=1e-9) if isinstance(value, float) else value), name


def expect_features(given_lines: list[Line], day: date) -> list[dict[str, Any]]:
    """The same, written down a second time without any library."""
    known = [
        (c, moment(d).date(), q, p) for c, d, q, p in given_lines if c is not None and p > 0 and moment(d).date() <= day
    ]
    rows = []
    for customer in sorted({c for c, *_ in known}):
        own = [(d, q, p) for c, d, q, p in known if c == customer]
        bought = [d for d, q, _ in own if q > 0]
        if len(bought) < 2:
            continue
        days = sorted(set(bought))  # an invoice a day in these lines
        gross: dict[date, Decimal] = defaultdict(Decimal)
        for d, q, p in own:
            if q > 0:
                gross[d] += q * p

        def net(window: int, own: list[Any] = own) -> float:
            return float(sum((q * p for d, q, p in own if (day - d).days < window), Decimal()))

        rows.append(
            {
                "CustomerId": customer,
                "feature_date": day,
                "recency_days": (day - days[-1]).days,
                "days_since_first": (day - days[0]).days,
                "transaction_count": len(bought),
                "purchase_count": len(days),
                "rolling_sum": net(7),
                "net_spend_30d": net(30),
                "net_spend_365d": net(365),
                "purchases_30d": sum((day - d).days < 30 for d in days),
                "net_spend_per_30_days": net(100_000) * 30 / max(30, (day - days[0]).days + 1),
                "average_purchase": float(sum(gross.values())) / len(days),
                "largest_purchase": float(max(gross.values())),
                "weekend_share": sum(d.weekday() >= 5 for d in days) / len(days),
                "cancelled_lines_365d": sum(q < 0 for _, q, _ in own),
            }
        )
    return rows


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
