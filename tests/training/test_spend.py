"""The demo's label: a customer's net spend of the days after a feature date."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal

import ibis
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adfml_assets.defs.PL_ML_Training_Databricks import spend
from adfml_assets.features.expressions import make_dates

Line = tuple[int | None, int, int, Decimal]  # customer, day number, quantity, price
lines = st.lists(
    st.tuples(
        st.one_of(st.none(), st.integers(1, 3)),
        st.integers(0, 120),
        st.integers(-5, 20).filter(bool),
        st.decimals(0, 100, places=3),
    ),
    max_size=25,
)


def moment(number: int) -> datetime:
    return datetime(2026, 1, 1, 23, 59, 59) + timedelta(days=number)


@settings(max_examples=30, deadline=None)
@given(lines)
def test_a_label_is_the_net_spend_of_the_days_after(given_lines: list[Line]) -> None:
    when = date(2026, 2, 1)
    table = pa.table(
        {
            "CustomerId": pa.array([c for c, *_ in given_lines], pa.int64()),
            "Quantity": pa.array([q for _, _, q, _ in given_lines], pa.int64()),
            "UnitPrice": pa.array([p for *_, p in given_lines], pa.decimal128(12, 3)),
            "TransactionDate": pa.array([moment(d) for _, d, *_ in given_lines], pa.timestamp("us")),
        }
    )
    rows = spend.build(ibis.memtable(table), make_dates([when]), days=30).to_pyarrow().to_pylist()
    found = {row["CustomerId"]: row["label"] for row in rows}
    expected: dict[int, Decimal] = {}
    for customer, number, quantity, price in given_lines:
        ahead = (moment(number).date() - when).days
        if customer is not None and price > 0 and 0 < ahead <= 30:
            expected[customer] = expected.get(customer, Decimal()) + quantity * price
    assert found == {c: pytest.approx(float(max(v, Decimal())), abs=1e-9) for c, v in expected.items()}
