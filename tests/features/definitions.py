"""Definitions of feature sets that tests build: honest ones, and ones that are wrong in one way each."""

from __future__ import annotations

from typing import Any

import ibis
from ibis import _

HERE = "tests.features.definitions"

SPEND_SQL = """\
-- The same as `spend`, as SQL.
WITH known AS (
    SELECT o.Customer, d.feature_date, o.Amount, o.OrderedAt, p.Category
    FROM orders o
    JOIN feature_dates d ON CAST(o.OrderedAt AS DATE) <= d.feature_date
    LEFT JOIN products p ON o.Product = p.Product
    WHERE o.Customer IS NOT NULL
)
SELECT
    Customer,
    feature_date,
    CAST(SUM(Amount) AS DOUBLE) AS spend,
    SUM(CASE WHEN OrderedAt >= feature_date - INTERVAL ($days) DAY THEN Amount END) AS spend_window,
    COUNT(*) AS orders, -- $this is no parameter, nor is '$that'
    AVG(Amount) AS average,
    SUM(Amount) / NULLIF(SUM(CASE WHEN Category = $category THEN 1 ELSE 0 END), 0) AS per_book,
    SUM(Amount) / SUM(CASE WHEN Category = $category THEN 1 ELSE 0 END) AS per_book_or_none,
    COUNT(*) % SUM(CASE WHEN Category = $category THEN 1 ELSE 0 END) AS remainder,
    COUNT(*) // SUM(CASE WHEN Category = $category THEN 1 ELSE 0 END) AS times,
    LN(COUNT(*) + 1) AS orders_log,
    DATE_DIFF('day', CAST(MIN(OrderedAt) AS DATE), feature_date) AS age,
    MAX(OrderedAt) AS last_order,
    BOOL_OR(Category = $category) AS reads,
    MAX(Category) AS any_category
FROM known
GROUP BY Customer, feature_date;
"""


def spend(orders: Any, products: Any, feature_dates: Any, *, days: int, category: str) -> Any:
    """Of each customer: sums, averages and divisions by zero of decimals, windows, dates, texts and true or false."""
    known = orders.filter(_.Customer.notnull()).cross_join(feature_dates).filter(_.OrderedAt.date() <= _.feature_date)
    known = known.left_join(products, "Product").mutate(
        is_book=(_.Category == category).fill_null(False),
        recent=_.OrderedAt >= _.feature_date - ibis.interval(days=days),
    )
    return known.group_by("Customer", "feature_date").aggregate(
        spend=_.Amount.sum().cast("float64"),
        spend_window=_.Amount.sum(where=_.recent),
        orders=_.count(),
        average=_.Amount.mean(),
        per_book=_.Amount.sum() / _.is_book.sum().nullif(0),
        per_book_or_none=_.Amount.sum() / _.is_book.sum(),
        remainder=_.count() % _.is_book.sum(),
        times=_.count() // _.is_book.sum(),
        orders_log=(_.count() + 1).ln(),
        age=_.feature_date.max().delta(_.OrderedAt.min().date(), unit="day"),
        last_order=_.OrderedAt.max(),
        reads=_.is_book.any(),
        any_category=_.Category.max(),
    )


def categories(orders: Any, products: Any, feature_dates: Any) -> Any:
    """Counts by category, and weights from a table in memory."""
    weights = ibis.memtable({"Category": ["books", "games"], "weight": [2, 3]})
    known = orders.filter(_.Customer.notnull()).cross_join(feature_dates).filter(_.OrderedAt.date() <= _.feature_date)
    known = known.join(products, "Product").filter(_.Category.notnull())
    counts = known.group_by("Customer", "feature_date", "Category").aggregate(count=_.count())
    counts = counts.left_join(weights, "Category").select("Customer", "feature_date", "Category", "count", "weight")
    return counts.group_by("Customer", "feature_date").aggregate(
        orders=_["count"].sum(),
        weight=(_["count"] * _.weight).sum(),
        by_category=ibis.struct({"name": _.Category, "count": _["count"]}).collect().sort(),
    )


def events(orders: Any, *, days: int) -> Any:
    """Of each order: the customer's average of the days up to it, itself included, and their count so far."""
    window = ibis.range_window(
        preceding=ibis.interval(days=days), following=0, group_by="Customer", order_by="OrderedAt"
    )
    so_far = ibis.range_window(preceding=None, following=0, group_by="Customer", order_by="OrderedAt")
    return orders.filter(_.Customer.notnull()).select(
        "OrderId",
        "OrderedAt",
        rolling=_.Amount.cast("float64").mean().over(window),
        orders=_.count().over(so_far),
        weekday=_.OrderedAt.day_of_week.index(),
    )


def leaking(orders: Any, feature_dates: Any) -> Any:
    """Looks at orders after the feature date: `later` is wrong, `orders` is right."""
    known = orders.filter(_.Customer.notnull()).cross_join(feature_dates)
    return (
        known.group_by("Customer", "feature_date")
        .aggregate(orders=(_.OrderedAt.date() <= _.feature_date).sum(), later=_.Amount.sum().cast("float64"))
        .filter(_.orders > 0)
    )


def leaking_events(orders: Any) -> Any:
    """Leaves events out by how many there will be, as the data flow does."""
    counted = orders.mutate(all_of_them=_.count().over(group_by="Customer"))
    return counted.filter(_.all_of_them > 1).select("OrderId", "OrderedAt", amount=_.Amount.cast("float64"))


def every_line(orders: Any, feature_dates: Any) -> Any:
    """Several rows a customer."""
    return orders.filter(_.Customer.notnull()).cross_join(feature_dates).select("Customer", "feature_date")


def nobody(orders: Any, feature_dates: Any) -> Any:
    """A row without a key."""
    return feature_dates.mutate(Customer=ibis.null("int64"))


def tomorrow(orders: Any, feature_dates: Any) -> Any:
    """A feature date nobody asked for."""
    dates = feature_dates.mutate(feature_date=(_.feature_date + ibis.interval(days=1)).cast("date"))
    return orders.select("Customer").filter(_.Customer.notnull()).distinct().cross_join(dates)


def no_date(orders: Any, feature_dates: Any) -> Any:
    """No feature date."""
    return orders.select("Customer").distinct()


def wrong_column(orders: Any, feature_dates: Any) -> Any:
    """Asks for a column that is not there."""
    return orders.group_by("Customer").aggregate(n=_.Price.sum())


def wrong_type(orders: Any, feature_dates: Any) -> Any:
    """A feature that no file of features can hold."""
    return every_line(orders, feature_dates).mutate(pair=ibis.struct({"a": 1}))


@ibis.udf.scalar.python
def double(value: float) -> float:
    """Python, row by row."""
    return 2 * value


def in_python(orders: Any, feature_dates: Any) -> Any:
    """Asks for Python."""
    return every_line(orders, feature_dates).mutate(twice=double(1.0))


not_a_function = 3
