"""Rows go in, and for each a score or the reason why there is none comes out, in the rows' order."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from resources.azure_ml_online import OnlineLimits, TooManyRowErrors, WrongAnswer
from resources.errors import NotFound
from tests.azure_ml_online.conftest import FEATURES, Bench, make_records, predict_here


def test_a_table_is_scored_by_the_model_that_has_the_traffic(bench: Bench) -> None:
    records = make_records(25)
    scored = bench.score(records)
    assert scored.scores.to_pylist() == predict_here(bench.models.champion, records)
    assert (scored.failed, scored.errors.null_count, scored.deployments) == (0, 25, {"champion"})


def test_a_record_is_scored_as_a_row_of_a_table_is(bench: Bench) -> None:
    records = make_records(2)
    scored = bench.score(records.select(FEATURES).to_pylist(), columns=None)
    assert list(scored) == [(score, None) for score in predict_here(bench.models.champion, records)]


def test_a_deployment_that_is_named_answers(bench: Bench) -> None:
    records = make_records(5)
    scored = bench.online.score(records, bench.target(deployment="challenger"), columns=FEATURES)
    assert scored.scores.to_pylist() == predict_here(bench.models.challenger, records)
    assert scored.deployments == {"challenger"}


def test_rows_keep_their_order_whatever_is_answered_first(bench: Bench) -> None:
    records = make_records(300)
    for seconds in (0.4, 0.1, 0.3):
        bench.order(kind="delay", path=bench.path, seconds=seconds)
    scored = bench.score(records, rows_per_request=20, concurrency=6)
    assert scored.scores.to_pylist() == predict_here(bench.models.champion, records)
    assert bench.requests() == 15


def test_nothing_to_score_sends_nothing(bench: Bench) -> None:
    assert len(bench.score(make_records(0))) == 0
    assert len(bench.score([], columns=None)) == 0
    assert bench.requests() == 0


def test_rows_the_model_cannot_take_are_found_one_by_one_and_the_others_scored(bench: Bench) -> None:
    records: list[dict[str, Any]] = make_records(64).select(FEATURES).to_pylist()
    expected = predict_here(bench.models.champion, make_records(64))
    for wrong in (7, 40):
        records[wrong] = {**records[wrong], "spend": "much"}
    scored = bench.score(records, rows_per_request=32)
    assert [row for row, (_, error) in enumerate(scored) if error] == [7, 40]
    assert "spend" in str(scored.errors[7])
    assert "much" in str(scored.errors[7])
    assert [s for s, _ in scored] == [None if row in (7, 40) else score for row, score in enumerate(expected)]
    assert bench.requests() < 30


def test_rows_that_have_no_form_in_json_keep_it_to_themselves(bench: Bench) -> None:
    records: list[dict[str, Any]] = make_records(9).select(FEATURES).to_pylist()
    records[4]["spend"] = object()
    scored = bench.score(records)
    assert [error is None for _, error in scored] == [row != 4 for row in range(9)]
    assert "cannot be sent as JSON" in str(scored.errors[4])


def test_missing_and_infinite_values_are_sent_as_null(bench: Bench) -> None:
    record = {"recency_days": 3, "purchases": Decimal("2.0"), "spend": None}
    expected = bench.score([record]).scores[0].as_py()
    for value in (math.nan, math.inf):
        assert bench.score([{**record, "spend": value}]).scores[0].as_py() == expected
    table = pa.table({"recency_days": [3], "purchases": [Decimal("2.0")], "spend": [math.nan]})
    assert bench.score(table).scores[0].as_py() == expected


def test_a_score_that_is_no_finite_number_is_the_rows_error(bench: Bench) -> None:
    bench.behave("nan")
    scored = bench.score(make_records(3))
    assert [score is None for score, _ in scored] == [True, False, False]
    assert str(scored.errors[0]) == "the model gave no finite number: NaN"


@pytest.mark.parametrize(("behaviour", "found"), [("short", "a list of 2"), ("object", "dict")])
def test_an_answer_without_a_number_a_row_is_not_used(bench: Bench, behaviour: str, found: str) -> None:
    bench.behave(behaviour)
    with pytest.raises(WrongAnswer, match=f"answered {found}.*expected a JSON list of 3 numbers"):
        bench.score(make_records(3))


def test_more_errors_than_may_be_end_the_call_early(bench: Bench) -> None:
    records = make_records(2000)
    bench.behave("refuse", -1, times=None)
    with pytest.raises(TooManyRowErrors) as raised:
        bench.online.score(
            records, bench.target(), columns=FEATURES, max_errors=3, limits=OnlineLimits(rows_per_request=100)
        )
    assert (raised.value.found, raised.value.allowed, len(raised.value.first)) == (4, 3, 4)
    assert "above -1" in str(raised.value)
    assert bench.requests() < 200


def test_a_column_that_is_not_there_is_named_before_anything_is_sent(bench: Bench) -> None:
    with pytest.raises(NotFound, match=r"no column 'spendings'.*Did you mean 'spend'"):
        bench.score(make_records(3), columns=["spendings"])
    assert bench.requests() == 0


def test_a_column_the_model_needs_and_does_not_get_is_every_rows_error(bench: Bench) -> None:
    scored = bench.score(make_records(2), columns=["spend"])
    assert scored.failed == 2
    assert "missing inputs ['recency_days', 'purchases']" in str(scored.errors[1])


def test_any_number_of_rows_streams_through(bench: Bench) -> None:
    batches = [make_records(rows, seed=rows + 1).to_batches() for rows in (700, 0, 1, 40, 950)]
    flat = [batch for one in batches for batch in one] + make_records(0).to_batches()
    asked = []

    def read() -> Any:
        for batch in flat:
            asked.append(batch)
            yield batch

    limits = OnlineLimits(rows_per_request=50, concurrency=3)
    seen = []
    for batch, scored in bench.online.score_batches(read(), bench.target(), columns=FEATURES, limits=limits):
        table = pa.Table.from_batches([batch])
        assert scored.scores.to_pylist() == predict_here(bench.models.champion, table) if len(batch) else True
        assert len(scored) == len(batch)
        seen.append(batch)
        assert len(asked) - len(seen) <= 2 * limits.concurrency
    assert seen == flat


def test_a_caller_that_stops_asking_has_nothing_more_sent(bench: Bench) -> None:
    batches = [make_records(10, seed=seed).to_batches()[0] for seed in range(400)]
    limits = OnlineLimits(rows_per_request=10, concurrency=2)
    answers = bench.online.score_batches(iter(batches), bench.target(), columns=FEATURES, limits=limits)
    next(answers)
    answers.close()
    assert bench.requests() < 20
