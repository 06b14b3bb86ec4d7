"""The form of an answer: a JSON schema, as the service takes it, as it is checked here, and as columns."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adfml_assets.errors import AdfmlError

RESERVED = ("custom_id", "model", "deployment", "scored_at", "input_tokens", "output_tokens")
"""Columns of the predictions beside the keys and the answer's own fields."""

_LOCAL_KEYWORDS = frozenset(
    {
        "default",
        "examples",
        "format",
        "maxItems",
        "maxLength",
        "maximum",
        "minItems",
        "minLength",
        "minimum",
        "exclusiveMaximum",
        "exclusiveMinimum",
        "multipleOf",
        "pattern",
        "title",
        "uniqueItems",
    }
)
_TYPES = {"string": "VARCHAR", "integer": "BIGINT", "number": "DOUBLE", "boolean": "BOOLEAN"}


class SchemaInvalid(AdfmlError):
    """A declared schema cannot be the form of an answer."""

    def __init__(self, declaration: str, reason: str) -> None:
        self.declaration = declaration
        self.reason = reason
        super().__init__(f"{declaration}: engine.answer_schema cannot be used: {reason}")


@dataclass(frozen=True)
class AnswerSchema:
    """The form of an answer.

    Attributes:
        full: what answers are checked against.
        sent: what the service is given: strict structured output takes neither lengths nor ranges nor patterns
            (Microsoft, "Structured outputs": unsupported keywords), and demands that every field is required.
        columns: field -> DuckDB type. What has no type of its own is VARCHAR and holds JSON.
    """

    full: Mapping[str, Any]
    sent: Mapping[str, Any]
    columns: Mapping[str, Any]


def load_schema(declaration: str, given: Mapping[str, Any] | str, folder: Path) -> AnswerSchema:
    """A schema that was written out, or lies in a file.

    Args:
        declaration: whose it is, for messages.
        given: the schema, or the name of a JSON or YAML file.
        folder: where that file is looked for.

    Raises:
        SchemaInvalid: there is no such file, or it is no schema of an object that the service takes.
    """
    import jsonschema_rs

    schema = _read_file(declaration, folder / given) if isinstance(given, str) else json.loads(json.dumps(given))
    if not isinstance(schema, dict) or schema.get("type") != "object" or not schema.get("properties"):
        raise SchemaInvalid(declaration, "expected `type: object` with `properties`, one a field of the answer.")
    taken = [name for name in schema["properties"] if name.lower() in RESERVED]
    if taken:
        problem = f"{', '.join(taken)}: the predictions have such a column already. Name the field otherwise."
        raise SchemaInvalid(declaration, problem)
    full = _require_all(schema)
    try:
        jsonschema_rs.validator_for(full)
    except (jsonschema_rs.ValidationError, ValueError) as error:
        raise SchemaInvalid(declaration, f"it is no JSON schema: {error}".splitlines()[0]) from None
    columns = {name: _read_type(field) for name, field in full["properties"].items()}
    return AnswerSchema(full, _strip(full), columns)


def _read_file(declaration: str, path: Path) -> Any:
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))  # JSON is YAML
    except FileNotFoundError:
        raise SchemaInvalid(declaration, f"there is no file {path}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SchemaInvalid(declaration, f"{path} cannot be read: {error}") from None


def _require_all(schema: Any) -> Any:
    """Every object with all its fields required and no others, as strict structured output demands."""

    def require(part: dict[str, Any]) -> dict[str, Any]:
        if not isinstance(part.get("properties"), dict):
            return part
        return {**part, "additionalProperties": False, "required": list(part["properties"])}

    return _change(schema, require)


def _strip(schema: Any) -> Any:
    """Without the keywords that are only checked here."""
    return _change(schema, lambda part: {key: value for key, value in part.items() if key not in _LOCAL_KEYWORDS})


def _change(schema: Any, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    """A schema with every schema in it changed, the innermost first."""
    if isinstance(schema, list):
        return [_change(part, change) for part in schema]
    if not isinstance(schema, dict):
        return schema
    # In `properties` the keys are names of fields, not keywords; so they are in no other place.
    return change(
        {
            key: {name: _change(part, change) for name, part in value.items()}
            if key in ("properties", "$defs") and isinstance(value, dict)
            else value
            if key in ("enum", "const", "required")
            else _change(value, change)
            for key, value in schema.items()
        }
    )


def _read_type(field: Any) -> Any:
    """A field's type as DuckDB's json_transform takes it: nested for lists and objects, VARCHAR for what is open."""
    if not isinstance(field, dict):
        return "VARCHAR"
    kinds = field.get("type")
    if "enum" in field and kinds is None:
        return "VARCHAR" if all(isinstance(value, str) or value is None for value in field["enum"]) else "JSON"
    named = [kind for kind in (kinds if isinstance(kinds, list) else [kinds]) if kind != "null"]
    if len(named) != 1:
        return "JSON"
    if named[0] == "array":
        return [_read_type(field.get("items"))]
    if named[0] == "object" and field.get("properties"):
        return {name: _read_type(part) for name, part in field["properties"].items()}
    return _TYPES.get(str(named[0]), "JSON")
