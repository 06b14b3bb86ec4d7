"""Train, validation and test by time: nothing of what one split is asked is known to an earlier one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

SPLITS = ("train", "validation", "test")


def split_dates(
    dates: Sequence[date], last_day: date, days: int, *, validation_dates: int = 1, test_dates: int = 1
) -> dict[str, list[date]]:
    """The dates of train, validation and test, each sorted; rows of one date are always in one split.

    The test has the latest dates whose label is whole; validation the latest at least `days` before the test; train is
    everything at least `days` before that. Dates in between are dropped: their labels would overlap.

    Args:
        dates: in any order, each once.
        last_day: the last day of the data: a date is used only if all `days` days after it are up to this one.
        days: how far a label looks ahead.
        validation_dates, test_dates: how many dates these two have, where there are as many.
    """
    whole = [d for d in sorted(dates) if _fits(d, days, last_day)]
    test = whole[-test_dates:]
    before_test = [d for d in whole if test and d < test[0] and _fits(d, days, test[0])]
    validation = before_test[-validation_dates:]
    train = [d for d in before_test if validation and d < validation[0] and _fits(d, days, validation[0])]
    return {"train": train, "validation": validation, "test": test}


def list_left_out(
    dates: Sequence[date], last_day: date, days: int, splits: dict[str, list[date]]
) -> dict[str, list[str]]:
    """The dates that no split has, and why, as ISO dates.

    Returns:
        `window_past_data`: their label looks at days after the data's last. `between_splits`: their label would overlap
        with that of a later split.
    """
    used = {d for chosen in splits.values() for d in chosen}
    past = [d for d in sorted(dates) if not _fits(d, days, last_day)]
    between = [d for d in sorted(dates) if _fits(d, days, last_day) and d not in used]
    return {
        "window_past_data": [d.isoformat() for d in past],
        "between_splits": [d.isoformat() for d in between],
    }


def _fits(day: date, days: int, last: date) -> bool:
    """Whether the days after a day end by another one; the last days of the calendar have none to add."""
    return (last - day).days >= days
