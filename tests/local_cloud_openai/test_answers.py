from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local_cloud.openai_answers import Answer, answer_chat
from local_cloud.openai_reading import Reading, find_subject

from .conftest import DEPLOYMENT, SCHEMA, format_of

GOOD, BAD = "Excellent service, I love it!", "Horrible. The parcel was broken and the staff were rude."
NAMES = st.sampled_from(
    ["sentiment", "rating", "score", "topics", "summary", "urgent", "confidence", "language", "is_complaint", "x"]
)
WORDS = ["positive", "negative", "neutral", "mixed", "low", "high", "delivery", "price", "other", "very good"]
TEXTS = st.sampled_from([GOOD, BAD, "", "ok", "Arrived on Tuesday.", "Great! Awful! 3 of 5."]) | st.text(max_size=60)
ENUMS = st.lists(st.sampled_from(WORDS) | st.integers(0, 9) | st.none(), min_size=1, unique_by=repr)


@st.composite
def _numbers(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(["number", "integer"]))
    schema: dict[str, Any] = {"type": kind}
    low = draw(st.none() | st.integers(-20, 20))
    high = draw(st.none() | st.integers(21, 60))
    if low is not None:
        schema[draw(st.sampled_from(["minimum", "exclusiveMinimum"]))] = low
    if high is not None:
        schema[draw(st.sampled_from(["maximum", "exclusiveMaximum"]))] = high + 10
    if draw(st.booleans()):
        schema["multipleOf"] = draw(st.sampled_from([1, 2, 5] if kind == "integer" else [1, 0.5, 0.1, 0.25]))
    return schema


@st.composite
def _texts(draw: st.DrawFn) -> dict[str, Any]:
    shortest = draw(st.integers(0, 20))
    return {"type": "string", "minLength": shortest, "maxLength": shortest + draw(st.integers(0, 40))}


def _objects(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(NAMES, inner, max_size=4).map(
        lambda properties: {
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }
    )


def _arrays(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    bounds = st.fixed_dictionaries({}, optional={"minItems": st.integers(0, 3), "maxItems": st.integers(3, 5)})
    return st.builds(lambda items, limits: {"type": "array", "items": items, **limits}, inner, bounds)


VALUES = st.recursive(
    st.one_of(
        _numbers(),
        _texts(),
        st.just({"type": "boolean"}),
        st.just({"type": ["string", "null"]}),
        st.just({"type": "null"}),
        ENUMS.map(lambda values: {"enum": values}),
        st.just({"const": "always"}),
    ),
    lambda inner: st.one_of(
        _objects(inner), _arrays(inner), st.lists(inner, min_size=1, max_size=2).map(lambda some: {"anyOf": some})
    ),
    max_leaves=6,
)


def _ask(text: str, schema: dict[str, Any], **body: Any) -> Answer:
    messages = [{"role": "system", "content": "Read."}, {"role": "user", "content": text}]
    given = {"model": DEPLOYMENT, "messages": messages, "response_format": format_of(schema), **body}
    return answer_chat(given, key="k", created=1)


def _content(answer: Answer) -> Any:
    assert answer.status == 200, answer.body
    return json.loads(answer.body["choices"][0]["message"]["content"])


def _object(**properties: Any) -> dict[str, Any]:
    required = list(properties)
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


@settings(max_examples=150, deadline=None)
@given(schema=_objects(VALUES), text=TEXTS)
def test_every_answer_meets_its_schema(schema: dict[str, Any], text: str) -> None:
    jsonschema_rs.validate(schema, _content(_ask(text, schema)))


@pytest.mark.parametrize(
    ("properties", "good", "bad"),
    [
        ({"sentiment": {"enum": ["POSITIVE", "NEUTRAL", "NEGATIVE"]}}, "POSITIVE", "NEGATIVE"),
        (
            {"mood": {"enum": ["very negative", "negative", "positive", "very positive"]}},
            "very positive",
            "negative",
        ),
        ({"urgency": {"enum": ["low", "medium", "high"]}}, "low", "high"),
        ({"rating": {"type": "integer", "minimum": 1, "maximum": 5}}, 5, 1),
        ({"stars": {"enum": [1, 2, 3, 4, 5]}}, 5, 1),
        ({"is_complaint": {"type": "boolean"}}, False, True),
        ({"would_recommend": {"type": "boolean"}}, True, False),
        ({"topic": {"enum": ["parcels", "staff_rudeness", "service_quality", "other"]}}, "service_quality", "parcels"),
    ],
)
def test_values_are_what_their_names_say(properties: dict[str, Any], good: Any, bad: Any) -> None:
    name = next(iter(properties))
    assert _content(_ask(GOOD, _object(**properties)))[name] == good
    assert _content(_ask(BAD, _object(**properties)))[name] == bad


def test_arrays_hold_the_words_or_sentences_of_the_text() -> None:
    sentence = _object(sentiment={"enum": ["positive", "negative"]}, quote={"type": "string"})
    schema = _object(
        keywords={"type": "array", "items": {"type": "string"}, "maxItems": 2},
        parts={"type": "array", "items": sentence},
    )
    found = _content(_ask("The shoes are excellent. The parcel was horrible.", schema))
    assert found["keywords"] == ["shoes", "excellent"]
    assert [part["sentiment"] for part in found["parts"]] == ["positive", "negative"]
    assert found["parts"][1]["quote"] == "The parcel was horrible."


def test_references_are_followed_also_to_themselves() -> None:
    node = _object(value={"type": "string"}, next={"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]})
    schema = {**_object(first={"$ref": "#/$defs/node"}), "$defs": {"node": node}}
    jsonschema_rs.validate(schema, _content(_ask(GOOD, schema)))


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ({"type": "string"}, "type"),
        (_object(day={"type": "string", "format": "date"}), "'format' is not permitted"),
        (_object(code={"type": "string", "pattern": "^A"}), "'pattern' is not permitted"),
        (_object(x={"oneOf": [{"type": "null"}]}), "'oneOf' is not permitted"),
        ({**_object(x={"type": "null"}), "additionalProperties": True}, "'additionalProperties' is required"),
        ({**_object(x={"type": "null"}), "required": []}, "'required' is required"),
        (_object(x={"type": "text"}), "'type' key"),
        (_object(x={}), "'type' key"),
        (_object(x={"type": "array"}), "missing items"),
        (_object(x={"enum": []}), "too short"),
        (_object(x={"$ref": "#/$defs/none"}), "cannot be resolved"),
        (_object(x={"type": "integer", "minimum": 2, "maximum": 1}), "no integer from 2 to 1"),
        (_object(x={"type": "integer", "minimum": 7, "maximum": 8, "multipleOf": 5}), "no multiple of 5"),
        ({**_object(x={"$ref": "#/$defs/a"}), "$defs": {"a": {"$ref": "#/$defs/a"}}}, "nests deeper"),
    ],
)
def test_a_schema_that_cannot_be_kept_is_refused(schema: dict[str, Any], problem: str) -> None:
    answer = _ask(GOOD, schema)
    assert answer.status == 400
    assert answer.body["error"]["message"].startswith("Invalid schema for response_format 'answer':")
    assert problem in answer.body["error"]["message"]


def test_a_loose_schema_is_taken_where_it_is_not_strict() -> None:
    schema = {"type": "object", "properties": {"sentiment": {"enum": ["positive", "negative"]}}}
    assert _content(_ask(GOOD, schema, response_format=format_of(schema, strict=False))) == {"sentiment": "positive"}


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_an_answer_is_cut_where_its_tokens_end(name: str) -> None:
    answer = _ask(GOOD, SCHEMA, **{name: 5})
    choice = answer.body["choices"][0]
    assert (choice["finish_reason"], len(choice["message"]["content"]), answer.completion_tokens) == ("length", 20, 5)
    assert _ask(GOOD, SCHEMA, **{name: 500}).body["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": "hello"}, "messages"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
    ],
)
def test_a_bad_request_says_which_field(body: dict[str, Any], param: str) -> None:
    answer = _ask(GOOD, SCHEMA, **body)
    assert (answer.status, answer.body["error"]["param"]) == (400, param)


@pytest.mark.parametrize(
    "prompt",
    [
        "Is it positive or negative?\nReview: Fine shoes",
        'Is it positive or negative?\n"""Fine shoes"""\nAnswer in JSON.',
        "Is it positive or negative? <review>Fine shoes</review> Answer.",
        "Fine shoes",
    ],
)
def test_the_text_is_told_from_the_instructions(prompt: str) -> None:
    assert find_subject(prompt) == "Fine shoes"


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=200))
def test_any_text_can_be_read(text: str) -> None:
    reading = Reading(text)
    assert -1 <= reading.polarity <= 1
    assert 0 <= reading.subjectivity <= 1
    assert reading.label in ("positive", "neutral", "negative", "mixed")
