"""Micro-batches: under both limits, in order, every row once; values arrive as they were, or as null."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resources.azure_ml_online_pace import Pace, Stopped, choose_delay, read_retry_after
from resources.azure_ml_online_rows import (
    Answers,
    NotJson,
    Rows,
    WrongAnswer,
    collect_scored,
    encode_rows,
    parse_answer,
    split_rows,
    take_rows,
)

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(max_size=60),
    st.decimals(allow_nan=True, allow_infinity=True),
    st.dates(),
    st.datetimes(timezones=st.just(UTC)),
)


def make_rows(lines: list[list[Any]], first: int = 0) -> Rows:
    width = max((len(line) for line in lines), default=1)
    columns = tuple(f"c{number}" for number in range(width))
    return Rows(columns, [[*line, *[None] * (width - len(line))] for line in lines], first)


def as_sent(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Decimal):
        return value if value.is_finite() else None
    if isinstance(value, datetime):
        return value
    return value.isoformat() if isinstance(value, date) else value


@given(
    st.lists(st.lists(VALUES, min_size=1, max_size=4), min_size=1, max_size=60),
    st.integers(1, 3000),
    st.integers(0, 2**40),
)
def test_parts_hold_every_row_once_in_order_and_fit(lines: list[list[Any]], limit: int, first: int) -> None:
    rows = make_rows(lines, first)
    parts = list(split_rows(rows, limit))
    assert [row for part, _ in parts for row in part.data] == rows.data or _same(parts, rows)
    expected = first
    for part, body in parts:
        assert part.first == expected
        expected += len(part)
        assert isinstance(body, bytes)
        assert len(part) == 1 or len(body) <= limit
        sent = json.loads(body)["input_data"]
        assert sent["index"] == list(range(part.first, part.first + len(part)))
        assert len(sent["data"]) == len(part)
    assert expected == first + len(rows)


def _same(parts: list[tuple[Rows, Any]], rows: Rows) -> bool:
    # NaN is not equal to itself.
    return repr([row for part, _ in parts for row in part.data]) == repr(rows.data)


@given(st.lists(VALUES, min_size=1, max_size=6))
def test_values_arrive_as_they_were(values: list[Any]) -> None:
    sent = json.loads(encode_rows(make_rows([values])), parse_float=Decimal)["input_data"]["data"][0]
    for value, found in zip(values, sent, strict=True):
        wanted = as_sent(value)
        if isinstance(wanted, float):
            assert float(found) == wanted
        elif isinstance(wanted, datetime):
            assert datetime.fromisoformat(found) == wanted
        else:
            assert found == wanted


def test_a_decimal_keeps_all_its_digits_and_bytes_become_base64() -> None:
    body = encode_rows(make_rows([[Decimal("12345678901234567890.123456789"), b"\x00\xff", 2**53 + 1]]))
    assert b'[[12345678901234567890.123456789,"AP8=",9007199254740993]]' in body


def test_arrow_times_and_numbers_are_sent() -> None:
    moment = datetime(2026, 3, 10, 9, 30, tzinfo=UTC)
    batch = pa.record_batch(
        {
            "ns": pa.array([moment], pa.timestamp("ns", tz="UTC")),
            "us": pa.array([moment], pa.timestamp("us", tz="UTC")),
            "small": pa.array([1.5], pa.float32()),
            "d": pa.array([Decimal("1.10")]),
        }
    )
    sent = json.loads(encode_rows(take_rows(batch, ("ns", "us", "small", "d"), 0, 1, 7)))["input_data"]
    assert sent["index"] == [7]
    times = [datetime.fromisoformat(text) for text in sent["data"][0][:2]]
    assert (times, sent["data"][0][2:]) == ([moment, moment], [1.5, 1.1])


def test_rows_without_a_json_form_are_parted_from_the_others() -> None:
    lines: list[list[Any]] = [[number] for number in range(10)]
    lines[3], lines[8] = [2**80], [object()]
    parts = list(split_rows(make_rows(lines), 10_000))
    assert [part.first for part, body in parts if isinstance(body, NotJson)] == [3, 8]
    assert [row for part, _ in parts for row in part.data] == lines


@example([2**53 + 1])
@given(st.lists(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)), max_size=30))
def test_an_answer_gives_each_row_a_score_or_a_reason(values: list[Any]) -> None:
    answers = parse_answer(json.dumps(values).encode(), len(values), "uri")
    for value, score, error in zip(values, answers.scores, answers.errors, strict=True):
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        try:
            fine = is_number and math.isfinite(value)
        except OverflowError:
            fine = False
        # A whole number above 2**53 has no float of its own: the score is the nearest one.
        assert (score == float(value) and error is None) if fine else (score is None and error is not None)


@pytest.mark.parametrize("content", [b"", b"[1, 2", b"\xff", b"nan"])
def test_an_answer_that_is_no_json_is_no_answer(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_answer(content, 2, "uri")


@pytest.mark.parametrize("content", [b"{}", b"3", b'"[1, 2]"', b"[1]", b"[1, 2, 3]"])
def test_an_answer_of_another_shape_is_refused(content: bytes) -> None:
    with pytest.raises(WrongAnswer, match="a JSON list of 2 numbers"):
        parse_answer(content, 2, "uri")


def test_no_answers_are_an_empty_result() -> None:
    scored = collect_scored([Answers(), Answers()])
    assert (len(scored), scored.scores.type, scored.errors.type) == (0, pa.float64(), pa.string())


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("3", 3.0), ("0.5", 0.5), ("-2", 0.0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0), ("soon", None), ("", None)],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(header: str, seconds: float | None) -> None:
    assert read_retry_after(header) == seconds


def test_the_pace_halves_at_a_burst_of_refusals_and_grows_again_while_it_goes_well() -> None:
    pace = Pace(8)
    pace.throttle(60)
    pace.throttle(60)
    assert (pace.limit, pace.throttled) == (4, 2)
    for _ in range(8):
        pace.succeed()
    assert pace.limit == 5


def test_a_stopped_pace_lets_nobody_through() -> None:
    pace, failure = Pace(1), ValueError("first")
    pace.stop(failure)
    pace.stop(Stopped())
    with pytest.raises(Stopped), pace.slot():
        pass
    with pytest.raises(Stopped):
        pace.sleep(60)
    assert pace.failure is failure


@given(st.integers(0, 10_000))
def test_delays_grow_and_stay_bounded(tries: int) -> None:
    assert 0 < choose_delay(tries) <= 30
