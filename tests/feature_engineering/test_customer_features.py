"""A customer's features are what was known at the end of a feature date: right, and nothing of what came later."""

from __future__ import annotations

import dataclasses
from datetime import date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adfml_assets.defs.DF_FeatureEngineering import customer_features
from tests.feature_engineering.engine import Expression, Row, assert_same, index_rows
from tests.feature_engineering.plain_python import Line, describe_customers

DATES = [date(2026, 1, 31), date(2026, 3, 2), date(2026, 4, 1)]
CATEGORIES = {"A": "Home", "B": "Garden", "C": "Home", "D": None}


@pytest.fixture(scope="module")
def features() -> Expression:
    return Expression(customer_features.build, "products", "feature_dates", window_days=9, min_transactions=2)


def index(rows: list[Row]) -> dict[tuple[date, int], Row]:
    return index_rows(rows, "feature_date", "CustomerId")


lines = st.lists(
    st.builds(
        Line,
        number=st.just(0),
        invoice=st.sampled_from(["I1", "I2", "I3"]),
        customer=st.one_of(st.none(), st.integers(1, 3)),
        code=st.sampled_from(["A", "B", "C", "D", "gone"]),
        quantity=st.integers(-5, 20).filter(bool),
        price=st.decimals(0, 100, places=3),
        moment=st.builds(
            lambda day, time: datetime(2026, 1, 1) + timedelta(days=day) + time,
            st.integers(0, 120),
            st.sampled_from([timedelta(0), timedelta(hours=9), timedelta(days=1, microseconds=-1)]),
        ),
    ),
    max_size=40,
).map(lambda found: [dataclasses.replace(line, number=number) for number, line in enumerate(found)])


@settings(max_examples=30, deadline=None)
@given(lines)
def test_features_agree_with_plain_python(features: Expression, given_lines: list[Line]) -> None:
    expected = {
        (day, customer): row
        for day in DATES
        for customer, row in describe_customers(given_lines, CATEGORIES, day, window_days=9, min_transactions=2).items()
    }
    assert_same(index(features.run(given_lines, CATEGORIES, DATES)), expected)


@settings(max_examples=30, deadline=None)
@given(lines, st.sampled_from(DATES))
def test_nothing_that_happens_later_changes_a_feature(features: Expression, given_lines: list[Line], cut: date) -> None:
    found = index(features.run(given_lines, CATEGORIES, DATES))
    earlier = index(features.run((n for n in given_lines if n.moment.date() <= cut), CATEGORIES, DATES))
    assert_same(
        {key: row for key, row in found.items() if key[0] <= cut},
        {key: row for key, row in earlier.items() if key[0] <= cut},
    )


@settings(max_examples=30, deadline=None)
@given(lines)
def test_categories_add_up_to_the_purchased_lines(features: Expression, given_lines: list[Line]) -> None:
    for row in features.run(given_lines, CATEGORIES, DATES):
        names = [entry["name"] for entry in row["categories"]]
        assert names == sorted(set(names))
        assert sum(entry["count"] for entry in row["categories"]) == row["transaction_count"]
        assert all(entry["count"] > 0 for entry in row["categories"])


def make_line(day: date, code: str, quantity: int = 1, customer: int | None = 1) -> Line:
    return Line(0, f"I{day}", customer, code, quantity, Decimal("2.5"), datetime.combine(day, datetime.min.time()))


def test_categories_are_as_of_the_feature_date(features: Expression) -> None:
    first, second, third = DATES
    given_lines = [
        make_line(first, "A"),
        make_line(first, "B"),
        make_line(second, "C"),
        make_line(second, "C", quantity=-1),
        make_line(second + timedelta(days=1), "gone"),
        make_line(third, "D"),
        make_line(third + timedelta(days=1), "B"),
    ]
    found = index(features.run(given_lines, CATEGORIES, DATES))
    assert found[first, 1]["categories"] == [{"name": "Garden", "count": 1}, {"name": "Home", "count": 1}]
    assert found[second, 1]["categories"] == [{"name": "Garden", "count": 1}, {"name": "Home", "count": 2}]
    assert found[third, 1]["categories"] == [
        {"name": "Garden", "count": 1},
        {"name": "Home", "count": 2},
        {"name": "unknown", "count": 2},
    ]


def test_a_product_that_is_listed_twice_counts_a_line_once(features: Expression) -> None:
    import pyarrow as pa

    own = [make_line(DATES[0], "A"), make_line(DATES[0], "A")]
    features.run(own, CATEGORIES, DATES[:1])
    features.backend.con.register("twice", pa.table({"StockCode": ["A"], "Category": ["Attic"]}))
    features.backend.con.execute("INSERT INTO products SELECT * FROM twice")
    row = features.backend.con.execute(features.sql).to_arrow_table().to_pylist()[0]
    assert row["transaction_count"] == 2
    assert row["categories"] == [{"name": "Home", "count": 2}]


def test_the_weekend_is_saturday_and_sunday(features: Expression) -> None:
    shares = {}
    for number in range(7):
        day = date(2026, 1, 5) + timedelta(days=number)
        (row,) = features.run([make_line(day, "A"), make_line(day, "B")], CATEGORIES, DATES[:1])
        shares[day.strftime("%A")] = row["weekend_share"]
    assert [name for name, share in shares.items() if share == 1.0] == ["Saturday", "Sunday"]
    assert [share for share in shares.values() if share] == [1.0, 1.0]


def test_an_order_cancelled_minutes_later_is_no_spend_but_was_a_purchase(features: Expression) -> None:
    day = DATES[0]
    given_lines = [make_line(day, "A", 80_995), make_line(day, "B", 1), make_line(day, "A", -80_995)]
    (row,) = features.run(given_lines, CATEGORIES, [day])
    assert row["net_total"] == row["net_spend_30d"] == row["rolling_sum_7d"] == 2.5
    assert row["gross_total"] == row["last_amount"] == row["rolling_average"] == 80_996 * 2.5
    assert (row["purchase_count"], row["cancelled_lines_365d"]) == (1, 1)
