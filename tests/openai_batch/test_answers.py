"""What a line of a batch's output means: the table of reasons, and which of them are asked again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from resources.openai_answers import AnswerReader, BrokenLine

SCHEMA = {
    "type": "object",
    "properties": {"mood": {"type": "string", "enum": ["good", "bad"]}, "stars": {"type": "integer"}},
    "required": ["mood", "stars"],
    "additionalProperties": False,
}
GOOD = '{"mood":"good","stars":5}'


@pytest.fixture(scope="module")
def reader() -> AnswerReader:
    return AnswerReader(SCHEMA)


def answer(content: str | None = GOOD, finish: str = "stop", status: int = 200, **message: Any) -> bytes:
    choice = {"finish_reason": finish, "message": {"content": content, **message}}
    usage = {"prompt_tokens": 7, "completion_tokens": 3}
    body = {"choices": [choice], "model": "gpt-4o-mini-2024-07-18", "usage": usage}
    return json.dumps({"custom_id": "a", "response": {"status_code": status, "body": body}, "error": None}).encode()


def failure(status: int, code: str | None, **more: Any) -> bytes:
    body = {"error": {"code": code, "message": "no", **more}}
    return json.dumps({"custom_id": "a", "response": {"status_code": status, "body": body}, "error": None}).encode()


def error(code: str) -> bytes:
    return json.dumps({"custom_id": "a", "response": None, "error": {"code": code, "message": "no"}}).encode()


def test_an_answer_that_obeys_the_schema_is_kept_with_its_tokens(reader: AnswerReader) -> None:
    found = reader.read(answer())
    assert (found.outcome, found.content, found.input_tokens, found.output_tokens) == ("ok", GOOD, 7, 3)
    assert found.model == "gpt-4o-mini-2024-07-18"


@pytest.mark.parametrize(
    ("line", "code", "again"),
    [
        (answer(None, "content_filter"), "content_filter", False),
        (answer('{"mood":"go', "content_filter"), "content_filter", False),
        (failure(400, "content_filter"), "content_filter", False),
        (failure(400, None, innererror={"code": "ResponsibleAIPolicyViolation"}), "content_filter", False),
        (failure(400, "invalid_request"), "http_400", False),
        (failure(404, "DeploymentNotFound"), "http_404", False),
        (failure(408, None), "http_408", True),
        (failure(429, "429"), "http_429", True),
        (failure(500, "server_error"), "http_500", True),
        (failure(503, None), "http_503", True),
        (error("server_error"), "server_error", True),
        (answer('{"mood":"good","st', "length"), "length", True),
        (answer(None, refusal="I'd rather not."), "refusal", True),
        (answer(None), "no_content", True),
        (answer(""), "no_content", True),
        (answer(GOOD, "tool_calls"), "tool_calls", True),
        (answer("good, five stars"), "not_json", True),
        (answer('{"mood":"fine","stars":5}'), "schema", True),
        (answer('{"mood":"good"}'), "schema", True),
        (answer('{"mood":"good","stars":99999999999999999999999}'), "schema", True),
    ],
)
def test_what_cannot_be_used_is_rejected_with_its_reason(
    reader: AnswerReader, line: bytes, code: str, again: bool
) -> None:
    found = reader.read(line)
    assert (found.outcome, found.code, found.again, found.content) == ("rejected", code, again, None)
    assert found.reason


@pytest.mark.parametrize(
    ("code", "word"), [("batch_expired", "expired"), ("batch_cancelled", "cancelled"), ("batch_canceled", "cancelled")]
)
def test_a_row_whose_turn_never_came_is_missing_and_asked_again(reader: AnswerReader, code: str, word: str) -> None:
    found = reader.read(error(code))
    assert (found.outcome, found.code, found.again) == ("missing", word, True)


def test_tokens_of_an_unusable_answer_are_counted(reader: AnswerReader) -> None:
    assert reader.read(answer("no json")).output_tokens == 3


@pytest.mark.parametrize("line", [answer()[:-5], b"null", b'{"response":null}', b"[1]"])
def test_half_a_line_is_none(reader: AnswerReader, line: bytes) -> None:
    with pytest.raises(BrokenLine):
        reader.read(line)
