"""Structured outputs: a JSON schema made into a function that fills it from a text, always validly.

Takes the subset that OpenAI documents for structured outputs; ``pattern``, ``format`` and what else this model cannot
keep to is refused with the service's own kind of message, as Azure refuses it ("Structured outputs: unsupported
type-specific keywords").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from local_cloud.openai_reading import Reading
from local_cloud.openai_values import choose_value, extract_text, judge, measure

if TYPE_CHECKING:
    from jsonschema_rs import Draft202012Validator

Filler = Callable[[Reading, int], Any]
"""Fills one place: the reading, and how many objects and arrays are around it."""

MAX_DEPTH = 10
_DEEP = 5
_MOST_ITEMS = 1_000
_MOST_CHARACTERS = 100_000
_REFUSED = (
    "allOf",
    "contains",
    "dependentRequired",
    "dependentSchemas",
    "else",
    "format",
    "if",
    "maxProperties",
    "minProperties",
    "not",
    "oneOf",
    "pattern",
    "patternProperties",
    "prefixItems",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
    "uniqueItems",
)
_TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")


class SchemaRefused(Exception):
    """A schema that cannot be answered: where in it, and why."""

    def __init__(self, context: tuple[str, ...], problem: str) -> None:
        super().__init__(f"In context=({', '.join(repr(part) for part in context)}), {problem}")


def compile_schema(schema: Any, *, strict: bool) -> Callable[[Reading], Any]:
    """A function from a reading to a value that is valid against a schema.

    Args:
        schema: The schema; its root is an object, as the service demands.
        strict: Whether every object must require all its properties and allow no others.

    Raises:
        SchemaRefused: the service would not take it, or this model cannot fill it.
    """
    if not isinstance(schema, Mapping) or schema.get("type") != "object":
        raise SchemaRefused((), "schema must be a JSON Schema of 'type: \"object\"'.")
    _require_keywords(schema)
    fill = _Compiler(schema, strict).compile(schema, (), "")
    return lambda reading: fill(reading, 0)


def _require_keywords(schema: Mapping[str, Any]) -> None:
    """Make sure that every keyword has a value of its kind; only "type" is left to the compiler, which says more."""
    for error in _load_dialect().iter_errors(schema):
        if error.instance_path[-1:] != ["type"]:
            raise SchemaRefused(tuple(map(str, error.instance_path)), error.message)


@cache
def _load_dialect() -> Draft202012Validator:
    import jsonschema_rs

    return jsonschema_rs.Draft202012Validator({"$ref": "https://json-schema.org/draft/2020-12/schema"})


class _Compiler:
    def __init__(self, root: Mapping[str, Any], strict: bool) -> None:
        self._root = root
        self._strict = strict
        self._by_reference: dict[str, Filler | None] = {}

    def compile(self, schema: Any, context: tuple[str, ...], name: str) -> Filler:
        """The filler of a schema; ``name`` is the property it stands in."""
        if not isinstance(schema, Mapping):
            raise SchemaRefused(context, "expected a schema object.")
        for keyword in _REFUSED:
            if keyword in schema:
                raise SchemaRefused(context, f"'{keyword}' is not permitted.")
        if "$ref" in schema:
            return self._compile_reference(schema["$ref"], context, name)
        if "anyOf" in schema:
            return self._compile_any(schema["anyOf"], context, name)
        if "const" in schema:
            constant = schema["const"]
            return lambda _reading, _depth: constant
        if "enum" in schema:
            values = schema["enum"]
            if not isinstance(values, list) or not values:
                raise SchemaRefused((*context, "enum"), "[] is too short - 'enum'.")
            return lambda reading, _depth: choose_value(reading, values, name)
        kinds = schema.get("type")
        wanted: list[Any] = kinds if isinstance(kinds, list) and kinds else [kinds]
        if unknown := [kind for kind in wanted if kind not in _TYPES]:
            raise SchemaRefused(context, f"schema must have a 'type' key with one of {list(_TYPES)}, not {unknown[0]}.")
        fillers = [(kind, self._compile_type(kind, schema, context, name)) for kind in wanted]
        return _prefer(fillers)

    def _compile_type(self, kind: str, schema: Mapping[str, Any], context: tuple[str, ...], name: str) -> Filler:
        if kind == "object":
            return self._compile_object(schema, context)
        if kind == "array":
            return self._compile_array(schema, context, name)
        if kind in ("number", "integer"):
            try:
                measure(Reading(""), schema, name, whole=kind == "integer")
            except ValueError as error:
                raise SchemaRefused(context, str(error)) from error
            return lambda reading, _depth: measure(reading, schema, name, whole=kind == "integer")
        if kind == "boolean":
            return lambda reading, _depth: judge(reading, name)
        if kind == "null":
            return lambda _reading, _depth: None
        shortest, longest = int(schema.get("minLength", 0)), int(schema.get("maxLength", 120))
        if shortest > longest and "maxLength" in schema:
            raise SchemaRefused(context, f"'minLength' {shortest} is more than 'maxLength' {longest}.")
        if shortest > _MOST_CHARACTERS:
            raise SchemaRefused(context, f"'minLength' {shortest} is more than {_MOST_CHARACTERS}.")
        return lambda reading, _depth: extract_text(reading, name, shortest, max(shortest, longest))

    def _compile_object(self, schema: Mapping[str, Any], context: tuple[str, ...]) -> Filler:
        properties = schema.get("properties", {})
        required = schema.get("required", [])
        if self._strict and schema.get("additionalProperties") is not False:
            raise SchemaRefused(context, "'additionalProperties' is required to be supplied and to be false.")
        if self._strict and set(required) != set(properties):
            missing = sorted(set(properties) ^ set(required))
            raise SchemaRefused(
                context,
                "'required' is required to be supplied and to be an array including every key in properties. "
                f"Extra or missing: {', '.join(missing)}.",
            )
        if undeclared := sorted(set(required) - set(properties)):
            raise SchemaRefused(context, f"'required' names {undeclared[0]}, which 'properties' does not declare.")
        fillers = {key: self.compile(value, (*context, "properties", key), key) for key, value in properties.items()}

        def fill(reading: Reading, depth: int) -> dict[str, Any]:
            _check_depth(depth, context)
            return {key: filler(reading, depth + 1) for key, filler in fillers.items()}

        return fill

    def _compile_array(self, schema: Mapping[str, Any], context: tuple[str, ...], name: str) -> Filler:
        items = schema.get("items")
        if items is None:
            raise SchemaRefused(context, "array schema missing items.")
        fewest, most = int(schema.get("minItems", 0)), int(schema.get("maxItems", max(3, schema.get("minItems", 0))))
        if fewest > most:
            raise SchemaRefused(context, f"'minItems' {fewest} is more than 'maxItems' {most}.")
        if fewest > _MOST_ITEMS:
            raise SchemaRefused(context, f"'minItems' {fewest} is more than {_MOST_ITEMS}.")
        filler = self.compile(items, (*context, "items"), name)
        is_text = isinstance(items, Mapping) and items.get("type") == "string" and "enum" not in items

        def fill(reading: Reading, depth: int) -> list[Any]:
            _check_depth(depth, context)
            if depth >= _DEEP:
                parts = []
            elif is_text:
                parts = [Reading(word) for word in reading.key_words]
            else:
                parts = list(reading.sentences)
            chosen: list[Any] = []
            for part in parts[:most]:
                value = filler(part, depth + 1)
                if value not in chosen:
                    chosen.append(value)
            while len(chosen) < fewest:
                chosen.append(filler(reading, depth + 1))
            return chosen

        return fill

    def _compile_any(self, branches: Any, context: tuple[str, ...], name: str) -> Filler:
        if not isinstance(branches, list) or not branches:
            raise SchemaRefused((*context, "anyOf"), "[] is too short - 'anyOf'.")
        compiled = [
            ("null" if _is_null(branch) else "value", self.compile(branch, (*context, "anyOf", str(number)), name))
            for number, branch in enumerate(branches)
        ]
        return _prefer(compiled)

    def _compile_reference(self, reference: Any, context: tuple[str, ...], name: str) -> Filler:
        if not isinstance(reference, str) or not reference.startswith("#"):
            raise SchemaRefused(context, f"reference {reference!r} is not a reference within the schema.")
        if reference not in self._by_reference:
            target: Any = self._root
            for part in reference.removeprefix("#").strip("/").split("/") if reference != "#" else []:
                if not isinstance(target, Mapping) or part not in target:
                    raise SchemaRefused(context, f"reference '{reference}' cannot be resolved.")
                target = target[part]
            # A schema that refers to itself finds this entry instead of an endless recursion.
            self._by_reference[reference] = None
            self._by_reference[reference] = self.compile(target, (*context, reference), name)

        def fill(reading: Reading, depth: int) -> Any:
            _check_depth(depth, context)
            filler = self._by_reference[reference]
            if filler is None:
                raise SchemaRefused(context, f"reference '{reference}' refers to nothing but itself.")
            return filler(reading, depth + 1)

        return fill


def _prefer(fillers: list[tuple[str, Filler]]) -> Filler:
    """The first filler that is not null's; null's for an empty text, and deep down, where recursion has to end."""
    null = next((filler for kind, filler in fillers if kind == "null"), None)
    chosen = next((filler for kind, filler in fillers if kind != "null"), None)
    if null is None or chosen is None:
        return fillers[0][1]
    return lambda reading, depth: (chosen if reading.text and depth < _DEEP else null)(reading, depth)


def _is_null(schema: Any) -> bool:
    return isinstance(schema, Mapping) and schema.get("type") == "null"


def _check_depth(depth: int, context: tuple[str, ...]) -> None:
    if depth > MAX_DEPTH:
        raise SchemaRefused(context, f"the schema nests deeper than {MAX_DEPTH} levels.")
