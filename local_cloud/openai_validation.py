"""What the service checks of a batch's input file before it answers anything, with its error codes.

Codes and meanings: Microsoft, "Getting started with Azure OpenAI batch deployments", section "Batch errors".
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

from local_cloud.openai_answers import InvalidChat, read_messages
from local_cloud.openai_limits import DEPLOYMENTS, MAX_CUSTOM_ID, MAX_REQUESTS, digest, normalise_url

MAX_ERRORS = 50
"""How many errors are reported; one is enough for the batch to fail."""


@dataclass
class Inspection:
    """What was found in an input file: its errors, how many requests, and the one deployment they name."""

    total: int = 0
    model: str | None = None
    errors: list[dict[str, Any]] = field(default_factory=list)

    def refuse(self, code: str, message: str, line: int | None, param: str | None = None) -> None:
        """Note an error; ``line`` counts from 1."""
        if len(self.errors) < MAX_ERRORS:
            self.errors.append({"code": code, "message": message, "line": line, "param": param})


class InputLines:
    """The lines of an input file, each within reach without holding the file in memory."""

    def __init__(self, path: Path) -> None:
        """Open a file.

        Raises:
            ValueError: it has no bytes at all.
        """
        with path.open("rb") as file:
            self._map = mmap(file.fileno(), 0, access=ACCESS_READ)
        self._starts = array("Q", [0])
        end = len(self._map)
        start = self._map.find(b"\n") + 1
        while 0 < start < end:
            self._starts.append(start)
            start = self._map.find(b"\n", start) + 1

    def __len__(self) -> int:
        """How many lines; an end of line at the end of the file begins no line."""
        return len(self._starts)

    def __getitem__(self, number: int) -> bytes:
        """A line, counted from 0, with its end of line."""
        after = self._starts[number + 1] if number + 1 < len(self._starts) else len(self._map)
        return self._map[self._starts[number] : after]


def inspect_file(path: Path, endpoint: str) -> Inspection:
    """Check an input file against everything the service demands before a batch may start."""
    found = Inspection()
    if not path.stat().st_size or (len(lines := InputLines(path)) == 1 and not lines[0].strip()):
        found.refuse("empty_file", "The batch input file is empty. Please ensure that it has requests.", None)
        return found
    found.total = len(lines)
    if found.total > MAX_REQUESTS:
        message = f"The batch input file has {found.total} requests, which is more than the limit of {MAX_REQUESTS}."
        found.refuse("too_many_tasks", message, None)
        return found
    seen: set[str] = set()
    for number in range(found.total):
        if len(found.errors) >= MAX_ERRORS:
            break
        _inspect_line(found, number + 1, lines[number], endpoint, seen)
    return found


def _inspect_line(found: Inspection, number: int, raw: bytes, endpoint: str, seen: set[str]) -> None:
    import orjson

    try:
        line = orjson.loads(raw)
    except ValueError as error:
        found.refuse("invalid_json_line", f"This line is not parseable as valid JSON: {error}", number)
        return
    if problem := _find_problem(line):
        found.refuse("invalid_request", problem[1], number, problem[0])
        return
    custom_id, body = line["custom_id"], line["body"]
    key = digest(custom_id)
    if key in seen:
        message = f"The custom_id '{custom_id}' is not unique: another request of this file has it."
        found.refuse("duplicate_custom_id", message, number, "custom_id")
    seen.add(key)
    if normalise_url(line["url"]) != normalise_url(endpoint):
        message = f"The URL '{line['url']}' does not match the endpoint of the batch, '{endpoint}'."
        found.refuse("url_mismatch", message, number, "url")
    model = body["model"]
    if found.model is None and model not in DEPLOYMENTS:
        message = f"The provided model deployment '{model}' could not be found. Deployed here: {sorted(DEPLOYMENTS)}."
        found.refuse("model_not_found", message, number, "body.model")
    elif found.model is not None and model != found.model:
        message = f"The model '{model}' is not the model of the first request, '{found.model}'; a file takes one."
        found.refuse("model_mismatch", message, number, "body.model")
    found.model = found.model or model


def _find_problem(line: Any) -> tuple[str | None, str] | None:
    """The first field of a request that is not as it must be, and what is wrong with it."""
    if not isinstance(line, Mapping):
        return None, "Invalid request: expected an object."
    custom_id, body = line.get("custom_id"), line.get("body")
    if not isinstance(custom_id, str) or not 0 < len(custom_id) <= MAX_CUSTOM_ID:
        return "custom_id", f"Missing or invalid 'custom_id': expected a string of 1 to {MAX_CUSTOM_ID} characters."
    if line.get("method") != "POST":
        return "method", f"Missing or invalid 'method': expected POST, not {line.get('method')!r}."
    if not isinstance(line.get("url"), str):
        return "url", "Missing required field: 'url'."
    if not isinstance(body, Mapping):
        return "body", "Missing required field: 'body'."
    if not isinstance(body.get("model"), str) or not body["model"]:
        return "body.model", "Missing required field: 'body.model'."
    if body.get("stream"):
        return "body.stream", "Streaming is not supported in batches."
    try:
        read_messages(body)
    except InvalidChat as error:
        return f"body.{error.param}", str(error)
    return None
