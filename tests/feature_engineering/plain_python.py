"""The features of DF_FeatureEngineering written down a second time, without any library: what the tests hold it to."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any


@dataclass(frozen=True)
class Line:
    """A line of an invoice."""

    number: int
    invoice: str
    customer: int | None
    code: str | None
    quantity: int
    price: Decimal
    moment: datetime


def describe_transactions(
    lines: Iterable[Line], *, window_days: int, sum_days: int, min_transactions: int
) -> dict[int, dict[str, Any]]:
    """Line number -> its features."""
    by_customer: dict[int, list[Line]] = defaultdict(list)
    for line in lines:
        if line.customer is not None and line.quantity * line.price > 0:
            by_customer[line.customer].append(line)
    found = {}
    for own in by_customer.values():
        own.sort(key=lambda line: line.moment)
        moments = [line.moment for line in own]
        amounts = [float(line.quantity * line.price) for line in own]
        for line in own:
            end = bisect_right(moments, line.moment)
            if end < min_transactions:
                continue
            recent = amounts[bisect_left(moments, line.moment - timedelta(days=window_days)) : end]
            latest = amounts[bisect_left(moments, line.moment - timedelta(days=sum_days)) : end]
            amount = float(line.quantity * line.price)
            found[line.number] = {
                "amount": amount,
                f"rolling_avg_{window_days}d": math.fsum(recent) / len(recent),
                f"rolling_sum_{sum_days}d": math.fsum(latest),
                f"transaction_count_{window_days}d": len(recent),
                f"max_amount_{window_days}d": max(recent),
                "transaction_count": end,
                "is_weekend": line.moment.strftime("%a") in ("Sat", "Sun"),
                "hour_of_day": line.moment.hour,
                "day_of_week": int(line.moment.strftime("%w")) + 1,
                "month": line.moment.month,
                "amount_log": math.log(amount + 1),
                "days_since_first": (line.moment.date() - moments[0].date()).days,
            }
    return found


def describe_customers(
    lines: Iterable[Line], categories: Mapping[str, str | None], day: date, *, window_days: int, min_transactions: int
) -> dict[int, dict[str, Any]]:
    """Customer -> features at the end of a day."""
    by_customer: dict[int, list[Line]] = defaultdict(list)
    for line in lines:
        if line.customer is not None and line.price > 0 and line.moment.date() <= day:
            by_customer[line.customer].append(line)
    found = {}
    for customer, own in by_customer.items():
        bought = [line for line in own if line.quantity > 0]
        if bought and len(bought) >= min_transactions:
            found[customer] = _describe_customer(own, bought, categories, day, window_days)
    return found


def _describe_customer(
    own: list[Line], bought: list[Line], categories: Mapping[str, str | None], day: date, window_days: int
) -> dict[str, Any]:
    # An invoice that goes on after midnight is one a day.
    purchases: dict[tuple[date, str], Decimal] = defaultdict(Decimal)
    for line in bought:
        purchases[line.moment.date(), line.invoice] += line.quantity * line.price
    days = sorted({when for when, _ in purchases})

    def is_within(when: date, window: int) -> bool:
        return (day - when).days < window

    def net(window: int) -> float:
        return float(sum((n.quantity * n.price for n in own if is_within(n.moment.date(), window)), Decimal()))

    def count(window: int) -> int:
        return sum(is_within(when, window) for when, _ in purchases)

    gross = sum(purchases.values(), Decimal())
    in_window = [amount for (when, _), amount in purchases.items() if is_within(when, window_days)]
    last_amount = float(sum((amount for (when, _), amount in purchases.items() if when == days[-1]), Decimal()))
    names = Counter((line.code is not None and categories.get(line.code)) or "unknown" for line in bought)
    between = (days[-1] - days[0]).days / (len(days) - 1) if len(days) > 1 else None
    return {
        "recency_days": (day - days[-1]).days,
        "days_since_first": (day - days[0]).days,
        "transaction_count": len(bought),
        "purchase_count": len(purchases),
        "purchase_days": len(days),
        "rolling_sum": net(window_days),
        "rolling_count": count(window_days),
        "rolling_average": float(sum(in_window, Decimal())) / len(in_window) if in_window else None,
        "rolling_sum_7d": net(7),
        **{f"net_spend_{window}d": net(window) for window in (30, 90, 365)},
        **{f"purchases_{window}d": count(window) for window in (30, 90, 365)},
        "net_spend_per_30_days": net(1_000_000) * 30 / max(30, (day - days[0]).days + 1),
        "average_purchase": float(gross) / len(purchases),
        "largest_purchase": float(max(purchases.values())),
        "last_amount": last_amount,
        "amount_log": math.log(last_amount + 1),
        "lines_per_purchase": len(bought) / len(purchases),
        "days_between_purchases": between,
        "weekend_share": sum(when.strftime("%a") in ("Sat", "Sun") for when, _ in purchases) / len(purchases),
        "cancelled_lines_365d": sum(n.quantity < 0 and is_within(n.moment.date(), 365) for n in own),
        "gross_total": float(gross),
        "net_total": net(1_000_000),
        "categories": [{"name": name, "count": names[name]} for name in sorted(names)],
    }
