"""What `sales_forecast` predicts: a customer's net spend after a feature date."""

from __future__ import annotations

from ibis import _
from ibis.expr.types import Table


def build(transactions: Table, feature_dates: Table, *, days: int) -> Table:
    """Net spend of the `days` days after each feature date, by customer; customers who bought nothing are not in it.

    Cancellations are subtracted; a customer who only returned things spent 0, not less.

    Args:
        transactions: CustomerId, Quantity, UnitPrice, TransactionDate (UTC).
        feature_dates: one column, `feature_date`.
        days: the length of the window, which begins the day after the feature date.

    Returns:
        CustomerId, feature_date, label.
    """
    lines = transactions.filter(_.CustomerId.notnull(), _.UnitPrice > 0).mutate(day=_.TransactionDate.date())
    daily = lines.group_by("CustomerId", "day").aggregate(net=(_.Quantity * _.UnitPrice).sum().cast("float64"))
    later = daily.cross_join(feature_dates).mutate(ahead=_.day.delta(_.feature_date, unit="day"))
    window = later.filter(_.ahead > 0, _.ahead <= days)
    return window.group_by("CustomerId", "feature_date").aggregate(label=_.net.sum().clip(lower=0.0))
