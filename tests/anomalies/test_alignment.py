"""Readings become complete rows: filled as declared, checked for gaps, or refused with what to do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adfml_assets.anomalies.alignment import Rows, align
from adfml_assets.anomalies.declared import Alignment, format_duration, parse_duration
from adfml_assets.anomalies.errors import (
    DuplicateTimestamps,
    GapTooLarge,
    GridTooFine,
    InfiniteValues,
    MissingValues,
)

NAN = float("nan")
SECOND = 1_000_000


def run(seconds: list[float], columns: list[list[float]], **rules: Any) -> Rows:
    times = np.array([int(s * SECOND) for s in seconds], np.int64)
    names = ("a", "b", "c")[: len(columns)]
    return align(times, np.array(columns, float).T, names, Alignment(**rules), "here")


@pytest.mark.parametrize(
    ("fill", "expected", "left_out"),
    [
        ("linear", [1, 1, 2, 3, 3], 0),
        ("previous", [1, 1, 3, 3], 1),
        ("subsequent", [1, 1, 3, 3], 1),
        ("zero", [0, 1, 0, 3, 0], 0),
        ("fixed", [-7, 1, -7, 3, -7], 0),
    ],
)
def test_missing_values_are_filled_as_declared(fill: Any, expected: list[float], left_out: int) -> None:
    padding = -7.0 if fill == "fixed" else None
    rows = run([0, 1, 2, 3, 4], [[NAN, 1, NAN, 3, NAN], [5, 5, 5, 5, 5]], fill=fill, padding_value=padding)
    assert rows.left_out == left_out
    if fill == "previous":
        expected = [1, 1, 3, 3]
        assert rows.times.tolist() == [SECOND, 2 * SECOND, 3 * SECOND, 4 * SECOND]
    if fill == "subsequent":
        expected = [1, 1, 3, 3]
        assert rows.times.tolist() == [0, SECOND, 2 * SECOND, 3 * SECOND]
    assert rows.values[:, 0].tolist() == expected
    assert rows.filled.sum() == 3 - left_out


def test_inner_keeps_what_is_complete() -> None:
    rows = run([0, 1, 2], [[1, NAN, 3], [1, 2, 3]], mode="inner", fill="not_fill")
    assert (rows.times.tolist(), rows.left_out, rows.filled.sum()) == ([0, 2 * SECOND], 1, 0)


def test_missing_values_that_are_not_to_be_filled_are_counted_by_variable() -> None:
    with pytest.raises(
        MissingValues,
        match=r"here: of 3 rows values \(NULL or NaN\) are missing of a in 2, b in 1; first 1970-01-01 00:00:01.*fill",
    ):
        run([0, 1, 2], [[1, NAN, NAN], [1, 2, NAN]], fill="not_fill")


def test_a_variable_without_any_value_is_named() -> None:
    with pytest.raises(MissingValues, match="b has no value at all: leave it out of `variables`"):
        run([0, 1, 2], [[1, 2, 3], [NAN, NAN, NAN]])


def test_duplicate_timestamps_are_shown() -> None:
    with pytest.raises(DuplicateTimestamps, match=r"here: 2 readings repeat .* \(1970-01-01 00:00:01, 1970.*`by`"):
        run([0, 1, 1, 1], [[1, 2, 3, 4]])


def test_infinite_values_are_shown() -> None:
    with pytest.raises(InfiniteValues, match="here: b is infinite in 1 rows, first 1970-01-01 00:00:02"):
        run([0, 1, 2], [[1, 2, 3], [1, 2, float("inf")]])


def test_a_gap_that_is_too_large_is_an_error_or_left_out() -> None:
    seconds, column = [0, 1, 2, 60, 61, 200], [1.0, 2, 3, 4, 5, 6]
    with pytest.raises(GapTooLarge) as caught:
        run(seconds, [column], max_gap=10 * SECOND)
    assert str(caught.value).startswith(
        "here: a has no reading for 139s, from 1970-01-01 00:01:01 to 1970-01-01 00:03:20; `max_gap` allows 10s. 1 more"
    )
    assert (caught.value.variable, caught.value.count) == ("a", 2)
    rows = run(seconds, [column], every=SECOND, max_gap=10 * SECOND, gaps="leave_out")
    assert rows.times.tolist() == [s * SECOND for s in seconds]


def test_one_silent_variable_is_a_gap_of_its_own() -> None:
    columns = [[1.0] * 8, [1.0, 2, NAN, NAN, NAN, NAN, 3, 4], [1.0, 2, 3, 4, NAN, NAN, NAN, NAN]]
    with pytest.raises(GapTooLarge, match="here: b has no reading for 5s"):
        run(list(range(8)), columns, max_gap=3 * SECOND)
    rows = run(list(range(8)), columns, max_gap=3 * SECOND, gaps="leave_out")
    assert rows.times.tolist() == [0, SECOND]
    assert rows.left_out == 6


def test_readings_in_between_are_averaged_and_missing_rows_made() -> None:
    rows = run([0, 4, 10, 31], [[1, 3, 5, 8], [1, NAN, 2, 5]], every=10 * SECOND)
    assert rows.times.tolist() == [0, 10 * SECOND, 20 * SECOND, 30 * SECOND]
    assert rows.values.tolist() == [[2, 1], [5, 2], [6.5, 3.5], [8, 5]]
    assert rows.filled.tolist() == [0, 0, 2, 0]


def test_a_grid_much_finer_than_the_readings_is_refused() -> None:
    with pytest.raises(GridTooFine, match="here: every 1s makes 3601 rows of 2 readings: nearly all would be made up"):
        run([0, 3600], [[1, 2]], every=SECOND)


def test_nothing_gives_nothing() -> None:
    assert len(run([], [[]]).times) == 0


readings = st.lists(
    st.tuples(st.integers(0, 400), st.one_of(st.just(NAN), st.floats(-100, 100))), min_size=1, unique_by=lambda r: r[0]
)


@settings(max_examples=200, deadline=None)
@given(readings, st.sampled_from(["linear", "previous", "subsequent"]), st.one_of(st.none(), st.integers(5, 60)))
def test_filling_agrees_with_plain_python(rows: list[tuple[int, float]], fill: Any, gap: int | None) -> None:
    rows = sorted(rows)
    seconds, column = [r[0] for r in rows], [r[1] for r in rows]
    known = [(s, v) for s, v in rows if v == v]
    if not known:
        return
    rules: dict[str, Any] = {"max_gap": gap * SECOND, "gaps": "leave_out"} if gap else {}
    found = run(seconds, [column], fill=fill, **rules)
    expected = {}
    for second, value in rows:
        before = [k for k in known if k[0] <= second][-1:]
        after = [k for k in known if k[0] >= second][:1]
        begin = before[0][0] if before else seconds[0]
        end = after[0][0] if after else seconds[-1]
        if value != value and gap and end - begin > gap:
            continue
        if fill == "previous":
            filled = before[0][1] if before else None
        elif fill == "subsequent":
            filled = after[0][1] if after else None
        elif before and after and begin < end:
            filled = before[0][1] + (after[0][1] - before[0][1]) * (second - begin) / (end - begin)
        else:
            filled = (before or after)[0][1]
        if filled is not None:
            expected[second * SECOND] = filled
    assert found.times.tolist() == list(expected)
    assert found.values[:, 0].tolist() == pytest.approx(list(expected.values()), abs=1e-9)
    assert found.left_out == len(rows) - len(expected)


@settings(max_examples=100, deadline=None)
@given(readings, st.integers(1, 50))
def test_rows_at_an_even_distance_are_even_and_keep_the_means(rows: list[tuple[int, float]], every: int) -> None:
    rows = sorted((s, v) for s, v in rows if v == v)
    if not rows:
        return
    bins = {s // every for s, _ in rows}
    if max(bins) - min(bins) + 1 > 20 * len(bins):
        with pytest.raises(GridTooFine):
            run([r[0] for r in rows], [[r[1] for r in rows]], every=every * SECOND)
        return
    found = run([r[0] for r in rows], [[r[1] for r in rows]], every=every * SECOND)
    assert set(np.diff(found.times)) <= {every * SECOND}
    assert (found.times % (every * SECOND) == 0).all()
    by_bin: dict[int, list[float]] = {}
    for second, value in rows:
        by_bin.setdefault(second // every, []).append(value)
    means = {b * every * SECOND: sum(v) / len(v) for b, v in by_bin.items()}
    values = dict(zip(found.times.tolist(), found.values[:, 0].tolist(), strict=True))
    assert {t: values[t] for t in means} == {t: pytest.approx(m, abs=1e-9) for t, m in means.items()}
    assert found.filled.sum() == len(values) - len(means)


@given(st.integers(1, 10**6), st.sampled_from(["ms", "s", "min", "h", "d"]))
def test_durations_are_read_as_they_are_written(number: int, unit: str) -> None:
    length = parse_duration(f"{number}{unit}")
    assert parse_duration(format_duration(length)) == length


@pytest.mark.parametrize("text", ["", "10", "min", "0s", "-5min", "1.5h", "ten min"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration: expected a whole number and ms, s, min, h or d"):
        parse_duration(text)
