"""Reading a line of a batch's output or error file: a usable answer, a rejection with its reason, or nothing yet.

| what came | code | asked again |
|---|---|---|
| an answer that obeys the schema | | no |
| the prompt, or the answer, was filtered | content_filter | never |
| another 4xx: the request itself is wrong | http_4xx | never |
| 408, 409, 429, 5xx, or an error without an answer | http_429, http_500, its code ... | up to row_tries |
| an answer that was cut off at max_output_tokens | length | up to row_tries |
| a refusal | refusal | up to row_tries |
| no JSON, or not as the schema says | not_json, schema | up to row_tries |
| no content, another finish_reason | no_content, its word | up to row_tries |
| nothing: the batch expired or was cancelled before | expired, cancelled, missing | up to row_misses, not a try |

Sources: Microsoft, "Azure OpenAI batch" (output and error files), "Content filtering", "Structured outputs".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Outcome = Literal["ok", "rejected", "missing"]

_NEVER_ASKED = frozenset({"batch_expired", "batch_cancelled", "batch_canceled"})
_WORTH_ASKING_AGAIN = frozenset({408, 409, 425, 429})
_REASON_CHARACTERS = 500


class BrokenLine(Exception):
    """A line that is no line of a batch's output: the file did not come whole."""


@dataclass(frozen=True)
class Answer:
    """What came of one request.

    Attributes:
        custom_id: of the request.
        outcome: ok, rejected, or missing: it was never answered.
        code: why not, in one word of the table above; None for ok.
        reason: the same for people.
        again: whether asking again may help.
        content: the answer's JSON, as it came; None unless ok.
        model: the model that answered.
        input_tokens, output_tokens: what it is billed for.
    """

    custom_id: str
    outcome: Outcome
    code: str | None = None
    reason: str | None = None
    again: bool = False
    content: str | None = None
    model: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0


class AnswerReader:
    """Reads lines against the schema that answers have to obey."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        import jsonschema_rs

        self._validator = jsonschema_rs.validator_for(dict(schema))

    def read(self, line: bytes) -> Answer:
        """The answer in a line.

        Raises:
            BrokenLine: it is not whole.
        """
        import orjson

        try:
            record = orjson.loads(line)
            custom_id = record["custom_id"]
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise BrokenLine(f"{type(error).__name__} in a line of {len(line)} bytes") from None
        try:
            return self._read_response(custom_id, record)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            # One odd answer must not keep the others of its batch, and all other batches, from being settled.
            return _reject(str(custom_id), "unreadable", f"the answer has an unexpected form: {error!r}")

    def _read_response(self, custom_id: str, record: Mapping[str, Any]) -> Answer:
        response = record.get("response")
        if not isinstance(response, dict):
            return _read_error(custom_id, record.get("error"))
        status, body = response.get("status_code"), response.get("body")
        body = body if isinstance(body, dict) else {}
        if status != 200:
            return _read_status(custom_id, status, body)
        usage = body.get("usage") or {}
        spent = {
            "model": body.get("model"),
            "input_tokens": int(usage.get("prompt_tokens") or 0),
            "output_tokens": int(usage.get("completion_tokens") or 0),
        }
        return self._read_choice(custom_id, (body.get("choices") or [{}])[0], spent)

    def _read_choice(self, custom_id: str, choice: Mapping[str, Any], spent: Mapping[str, Any]) -> Answer:
        message = choice.get("message") or {}
        content, finish = message.get("content"), choice.get("finish_reason")
        if finish == "content_filter":
            return _reject(custom_id, "content_filter", "the answer was filtered", again=False, **spent)
        if message.get("refusal"):
            return _reject(custom_id, "refusal", str(message["refusal"]), **spent)
        if finish == "length":
            return _reject(custom_id, "length", "the answer was cut off at max_output_tokens", **spent)
        if not isinstance(content, str) or not content:
            return _reject(custom_id, "no_content", f"the answer has no content (finish_reason {finish})", **spent)
        if finish != "stop":
            return _reject(custom_id, str(finish), f"the answer ended with finish_reason {finish}", **spent)
        problem = self._find_problem(content)
        if problem is not None:
            return _reject(custom_id, *problem, **spent)
        return Answer(custom_id, "ok", content=content, **spent)

    def _find_problem(self, content: str) -> tuple[str, str] | None:
        import orjson

        try:
            value = orjson.loads(content)
        except orjson.JSONDecodeError as error:
            return "not_json", f"the answer is no JSON: {error}"
        problem = next(self._validator.iter_errors(value), None)
        if problem is not None:
            where = "/".join(map(str, problem.instance_path)) or "the answer"
            return "schema", f"{where}: {problem.message}"
        if not _fits(value):
            return "schema", "the answer holds a number beyond 64 bits"
        return None


def _fits(value: Any) -> bool:
    """Whether columns of 64 bits hold every number; orjson reads whole numbers that are larger as floats."""
    if isinstance(value, dict):
        return all(map(_fits, value.values()))
    if isinstance(value, list):
        return all(map(_fits, value))
    return not isinstance(value, (int, float)) or -(2**63) <= value < 2**63


def _read_error(custom_id: str, error: Any) -> Answer:
    error = error if isinstance(error, dict) else {}
    code = str(error.get("code") or "no_answer").lower()
    reason = str(error.get("message") or "the service gave neither an answer nor a reason")[:_REASON_CHARACTERS]
    if code in _NEVER_ASKED:
        word = "expired" if code == "batch_expired" else "cancelled"
        return Answer(custom_id, "missing", word, reason, again=True)
    return _reject(custom_id, code, reason, again=code != "content_filter")


def _read_status(custom_id: str, status: Any, body: Mapping[str, Any]) -> Answer:
    error = body.get("error")
    error = error if isinstance(error, dict) else {}
    inner = error.get("innererror")
    filtered = error.get("code") == "content_filter" or (
        isinstance(inner, dict) and inner.get("code") == "ResponsibleAIPolicyViolation"
    )
    reason = f"status {status}: {error.get('message') or error.get('code') or 'no message'}"
    if filtered:
        return _reject(custom_id, "content_filter", reason, again=False)
    number = status if isinstance(status, int) else 0
    ours = 400 <= number < 500 and number not in _WORTH_ASKING_AGAIN
    return _reject(custom_id, f"http_{status}", reason, again=not ours)


def _reject(custom_id: str, code: str, reason: str, *, again: bool = True, **spent: Any) -> Answer:
    return Answer(custom_id, "rejected", code, reason[:_REASON_CHARACTERS], again, **spent)
