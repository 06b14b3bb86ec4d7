"""A customer's transaction beside the ones before it: the features of DF_FeatureEngineering, one row a transaction."""

from __future__ import annotations

import ibis
from ibis import _
from ibis.expr.types import Table

DAY = 24 * 60 * 60 * 1_000_000
"""In microseconds."""


def build(transactions: Table, *, window_days: int, sum_days: int, min_transactions: int) -> Table:
    """Features of each transaction, from the customer's transactions up to its own moment and no later.

    A transaction is a line with a customer, a moment and an amount over 0, and only these are counted, summed and
    given out: lines without a customer, cancellations, and lines that cost nothing are left out before that.

    - A window of n days is a range of time, closed at both ends: from exactly n days (of 24 hours) before the
      transaction's moment to the moment itself, however many transactions lie in it.
    - Transactions of one customer at one moment see each other: none is earlier, so all of them are in the windows
      and counts of each, and their windows are equal.
    - `transaction_count`, by which the filter goes, counts up to the row itself. The data flow's count over the whole
      partition would keep a customer's first transaction or drop it by what came years later.

    Args:
        transactions: TransactionId, CustomerId, Quantity, UnitPrice, TransactionDate (UTC).
        window_days: the window of averages, counts and maxima, in days; their names end with it.
        sum_days: the window of `rolling_sum_<n>d`, in days.
        min_transactions: transactions before a customer's n-th are left out.

    Returns:
        TransactionId and TransactionDate, then, for `window_days` 30 and `sum_days` 7:
        amount (Quantity x UnitPrice, in the shop's currency, float64),
        rolling_avg_30d, rolling_sum_7d, transaction_count_30d and max_amount_30d (of `amount`, by customer),
        transaction_count (all of the customer's up to the row),
        is_weekend (Saturday and Sunday; the data flow's dayOfWeek >= 6 is Friday and Saturday),
        hour_of_day (0 to 23), day_of_week (as ADF numbers it: Sunday is 1, Saturday 7), month (1 to 12), all by UTC,
        amount_log (the natural logarithm of amount + 1), and
        days_since_first (from the date of the customer's first transaction to that of the row).
    """
    lines = transactions.select(
        "TransactionId",
        "CustomerId",
        "TransactionDate",
        amount=(_.Quantity * _.UnitPrice).cast("float64"),
        # A range of whole numbers is what every engine orders and compares fastest.
        moment=_.TransactionDate.delta(ibis.timestamp("1970-01-01 00:00:00"), unit="microsecond"),
    )
    # Engines order NaN above infinity: the upper end keeps both out.
    lines = lines.filter(_.CustomerId.notnull(), _.moment.notnull(), _.amount > 0, _.amount < float("inf"))
    recent, latest, past = _last_days(window_days), _last_days(sum_days), _last_days(None)
    seen = lines.mutate(
        recent_sum=_.amount.sum().over(recent),
        recent_count=_.count().over(recent),
        recent_max=_.amount.max().over(recent),
        latest_sum=_.amount.sum().over(latest),
        count=_.count().over(past),
        # The least of all is the least of those up to the row, which engines find faster without a frame.
        first=_.TransactionDate.min().over(ibis.window(group_by="CustomerId")),
    )
    seen = seen.filter(_["count"] >= min_transactions)
    weekday = seen.TransactionDate.day_of_week.index()  # Monday is 0
    return seen.select(
        "TransactionId",
        "TransactionDate",
        "amount",
        **{
            f"rolling_avg_{window_days}d": _.recent_sum / _.recent_count,
            f"rolling_sum_{sum_days}d": _.latest_sum,
            f"transaction_count_{window_days}d": _.recent_count,
            f"max_amount_{window_days}d": _.recent_max,
        },
        transaction_count=_["count"],
        is_weekend=weekday >= 5,
        hour_of_day=_.TransactionDate.hour().cast("int64"),
        day_of_week=((weekday + 1) % 7 + 1).cast("int64"),
        month=_.TransactionDate.month().cast("int64"),
        amount_log=(_.amount + 1).ln(),
        days_since_first=_.TransactionDate.date().delta(_["first"].date(), unit="day"),
    )


def _last_days(days: int | None) -> ibis.expr.builders.WindowBuilder:
    """A customer's transactions of so many days up to the row's moment, it and its equals included; None: all."""
    return ibis.range_window(
        preceding=None if days is None else days * DAY, following=0, group_by="CustomerId", order_by="moment"
    )
