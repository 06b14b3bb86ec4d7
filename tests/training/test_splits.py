"""Splits lie apart in time: no label of one looks into another, and rows of one date are in one split."""

from __future__ import annotations

from datetime import date, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from adfml_assets.training.splits import SPLITS, list_left_out, split_dates
from tests.training.conftest import day

dates = st.sets(st.integers(0, 400), max_size=40)


@settings(max_examples=30)
@given(dates, st.integers(0, 450), st.integers(0, 60), st.integers(1, 4), st.integers(1, 4))
def test_no_label_window_of_a_split_reaches_into_another(
    numbers: set[int], last: int, days: int, validation: int, test: int
) -> None:
    offered = [day(number) for number in numbers]
    splits = split_dates(offered, day(last), days, validation_dates=validation, test_dates=test)
    gap = timedelta(days=days)
    for split in SPLITS:
        assert splits[split] == sorted(set(splits[split]) & set(offered))
        assert all(used + gap <= day(last) for used in splits[split])
    for earlier, later in (("train", "validation"), ("validation", "test"), ("train", "test")):
        if splits[earlier] and splits[later]:
            assert max(splits[earlier]) < min(splits[later])
            assert max(splits[earlier]) + gap <= min(splits[later])
    assert len(splits["test"]) <= test
    assert len(splits["validation"]) <= validation


@settings(max_examples=30)
@given(dates, st.integers(0, 450), st.integers(0, 60))
def test_every_date_is_in_a_split_or_is_said_to_be_left_out(numbers: set[int], last: int, days: int) -> None:
    offered = [day(number) for number in numbers]
    splits = split_dates(offered, day(last), days)
    left_out = list_left_out(offered, day(last), days, splits)
    used = [d.isoformat() for chosen in splits.values() for d in chosen]
    everything = used + left_out["window_past_data"] + left_out["between_splits"]
    assert sorted(everything) == sorted(d.isoformat() for d in offered)


def test_the_latest_whole_date_is_the_test_and_the_one_before_it_the_validation() -> None:
    splits = split_dates([day(n) for n in range(0, 101, 10)], day(100), 30)
    assert splits["test"] == [day(70)]
    assert splits["validation"] == [day(40)]
    assert splits["train"] == [day(0), day(10)]


def test_the_last_days_of_the_calendar_are_days_too() -> None:
    splits = split_dates([date.max, day(0), day(50), day(100)], date.max, 30)
    assert splits["test"] == [day(100)]
