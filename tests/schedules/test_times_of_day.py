"""A time of the day in any zone: exactly one tick a day where the clocks change, and no UTC day is left out."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adfml_assets.components.declaration import DailySchedule, Schedule
from adfml_assets.errors import DeclarationInvalid
from adfml_assets.times_of_day import find_skipped_day, list_ticks

YEAR = datetime(2026, 1, 1, tzinfo=UTC)


def ticks_a_day(cron: str, zone: str, first: date, days: int) -> list[int]:
    start = datetime(first.year, first.month, first.day, tzinfo=UTC)
    found = Counter(tick.date() for tick in list_ticks(cron, zone, start, start + timedelta(days=days)))
    return [found[first + timedelta(days=offset)] for offset in range(days)]


@pytest.mark.parametrize("change", [date(2026, 3, 27), date(2026, 10, 23)])
@pytest.mark.parametrize("hour", [2, 5, 23])
def test_there_is_one_tick_a_utc_day_when_the_clocks_change(hour: int, change: date) -> None:
    """02:30 does not exist in Berlin on 29 March 2026, and exists twice on 25 October."""
    schedule = DailySchedule(hour=hour, minute=30, timezone="Europe/Berlin")
    assert ticks_a_day(schedule.expression, schedule.timezone, change, 5) == [1, 1, 1, 1, 1]


def test_a_time_that_skips_a_utc_day_is_refused_with_the_day() -> None:
    assert ticks_a_day("30 1 * * *", "Europe/Berlin", date(2026, 10, 24), 3) == [1, 0, 1]
    with pytest.raises(
        DeclarationInvalid, match="once in every UTC day: in Europe/Berlin the clocks change"
    ) as refused:
        DailySchedule(hour=1, minute=30, timezone="Europe/Berlin")
    assert refused.value.field == "hour"
    with pytest.raises(DeclarationInvalid) as refused:
        DailySchedule("30 1 * * *", "Europe/Berlin")
    assert refused.value.field == "cron"
    # What asks for no day may come at any time.
    assert Schedule(hour=1, minute=30, timezone="Europe/Berlin").expression == "30 1 * * *"
    assert DailySchedule("30 1 1 * *", "Europe/Berlin").expression == "30 1 1 * *"


@settings(max_examples=60, deadline=None)
@given(
    hour=st.integers(0, 23),
    minute=st.integers(0, 59),
    zone=st.sampled_from(
        ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "America/St_Johns"]
    ),
)
def test_every_time_that_is_taken_ticks_in_every_utc_day_of_a_year(hour: int, minute: int, zone: str) -> None:
    cron = f"{minute} {hour} * * *"
    found = ticks_a_day(cron, zone, YEAR.date(), 365)
    skipped = find_skipped_day(cron, zone, YEAR)
    if skipped is None:
        assert min(found) == 1
    elif skipped.year == YEAR.year:
        assert found[(skipped - YEAR.date()).days] == 0


@pytest.mark.parametrize(
    ("given_", "field", "expected"),
    [
        ({}, "hour", "either `hour`"),
        ({"hour": 5, "cron": "0 5 * * *"}, "hour", "either `hour`"),
        ({"hour": 24}, "hour", "0 to 23"),
        ({"hour": 5, "minute": 60}, "minute", "0 to 59"),
        ({"cron": "0 5 * * *", "minute": 3}, "minute", "with `hour`"),
        ({"cron": "5 o'clock"}, "cron", "five fields"),
        ({"cron": "0 5 * *"}, "cron", "five fields"),
        ({"hour": 5, "timezone": "Berlin"}, "timezone", "IANA name"),
        ({"hour": 5, "timezone": "../etc/passwd"}, "timezone", "IANA name"),
    ],
)
def test_what_is_no_time_is_refused_with_its_field(given_: dict[str, object], field: str, expected: str) -> None:
    with pytest.raises(DeclarationInvalid, match=expected) as refused:
        Schedule(**given_)  # type: ignore[arg-type]
    assert refused.value.field == field
