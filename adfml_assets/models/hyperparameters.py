"""Hyperparameters as the pipelines write them: a JSON object, as text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

EXPECTED = 'a JSON object, such as {"learning_rate": 0.1}'


class NoObject(ValueError):
    """A text or value that is no JSON object.

    Attributes:
        found: what it is, in few words.
    """

    def __init__(self, found: str) -> None:
        self.found = found
        super().__init__(f"{found}; expected {EXPECTED}")


def format_hyperparameters(declared: Mapping[str, Any] | str) -> str:
    """A mapping, or the text of a JSON object, as the text that the training job takes: names in order.

    Raises:
        NoObject: it is none, or a value has no form in JSON (a date, NaN).
    """
    values = parse_hyperparameters(declared) if isinstance(declared, str) else dict(declared)
    try:
        return json.dumps(values, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise NoObject(f"{values!r} ({error})") from None


def parse_hyperparameters(text: str) -> dict[str, Any]:
    """The object that a text holds.

    Raises:
        NoObject: the text is no JSON, not an object, holds NaN or Infinity, or a name twice.
    """
    try:
        values = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_build_object)
    except ValueError as error:
        raise NoObject(f"{text!r} ({error})") from None
    if not isinstance(values, dict):
        raise NoObject(repr(text))
    return values


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a name is there twice")
    return values
