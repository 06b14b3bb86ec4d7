"""What a shop knows of its customers on a day: the features of DF_FeatureEngineering, per customer."""

from __future__ import annotations

import ibis
from ibis import _
from ibis.expr.types import Table

WINDOWS = (30, 90, 365)


def build(transactions: Table, feature_dates: Table, *, window_days: int, min_transactions: int) -> Table:
    """Features per customer and feature date, from the transactions up to the end of that date and no later.

    As an analyst reads a shop's lines:
    - lines without a customer, and lines that cost nothing, are left out;
    - a purchase is an invoice with lines of positive quantity; a cancellation is a line of negative quantity;
    - spend is net: cancellations are subtracted when they happen, and count as purchases nowhere.

    Args:
        transactions: CustomerId, InvoiceNo, Quantity, UnitPrice, TransactionDate (UTC).
        feature_dates: one column, `feature_date`.
        window_days: the length of the window of `net_spend_window` and `purchases_window`, in days.
        min_transactions: customers with fewer purchased lines up to the feature date are left out.

    Returns:
        CustomerId, feature_date and the features; money in the shop's currency, ages in days.
    """
    known = _read_invoices(transactions).cross_join(feature_dates).filter(_.day <= _.feature_date)
    known = known.mutate(age=_.feature_date.delta(_.day, unit="day"))
    measures: dict[str, ibis.Value] = {
        "last_purchase_age": _.age.min(where=_.is_purchase),
        "first_purchase_age": _.age.max(where=_.is_purchase),
        "purchased_lines": _.purchased_lines.sum(),
        "purchases": _.is_purchase.sum(),
        "net_spend": _.net.sum(),
        "largest_purchase": _.gross.max(where=_.is_purchase),
        "gross_spend": _.gross.sum(),
        "weekend_purchases": _.is_purchase.sum(where=_.is_weekend),
        "purchase_days": _.day.nunique(where=_.is_purchase),
        "cancelled_lines_365d": _.cancelled_lines.sum(where=_.age < 365),
        "net_spend_window": _.net.sum(where=_.age < window_days),
        "purchases_window": _.is_purchase.sum(where=_.age < window_days),
    }
    for days in WINDOWS:
        measures[f"net_spend_{days}d"] = _.net.sum(where=_.age < days)
        measures[f"purchases_{days}d"] = _.is_purchase.sum(where=_.age < days)
    sums = known.group_by("CustomerId", "feature_date").aggregate(**measures)
    sums = sums.filter(_.purchased_lines >= min_transactions, _.purchases > 0)
    return sums.select(
        "CustomerId",
        "feature_date",
        recency_days=_.last_purchase_age,
        days_since_first=_.first_purchase_age,
        transaction_count=_.purchased_lines,
        purchase_count=_.purchases,
        purchase_days=_.purchase_days,
        rolling_sum=_float(_.net_spend_window),
        rolling_count=_count(_.purchases_window),
        **{f"net_spend_{days}d": _float(_[f"net_spend_{days}d"]) for days in WINDOWS},
        **{f"purchases_{days}d": _count(_[f"purchases_{days}d"]) for days in WINDOWS},
        net_spend_per_30_days=_.net_spend * 30 / (_.first_purchase_age + 1).clip(lower=30),
        average_purchase=_.gross_spend / _.purchases,
        largest_purchase=_.largest_purchase,
        lines_per_purchase=_.purchased_lines / _.purchases,
        days_between_purchases=(_.first_purchase_age - _.last_purchase_age) / (_.purchase_days - 1).nullif(0),
        weekend_share=_count(_.weekend_purchases) / _.purchases,
        cancelled_lines_365d=_count(_.cancelled_lines_365d),
    ).order_by("feature_date", "CustomerId")


def _read_invoices(transactions: Table) -> Table:
    """One row an invoice and day; sums are made of exact decimals before they become floats."""
    lines = transactions.filter(_.CustomerId.notnull(), _.UnitPrice > 0).mutate(
        day=_.TransactionDate.date(), amount=_.Quantity * _.UnitPrice
    )
    invoices = lines.group_by("CustomerId", "InvoiceNo", "day").aggregate(
        net=_.amount.sum().cast("float64"),
        gross=_float(_.amount.sum(where=_.Quantity > 0)),
        purchased_lines=(_.Quantity > 0).sum(),
        cancelled_lines=(_.Quantity < 0).sum(),
    )
    # Monday is 0: Saturday and Sunday are the weekend (the pattern's dayOfWeek >= 6 is Friday and Saturday).
    return invoices.mutate(is_purchase=_.purchased_lines > 0, is_weekend=_.day.day_of_week.index() >= 5)


def _float(value: ibis.Value) -> ibis.Value:
    return value.cast("float64").fill_null(0.0)


def _count(value: ibis.Value) -> ibis.Value:
    return value.cast("int64").fill_null(0)
