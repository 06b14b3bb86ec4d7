"""What a shop knows of its customers on a day: the features of DF_FeatureEngineering, per customer."""

from __future__ import annotations

import ibis
from ibis import _
from ibis.expr.types import Table

WINDOWS = (30, 90, 365)
UNKNOWN = "unknown"
"""The category of what was bought and is no product, or a product without a category."""


def build(
    transactions: Table, products: Table, feature_dates: Table, *, window_days: int, min_transactions: int
) -> Table:
    """Features per customer and feature date, from the transactions up to the end of that date (UTC) and no later.

    As an analyst reads a shop's lines:
    - lines without a customer, and lines that cost nothing, are left out;
    - a purchase is an invoice with lines of positive quantity; a cancellation is a line of negative quantity;
    - spend is net: cancellations are subtracted when they happen, and count as purchases nowhere.

    A window of n days is the feature date and the n - 1 days before it. Sums are made of exact decimals, where prices
    are decimals, and become floats at the end: every engine gives the same.

    Args:
        transactions: CustomerId, InvoiceNo, StockCode, Quantity, UnitPrice, TransactionDate (UTC).
        products: StockCode, Category: what each product is today, for lines of any day.
        feature_dates: one column, `feature_date`.
        window_days: the length of the window of `rolling_sum`, `rolling_count` and `rolling_average`, in days.
        min_transactions: customers with fewer purchased lines up to the feature date are left out.

    Returns:
        CustomerId, feature_date and the features; money in the shop's currency, ages in days. `rolling_average` is
        the gross spend of a purchase, NULL where the window has none; `last_amount` the gross spend of the last day
        with a purchase, `amount_log` the natural logarithm of it + 1. `categories` is the category column: purchased
        lines by product category, as a list of (name, count) sorted by name, `unknown` where there is none.
    """
    lines = transactions.filter(_.CustomerId.notnull(), _.UnitPrice > 0).select(
        "CustomerId",
        "InvoiceNo",
        "StockCode",
        "Quantity",
        day=_.TransactionDate.date(),
        amount=_.Quantity * _.UnitPrice,
    )
    sums = _sum_up(lines, feature_dates, window_days)
    sums = sums.filter(_.purchased_lines >= min_transactions, _.purchases > 0)
    # Everybody who bought something bought it in some category: this join loses nobody.
    known = sums.join(_count_categories(lines, products, feature_dates), ["CustomerId", "feature_date"])
    return known.select(
        "CustomerId",
        "feature_date",
        recency_days=_.feature_date.delta(_.last_purchase, unit="day"),
        days_since_first=_.days_since_first,
        transaction_count=_.purchased_lines,
        purchase_count=_.purchases,
        purchase_days=_.purchase_days,
        rolling_sum=_float(_.net_window),
        rolling_count=_count(_.purchases_window),
        rolling_average=_.gross_window.cast("float64") / _.purchases_window.nullif(0),
        rolling_sum_7d=_float(_.net_7d),
        **{f"net_spend_{days}d": _float(_[f"net_{days}d"]) for days in WINDOWS},
        **{f"purchases_{days}d": _count(_[f"purchases_{days}d"]) for days in WINDOWS},
        net_spend_per_30_days=_float(_.net) * 30 / (_.days_since_first + 1).clip(lower=30),
        average_purchase=_float(_.gross) / _.purchases,
        largest_purchase=_float(_.largest_purchase),
        last_amount=_float(_.last_amount),
        amount_log=(_float(_.last_amount) + 1).ln(),
        lines_per_purchase=_.purchased_lines / _.purchases,
        days_between_purchases=_.last_purchase.delta(_.first_purchase, unit="day") / (_.purchase_days - 1).nullif(0),
        weekend_share=_count(_.weekend_purchases) / _.purchases,
        cancelled_lines_365d=_count(_.cancelled_365d),
        gross_total=_float(_.gross),
        net_total=_float(_.net),
        categories=_.categories,
    )


def _sum_up(lines: Table, feature_dates: Table, window_days: int) -> Table:
    """One row a customer and feature date: what its days up to then add up to."""
    known = _sum_days(lines).cross_join(feature_dates).filter(_.day <= _.feature_date)
    known = known.mutate(age=_.feature_date.delta(_.day, unit="day"))
    measures: dict[str, ibis.Value] = {
        "first_purchase": _.purchase_day.min(),
        "last_purchase": _.purchase_day.max(),
        "purchase_days": _.purchase_day.count(),
        "purchased_lines": _count(_.purchased_lines.sum()),
        "purchases": _count(_.purchases.sum()),
        "net": _.net.sum(),
        "gross": _.gross.sum(),
        "largest_purchase": _.largest_purchase.max(),
        "last_amount": _.gross.argmax(_.purchase_day),
        "weekend_purchases": _.purchases.sum(where=_.is_weekend),
        "cancelled_365d": _.cancelled_lines.sum(where=_.age < 365),
        "net_window": _.net.sum(where=_.age < window_days),
        "gross_window": _.gross.sum(where=_.age < window_days),
        "purchases_window": _.purchases.sum(where=_.age < window_days),
        "net_7d": _.net.sum(where=_.age < 7),
    }
    for days in WINDOWS:
        measures[f"net_{days}d"] = _.net.sum(where=_.age < days)
        measures[f"purchases_{days}d"] = _.purchases.sum(where=_.age < days)
    sums = known.group_by("CustomerId", "feature_date").aggregate(**measures)
    return sums.mutate(days_since_first=_.feature_date.delta(_.first_purchase, unit="day"))


def _sum_days(lines: Table) -> Table:
    """One row a customer and day, whatever it was that happened: far fewer than lines, and each date meets them all."""
    invoices = lines.group_by("CustomerId", "InvoiceNo", "day").aggregate(
        net=_.amount.sum(),
        gross=_.amount.sum(where=_.Quantity > 0),
        purchased_lines=(_.Quantity > 0).sum(),
        cancelled_lines=(_.Quantity < 0).sum(),
    )
    days = invoices.group_by("CustomerId", "day").aggregate(
        net=_.net.sum(),
        gross=_.gross.sum(),
        largest_purchase=_.gross.max(),
        purchased_lines=_.purchased_lines.sum(),
        cancelled_lines=_.cancelled_lines.sum(),
        purchases=(_.purchased_lines > 0).sum(),
    )
    return days.mutate(
        purchase_day=ibis.ifelse(_.purchases > 0, _.day, None),
        # Monday is 0: Saturday and Sunday are the weekend (the pattern's dayOfWeek >= 6 is Friday and Saturday).
        is_weekend=_.day.day_of_week.index() >= 5,
    )


def _count_categories(lines: Table, products: Table, feature_dates: Table) -> Table:
    """One row a customer and feature date: the lines it had bought until then, by category."""
    # A product that is in the table twice must not count a line twice.
    categories = products.group_by("StockCode").aggregate(name=_.Category.max())
    bought = lines.filter(_.Quantity > 0).left_join(categories, "StockCode")
    daily = bought.group_by("CustomerId", "day", name=_.name.fill_null(UNKNOWN)).aggregate(lines=_.count())
    # A count is what it is from its day to the day of the next: no date has to add them up again.
    of_category = ibis.window(group_by=["CustomerId", "name"], order_by="day")
    counts = daily.mutate(
        count=_.lines.sum().over(ibis.cumulative_window(group_by=["CustomerId", "name"], order_by="day")),
        until=_.day.lead().over(of_category).fill_null(ibis.date("9999-12-31")),
    )
    known = counts.join(
        feature_dates, [counts.day <= feature_dates.feature_date, feature_dates.feature_date < counts.until]
    )
    pair = ibis.struct({"name": _.name, "count": _count(_["count"])})
    return known.group_by("CustomerId", "feature_date").aggregate(categories=pair.collect().sort())


def _float(value: ibis.Value) -> ibis.Value:
    return value.cast("float64").fill_null(0.0)


def _count(value: ibis.Value) -> ibis.Value:
    # DuckDB adds integers up to 128 bits, of which ibis knows nothing: a cast to int64 alone would be left out.
    return value.cast("decimal(38, 0)").cast("int64").fill_null(0)
