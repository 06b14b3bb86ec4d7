"""The answer to one chat request: what the model says, or the error it gets, in the service's shape."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from local_cloud.openai_limits import CHARACTERS_PER_TOKEN, DEPLOYMENTS, count_tokens, digest, fraction
from local_cloud.openai_reading import Reading, find_subject
from local_cloud.openai_schemas import MAX_DEPTH, SchemaRefused, compile_schema

UNANSWERABLE = "[[unanswerable]]"
"""A text with this marker is filtered for good, by whatever way it is asked about."""

_FILTERED = (
    "The response was filtered due to the prompt triggering Azure OpenAI's content management policy. "
    "Please modify your prompt and retry. To learn more about our content filtering policies please read our "
    "documentation: https://go.microsoft.com/fwlink/?linkid=2198766"
)
_REFUSAL = "I'm sorry, but I cannot assist with that request."
_CATEGORIES = ("hate", "self_harm", "sexual", "violence")


@dataclass(frozen=True)
class Answer:
    """A status code with the body that goes with it; tokens are 0 where nothing was generated."""

    status: int
    body: dict[str, Any]
    prompt_tokens: int = 0
    completion_tokens: int = 0


def answer_chat(body: Mapping[str, Any], *, key: str, created: int, fate: str | None = None, batch: str = "") -> Answer:
    """Answer a request for a chat completion; the same request, key and fate always get the same answer.

    Args:
        body: The request: model, messages and, where given, response_format, max_tokens, max_completion_tokens.
        key: Decides by which of its ways a fate comes: the request's custom_id.
        created: When it was made, in seconds since the epoch.
        fate: A behaviour that was ordered: content_filter, refusal or invalid_answers.
        batch: The batch the request is in; the answer's id is made from it and the key.
    """
    try:
        return _answer(body, key=key, created=created, fate=fate, batch=batch)
    except SchemaRefused as error:
        name = _schema_of(body).get("name")
        message = f"Invalid schema for response_format '{name}': {error}"
        return refuse(400, None, message, kind="invalid_request_error", param="response_format")
    except InvalidChat as error:
        return refuse(400, None, str(error), kind="invalid_request_error", param=error.param)


class InvalidChat(Exception):
    """A request that the service does not take; ``param`` is the field."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(message)
        self.param = param


def refuse(status: int, code: str | None, message: str, *, kind: str | None = None, param: str | None = None) -> Answer:
    """An answer that is an error."""
    return Answer(status, {"error": {"message": message, "type": kind, "param": param, "code": code}})


def read_messages(body: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The role and text of every message.

    Raises:
        InvalidChat: there are none, or one is not a message.
    """
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise InvalidChat("messages", "Invalid 'messages': expected an array with at least one message.")
    return [(_role(number, message), _text(number, message)) for number, message in enumerate(messages)]


def _answer(body: Mapping[str, Any], *, key: str, created: int, fate: str | None, batch: str) -> Answer:
    messages = read_messages(body)
    prompt_tokens = sum(count_tokens(len(text)) for _, text in messages)
    asked = next((text for role, text in reversed(messages) if role == "user"), messages[-1][1])
    prompt_is_filtered = fate == "content_filter" and fraction("prompt", key) < 0.5
    if UNANSWERABLE in asked or prompt_is_filtered:
        return _filter_prompt()
    write = _find_writer(body)
    limit = _read_limit(body)
    written = write(Reading(find_subject(asked)))
    content: str | None = written
    reason, refusal = "stop", None
    if fate == "refusal":
        content, refusal = None, _REFUSAL
    elif fate == "content_filter":
        content, reason = None, "content_filter"
    elif fate == "invalid_answers":
        content, reason = _spoil(written, key)
    if content is not None and limit is not None and count_tokens(len(content)) > limit:
        content, reason = content[: limit * CHARACTERS_PER_TOKEN], "length"
    completion_tokens = count_tokens(len(content or refusal or ""))
    model = DEPLOYMENTS.get(str(body.get("model")), str(body.get("model")))
    filters = {name: {"filtered": False, "severity": "safe"} for name in _CATEGORIES}
    if reason == "content_filter":
        filters = {**filters, "violence": {"filtered": True, "severity": "medium"}}
    choice = {
        "content_filter_results": filters,
        "finish_reason": reason,
        "index": 0,
        "logprobs": None,
        "message": {"content": content, "refusal": refusal, "role": "assistant"},
    }
    answer = {
        "choices": [choice],
        "created": created,
        "id": f"chatcmpl-{digest(batch, key)}",
        "model": model,
        "object": "chat.completion",
        "system_fingerprint": "fp_local",
        "usage": {
            "completion_tokens": completion_tokens,
            "prompt_tokens": prompt_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
        },
    }
    return Answer(200, answer, prompt_tokens, completion_tokens)


def _filter_prompt() -> Answer:
    results: dict[str, Any] = {name: {"filtered": False, "severity": "safe"} for name in _CATEGORIES}
    results["violence"] = {"filtered": True, "severity": "medium"}
    error = {
        "message": _FILTERED,
        "type": None,
        "param": "prompt",
        "code": "content_filter",
        "status": 400,
        "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": results},
    }
    return Answer(400, {"error": error})


def _find_writer(body: Mapping[str, Any]) -> Callable[[Reading], str]:
    wanted = body.get("response_format") or {"type": "text"}
    kind = wanted.get("type") if isinstance(wanted, Mapping) else None
    if kind == "text":
        return _describe
    if kind == "json_object":
        return lambda reading: _dump({"sentiment": reading.label, "polarity": round(reading.polarity, 4)})
    if kind != "json_schema":
        raise InvalidChat("response_format", f"Invalid value for 'response_format': {wanted!r}.")
    given = _schema_of(body)
    if not isinstance(given.get("name"), str) or "schema" not in given:
        raise InvalidChat(
            "response_format", "Missing required parameter: 'response_format.json_schema' needs name, schema."
        )
    fill = _find_filler(given["schema"], strict=bool(given.get("strict")))
    return lambda reading: _dump(fill(reading))


def _schema_of(body: Mapping[str, Any]) -> Mapping[str, Any]:
    given = body["response_format"].get("json_schema")
    return given if isinstance(given, Mapping) else {}


def _find_filler(schema: Any, *, strict: bool) -> Callable[[Reading], Any]:
    import orjson

    try:
        key = orjson.dumps(schema)
    except TypeError as error:
        # It writes some 250 levels, and reads more.
        raise SchemaRefused((), f"the schema nests deeper than {MAX_DEPTH} levels.") from error
    # All requests of a batch have the same schema.
    return _compile(key, strict)


@lru_cache(maxsize=200)
def _compile(schema: bytes, strict: bool) -> Callable[[Reading], Any]:
    import orjson

    return compile_schema(orjson.loads(schema), strict=strict)


def _describe(reading: Reading) -> str:
    return f"The text is {reading.label} (polarity {reading.polarity:.2f}, subjectivity {reading.subjectivity:.2f})."


def _spoil(content: str, key: str) -> tuple[str, str]:
    """An answer that does not meet its schema: cut off, or an object without what was asked for."""
    if fraction("cut", key) < 0.5:
        return content[: len(content) // 2], "length"
    return _dump({"answer": content[:20], "note": "The schema was not kept to."}), "stop"


def _read_limit(body: Mapping[str, Any]) -> int | None:
    for name in ("max_completion_tokens", "max_tokens"):
        if (limit := body.get(name)) is not None:
            if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
                raise InvalidChat(name, f"Invalid '{name}': expected an integer of at least 1, not {limit!r}.")
            return limit
    return None


def _role(number: int, message: Any) -> str:
    role = message.get("role") if isinstance(message, Mapping) else None
    if role not in ("system", "developer", "user", "assistant", "tool"):
        raise InvalidChat(f"messages[{number}].role", f"Invalid value for 'messages[{number}].role': {role!r}.")
    return str(role)


def _text(number: int, message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(part, Mapping) for part in content):
        return "\n".join(str(part.get("text", "")) for part in content if part.get("type") == "text")
    param = f"messages[{number}].content"
    raise InvalidChat(param, f"Invalid value for '{param}': expected a string or an array of parts.")


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
