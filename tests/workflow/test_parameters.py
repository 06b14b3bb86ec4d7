"""Parameters that cannot be are refused before anything is launched; what can be arrives as it was given."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adfml_assets.errors import InvalidMode
from adfml_assets.workflow_parameters import InvalidParameter, WorkflowParameters, parse_parameters
from tests.workflow.conftest import Deployment

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize("mode", ["x", "", "Train", "train,score"])
def test_another_mode_is_refused_as_the_pipeline_refuses_it(deployment: Deployment, mode: str) -> None:
    launched = deployment.launch(mode=mode, model_name="nobody")
    assert launched.failure == f"INVALID_MODE: {mode!r}. Expected: train or score"
    assert deployment.list_backfills() == []


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"mode": "train", "start_date": "2026-02-30"}, "start_date is '2026-02-30'; expected a day as YYYY-MM-DD"),
        ({"mode": "train", "end_date": "tomorrow"}, "end_date is 'tomorrow'; expected a day as YYYY-MM-DD"),
        ({"mode": "score", "snapshot_date": "20260301"}, "expected a day as YYYY-MM-DD: 2026-03-01"),
        ({"mode": "score", "snapshot_date": "2025-12-31"}, "expected a day from 2026-01-01"),
        ({"mode": "score", "snapshot_date": "2999-01-01"}, "(today, UTC). Nothing was launched."),
        ({"mode": "train", "start_date": "2026-03-02", "end_date": "2026-03-01"}, "a day not before start_date"),
        ({"mode": "train", "model_name": "sales", "hyperparameters": "{'a': 1}"}, "expected a JSON object"),
        ({"mode": "train", "model_name": "sales", "hyperparameters": '{"a": NaN}'}, "NaN is no JSON"),
        ({"mode": "train", "model_name": "sales", "hyperparameters": "[1]"}, "expected a JSON object, such as"),
        (
            {"mode": "train", "model_name": "sales", "alias": "champion"},
            "alias is 'champion'; expected none in mode train",
        ),
        ({"mode": "score", "model_name": "sales", "hyperparameters": "{}"}, "expected none in mode score"),
        (
            {"mode": "score", "model_name": "sales", "alias": "a", "model_version": "2"},
            "none where model_version is given",
        ),
        ({"mode": "train", "hyperparameters": "{}"}, "which is about one model: one of: churn, sales"),
        ({"mode": "score", "model_version": "2"}, "model_name is None; expected as well as model_version"),
        ({"mode": "score", "model_name": "sale"}, "expected one of: churn, sales (did you mean 'sales'?)"),
        ({"mode": "train", "source_database": "shops"}, "expected one of: crm, shop (did you mean 'shop'?)"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_launched(
    deployment: Deployment, parameters: dict[str, Any], said: str
) -> None:
    launched = deployment.launch(**parameters)
    assert said in launched.failure
    assert deployment.list_backfills() == []


@settings(max_examples=30)
@given(hyperparameters=st.dictionaries(st.text(), VALUES, max_size=4))
def test_any_json_object_is_handed_on_as_it_was_written(hyperparameters: dict[str, Any]) -> None:
    text = json.dumps(hyperparameters)
    assert parse_parameters("train", hyperparameters=text).hyperparameters == text


@settings(max_examples=30)
@given(text=st.text(min_size=1) | st.dates().map(str) | VALUES.map(json.dumps))
def test_a_text_is_a_day_or_is_refused(text: str) -> None:
    given_text = text.strip()
    if not given_text or re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", given_text):
        assert parse_parameters("score", snapshot_date=text).snapshot_date == (given_text or None)
    else:
        with pytest.raises(InvalidParameter) as refused:
            parse_parameters("score", snapshot_date=text)
        assert (refused.value.parameter, refused.value.found) == ("snapshot_date", given_text)


def test_what_is_blank_was_not_given() -> None:
    assert parse_parameters("score", alias=" ", model_version="", start_date=None) == WorkflowParameters(mode="score")


def test_a_mode_is_checked_before_the_rest() -> None:
    with pytest.raises(InvalidMode):
        parse_parameters("both", start_date="x")
