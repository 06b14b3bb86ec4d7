"""What requests to the OpenAI service say, read and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from local_cloud.errors import ApiError
from local_cloud.exchanges import parse_integer, parse_object
from local_cloud.openai_limits import (
    MAX_EXPIRY_SECONDS,
    MAX_METADATA_KEY,
    MAX_METADATA_PAIRS,
    MAX_METADATA_VALUE,
    MIN_EXPIRY_SECONDS,
    normalise_url,
)

ENDPOINT = "/chat/completions"
"""The one endpoint whose requests are answered, with or without ``/v1`` before it."""


@dataclass(frozen=True)
class BatchRequest:
    """A request for a batch; ``output_seconds`` is how long its files are kept, None: until they are deleted."""

    input_file_id: str
    endpoint: str
    metadata: dict[str, str] | None
    output_seconds: int | None


@dataclass(frozen=True)
class Call:
    """One request, authenticated and parsed; ``names`` are the parts of its path."""

    method: str
    path: str
    names: Mapping[str, Any]
    query: Mapping[str, str]
    body: Mapping[str, Any]


def parse_body(raw: bytes) -> dict[str, Any]:
    """A request's JSON body."""
    try:
        return parse_object(raw)
    except ValueError as error:
        raise invalid(f"The body of the request is not a JSON object: {error}") from error


def read_batch_request(body: Mapping[str, Any]) -> BatchRequest:
    """What ``POST batches`` asks for."""
    endpoint, window = body.get("endpoint"), body.get("completion_window")
    if not isinstance(body.get("input_file_id"), str) or not body["input_file_id"]:
        raise invalid("Missing required parameter: 'input_file_id'.")
    if not isinstance(endpoint, str) or normalise_url(endpoint) != ENDPOINT:
        raise invalid(f"Invalid value for 'endpoint': {endpoint!r}. The local cloud answers /v1{ENDPOINT} alone.")
    if window != "24h":
        raise invalid(f"Invalid value for 'completion_window': {window!r}. Supported values are: '24h'.")
    expiry = body.get("output_expires_after")
    if expiry is not None and not isinstance(expiry, Mapping):
        raise invalid("Invalid value for 'output_expires_after': expected an object.")
    seconds = (
        None if expiry is None else read_expiry(expiry.get("anchor"), expiry.get("seconds"), "output_expires_after")
    )
    return BatchRequest(body["input_file_id"], endpoint, _read_metadata(body.get("metadata")), seconds)


def read_expiry(anchor: Any, seconds: Any, name: str) -> int:
    """After how many seconds a file is to expire."""
    if anchor != "created_at":
        raise invalid(f"Invalid value for '{name}.anchor': {anchor!r}. Supported values are: 'created_at'.")
    try:
        found = parse_integer(str(seconds))
    except ValueError:
        raise invalid(f"Invalid value for '{name}.seconds': {seconds!r}. Expected an integer.") from None
    if not MIN_EXPIRY_SECONDS <= found <= MAX_EXPIRY_SECONDS:
        raise invalid(
            f"Invalid value for '{name}.seconds': {found}. "
            f"Expected {MIN_EXPIRY_SECONDS} to {MAX_EXPIRY_SECONDS}, which is 14 to 30 days."
        )
    return found


def read_limit(query: Mapping[str, str], maximum: int, default: int) -> int:
    """The page size."""
    text = query.get("limit", str(default))
    try:
        found = parse_integer(text)
    except ValueError:
        found = 0
    if not 1 <= found <= maximum:
        raise invalid(f"Invalid value for 'limit': {text[:40]!r}. Expected an integer from 1 to {maximum}.")
    return found


def invalid(message: str, code: str = "invalid_request") -> ApiError:
    """The answer to a value the service does not take."""
    return ApiError(400, code, message)


def not_found(kind: str, identifier: str) -> ApiError:
    """The answer to an id that names nothing, or nothing any more."""
    return ApiError(404, "not_found", f"No such {kind} object: {identifier}")


def _read_metadata(metadata: Any) -> dict[str, str] | None:
    if metadata is None:
        return None
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise invalid("Invalid value for 'metadata': expected an object of strings.")
    if len(metadata) > MAX_METADATA_PAIRS:
        raise invalid(f"Invalid 'metadata': it has {len(metadata)} pairs, more than {MAX_METADATA_PAIRS}.")
    for key, value in metadata.items():
        if len(key) > MAX_METADATA_KEY or len(value) > MAX_METADATA_VALUE:
            raise invalid(
                f"Invalid 'metadata': the key {key[:MAX_METADATA_KEY]!r} or its value is too long; at most "
                f"{MAX_METADATA_KEY} and {MAX_METADATA_VALUE} characters."
            )
    return metadata
