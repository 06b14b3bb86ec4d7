"""Rows that a model finds hard, made up from the model: on its thresholds, next to them, and with values missing."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

from adfml_assets.in_database.compile import CompiledModel
from adfml_assets.in_database.dialects import find_dialect
from adfml_assets.in_database.sql import Name, Text

_MISSING = 0.1
_ON_EDGE = 0.5
_UNKNOWN = "a category that is not there"


def find_edges(compiled: CompiledModel) -> dict[str, list[Any]]:
    """The values that each feature is compared with before anything is done to it: numbers, or texts."""
    columns = {**compiled.numbers, **compiled.texts}
    edges: dict[str, set[Any]] = {name: set() for name in compiled.features}
    for level in compiled.levels:
        for expression in level.values():
            for left, operator, right in zip(
                expression.parts, expression.parts[1:], expression.parts[2:], strict=False
            ):
                if isinstance(left, Name) and left in columns and isinstance(operator, str):
                    value = right.value if isinstance(right, Text) else right
                    if isinstance(right, Text | float) and operator.strip() in ("=", "<=", ">"):
                        edges[compiled.features[columns[left]]].add(value)
    return {name: sorted(values) for name, values in edges.items()}


def make_up_rows(
    compiled: CompiledModel, ranges: Mapping[str, tuple[float, float]], rows: int, seed: int
) -> list[tuple[Any, ...]]:
    """Rows of the model's features, the same ones for a seed."""
    edges = find_edges(compiled)
    choose = random.Random(seed)  # noqa: S311 - no secret
    return [
        tuple(_make_up(compiled, name, edges[name], ranges.get(name), choose) for name in compiled.features)
        for _ in range(rows)
    ]


def write_rows(dialect: str, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Rows as a query in brackets. A value is None, a float, a whole number or a text."""
    words = find_dialect(dialect)

    def write(value: Any) -> str:
        if value is None or isinstance(value, int):
            return "NULL" if value is None else str(value)
        return words.text(value) if isinstance(value, str) else words.number(value)

    written = ", ".join(f"({', '.join(map(write, row))})" for row in rows)
    quoted = [words.quote(name) for name in names]
    if words.name == "sqlite":  # it has no names for the columns of VALUES but its own
        renamed = ", ".join(f"column{number} AS {name}" for number, name in enumerate(quoted, start=1))
        return f"(SELECT {renamed} FROM (VALUES {written}))"  # noqa: S608 - quoted above
    return f"(SELECT * FROM (VALUES {written}) AS made_up({', '.join(quoted)}))"  # noqa: S608 - quoted above


def _make_up(
    compiled: CompiledModel, name: str, edges: Sequence[Any], within: tuple[float, float] | None, choose: random.Random
) -> Any:
    if choose.random() < _MISSING:
        return None
    if name in compiled.text_features:
        return choose.choice([*edges, _UNKNOWN])
    if edges and choose.random() < _ON_EDGE:
        edge = choose.choice(edges)
        return choose.choice([edge, math.nextafter(edge, -math.inf), math.nextafter(edge, math.inf)])
    low, high = within or ((edges[0], edges[-1]) if edges else (-1_000.0, 1_000.0))
    return choose.uniform(low, high)
