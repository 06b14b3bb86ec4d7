"""A transaction's features see the customer's transactions of a range of time up to its own moment, no later ones."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adfml_assets.defs.DF_FeatureEngineering import transaction_features
from tests.feature_engineering.engine import Expression, Row, assert_same, index_rows
from tests.feature_engineering.plain_python import Line, describe_transactions

START = datetime(2026, 1, 1, 12)
MICROSECOND = timedelta(microseconds=1)


@pytest.fixture(scope="module")
def every() -> Expression:
    """All transactions, by windows of 30 and 7 days."""
    return Expression(transaction_features.build, window_days=30, sum_days=7, min_transactions=1)


@pytest.fixture(scope="module")
def third() -> Expression:
    """From the third transaction on, by short windows."""
    return Expression(transaction_features.build, window_days=3, sum_days=2, min_transactions=3)


def make_line(number: int, moment: datetime, price: str = "10", quantity: int = 1, customer: int | None = 1) -> Line:
    return Line(number, f"I{number}", customer, "A", quantity, Decimal(price), moment)


def index(rows: list[Row]) -> dict[int, Row]:
    return {key[0]: row for key, row in index_rows(rows, "TransactionId", drop=["TransactionDate"]).items()}


# Half days apart, some a microsecond off: many are exactly n days apart, or at one moment.
moments = st.builds(
    lambda half_days, off: START + timedelta(hours=12 * half_days) + off * MICROSECOND,
    st.integers(0, 100),
    st.sampled_from([0, 0, 0, -1, 1]),
)
lines = st.lists(
    st.builds(
        Line,
        number=st.just(0),
        invoice=st.just("I"),
        customer=st.one_of(st.none(), st.integers(1, 3)),
        code=st.just("A"),
        quantity=st.integers(-2, 9),
        price=st.decimals(0, 1000, places=3),
        moment=moments,
    ),
    max_size=40,
).map(lambda found: [dataclasses.replace(line, number=number) for number, line in enumerate(found)])


@settings(max_examples=30, deadline=None)
@given(lines)
def test_features_agree_with_plain_python(third: Expression, given_lines: list[Line]) -> None:
    expected = describe_transactions(given_lines, window_days=3, sum_days=2, min_transactions=3)
    assert_same(index(third.run(given_lines)), expected)


@settings(max_examples=30, deadline=None)
@given(lines, moments)
def test_nothing_that_happens_later_changes_a_feature(
    third: Expression, given_lines: list[Line], cut: datetime
) -> None:
    found = third.run(given_lines)
    earlier = third.run(line for line in given_lines if line.moment <= cut)
    assert_same(index([row for row in found if row["TransactionDate"] <= cut]), index(earlier))


def test_a_window_begins_exactly_so_many_days_before(every: Expression) -> None:
    row = START + timedelta(days=40)
    edge = row - timedelta(days=30)
    week = row - timedelta(days=7)
    found = index(
        every.run(
            [
                make_line(1, edge - MICROSECOND, "1000"),
                make_line(2, edge, "100"),
                make_line(3, week - MICROSECOND, "20"),
                make_line(4, week, "3"),
                make_line(5, row, "1"),
                make_line(6, row + MICROSECOND, "5000"),
            ]
        )
    )[5]
    assert found["transaction_count_30d"] == 4
    assert found["rolling_avg_30d"] == pytest.approx(124 / 4)
    assert found["max_amount_30d"] == 100
    assert found["rolling_sum_7d"] == 4
    assert found["transaction_count"] == 5


def test_a_window_is_a_range_of_time_and_no_number_of_rows(every: Expression) -> None:
    often = [make_line(number, START + timedelta(minutes=number), "1") for number in range(100)]
    found = index(every.run([*often, make_line(100, START + timedelta(days=31), "1")]))
    assert found[99]["transaction_count_30d"] == 100
    assert found[100]["transaction_count_30d"] == 1


def test_transactions_at_one_moment_see_each_other(every: Expression) -> None:
    found = index(every.run([make_line(1, START, "1"), make_line(2, START, "5"), make_line(3, START, "3", customer=2)]))
    for number in (1, 2):
        assert found[number]["transaction_count"] == 2
        assert found[number]["transaction_count_30d"] == 2
        assert found[number]["rolling_sum_7d"] == 6
        assert found[number]["rolling_avg_30d"] == 3
        assert found[number]["max_amount_30d"] == 5
    assert found[3]["transaction_count"] == 1


def test_equal_moments_are_kept_or_left_out_together(third: Expression) -> None:
    second = START + timedelta(days=1)
    pair = [make_line(2, second), make_line(3, second)]
    assert [*index(third.run([make_line(1, START), *pair]))] == [2, 3]
    assert third.run(pair) == []


def test_transactions_are_given_from_the_customers_nth_on(third: Expression) -> None:
    own = [make_line(number, START + timedelta(days=number)) for number in range(1, 6)]
    assert sorted(index(third.run(own))) == [3, 4, 5]
    # No look ahead: the first ones are not given because of what came later.
    assert third.run(own[:2]) == []


def test_what_is_no_transaction_is_neither_given_nor_counted(every: Expression) -> None:
    found = index(
        every.run(
            [
                make_line(1, START, "10"),
                make_line(2, START, "10", quantity=-1),
                make_line(3, START, "0"),
                make_line(4, START, "-5"),
                make_line(5, START, "10", customer=None),
                make_line(6, START + timedelta(days=1), "30"),
            ]
        )
    )
    assert sorted(found) == [1, 6]
    assert found[6]["transaction_count"] == 2
    assert found[6]["rolling_avg_30d"] == 20


@pytest.mark.parametrize(
    ("day", "name", "number", "is_weekend"),
    [
        (3, "Sunday", 1, True),
        (4, "Monday", 2, False),
        (5, "Tuesday", 3, False),
        (6, "Wednesday", 4, False),
        (7, "Thursday", 5, False),
        (8, "Friday", 6, False),
        (9, "Saturday", 7, True),
    ],
)
def test_the_weekend_is_saturday_and_sunday(
    every: Expression, day: int, name: str, number: int, is_weekend: bool
) -> None:
    first, last = datetime(2026, 5, day), datetime(2026, 5, day, 23, 59, 59, 999_999)
    assert first.strftime("%A") == name
    found = index(every.run([make_line(1, first), make_line(2, last)]))
    for line in (1, 2):
        assert (found[line]["day_of_week"], found[line]["is_weekend"]) == (number, is_weekend)
    assert (found[1]["hour_of_day"], found[2]["hour_of_day"]) == (0, 23)
    assert found[1]["month"] == 5


def test_days_since_first_are_days_of_the_calendar(every: Expression) -> None:
    late = datetime(2026, 1, 1, 23, 59)
    found = index(every.run([make_line(1, late), make_line(2, late + timedelta(minutes=2))]))
    assert (found[1]["days_since_first"], found[2]["days_since_first"]) == (0, 1)


def test_names_follow_the_windows(third: Expression) -> None:
    names = [*index(third.run([make_line(number, START) for number in range(3)]))[0]]
    assert names[1:5] == ["rolling_avg_3d", "rolling_sum_2d", "transaction_count_3d", "max_amount_3d"]


def test_a_price_that_is_no_number_spoils_no_window() -> None:
    import ibis
    import pyarrow as pa

    table = pa.table(
        {
            "TransactionId": [1, 2, 3],
            "CustomerId": [1, 1, 1],
            "Quantity": [1, 1, 1],
            "UnitPrice": [2.0, float("nan"), float("inf")],
            "TransactionDate": pa.array([START] * 3, pa.timestamp("us")),
        }
    )
    found = transaction_features.build(ibis.memtable(table), window_days=30, sum_days=7, min_transactions=1)
    rows = index(found.to_pyarrow().to_pylist())
    assert [*rows] == [1]
    assert rows[1]["rolling_sum_7d"] == 2.0
