"""Labels that the declarations of these tests name."""

from __future__ import annotations

from ibis import _
from ibis.expr.types import Table


def add_up(events: Table, feature_dates: Table, *, days: int) -> Table:
    """The sum of the amounts of the days after each feature date."""
    later = events.cross_join(feature_dates).mutate(ahead=_.day.delta(_.feature_date, unit="day"))
    window = later.filter(_.ahead > 0, _.ahead <= days)
    return window.group_by("Id", "feature_date").aggregate(label=_.amount.sum())


def give_events(events: Table, feature_dates: Table, *, days: int) -> Table:
    """A row an event: several for one key and date."""
    return events.cross_join(feature_dates).select("Id", "feature_date", label=_.amount)


def give_text(events: Table, feature_dates: Table, *, days: int) -> Table:
    """A label that is no number."""
    return add_up(events, feature_dates, days=days).mutate(label=_.label.cast("string"))


def give_nulls(events: Table, feature_dates: Table, *, days: int) -> Table:
    """A label that is not known."""
    return add_up(events, feature_dates, days=days).mutate(label=_.label.nullif(_.label))


def give_nothing(events: Table, feature_dates: Table, *, days: int) -> Table:
    """No label at all."""
    return add_up(events, feature_dates, days=days).limit(0)


def forget_the_key(events: Table, feature_dates: Table, *, days: int) -> Table:
    """No key."""
    return add_up(events, feature_dates, days=days).drop("Id")


def ask_for_another_column(events: Table, feature_dates: Table, *, days: int) -> Table:
    """A column that is not there."""
    return events.group_by("Id").aggregate(label=_.amonut.sum())


def take_no_days(events: Table, feature_dates: Table) -> Table:
    """Not what a label's function is given."""
    return events


def give_a_number(events: Table, feature_dates: Table, *, days: int) -> int:
    """No table."""
    return days


def divide_texts(events: Table, feature_dates: Table, *, days: int) -> Table:
    """What fails only when it is done."""
    return add_up(events, feature_dates, days=days).mutate(label=_.feature_date.cast("string").cast("int64"))
