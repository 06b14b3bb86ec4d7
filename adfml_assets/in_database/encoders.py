"""Encoders of scikit-learn: a column for each category, or the category's number.

A category that was not there in training gives what Python gives: zeros or the declared number, and where Python raises
the row has no score.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adfml_assets.in_database.columns import Column, Input, Query
from adfml_assets.in_database.errors import CannotCompile
from adfml_assets.in_database.sql import Name, Piece, Sql, Text, any_of, build, build_case


def transform_one_hot(query: Query, where: str, step: Any, inputs: Sequence[Input]) -> list[Input]:
    """OneHotEncoder: 1 in the column of the row's category, 0 elsewhere."""
    _refuse_grouping(step, where)
    dropped = step.drop_idx_ if step.drop_idx_ is not None else [None] * len(inputs)
    encoded: list[Input] = []
    for one, categories, drop in zip(inputs, step.categories_, dropped, strict=True):
        column = _read(query, where, one, categories)
        matches = [_match(column.name, category) for category in categories]
        if step.handle_unknown == "error":
            query.refuse([_write_unknown(matches)])
        for position, match in enumerate(matches):
            if position != drop:
                encoded.append(
                    Column(query.define(build_case([(match, 1.0)], 0.0)), most=1.0, sparse=step.sparse_output)
                )
    return encoded


def transform_ordinal(query: Query, where: str, step: Any, inputs: Sequence[Input]) -> list[Input]:
    """OrdinalEncoder: the category's place in the list of categories."""
    _refuse_grouping(step, where)
    encoded: list[Input] = []
    for one, categories in zip(inputs, step.categories_, strict=True):
        column = _read(query, where, one, categories)
        matches = [_match(column.name, category) for category in categories]
        codes: list[float | None] = [float(position) for position in range(len(categories))]
        for position, category in enumerate(categories):
            if _is_nan(category):
                codes[position] = _number(step.encoded_missing_value)
        unknown = None
        if step.handle_unknown == "error":
            query.refuse([_write_unknown(matches)])
        else:
            unknown = _number(step.unknown_value)
        whens: list[tuple[Piece, Piece]] = [
            (match, "NULL" if code is None else code) for match, code in zip(matches, codes, strict=True)
        ]
        encoded.append(Column(query.define(build_case(whens, unknown))))
    return encoded


def _refuse_grouping(step: Any, where: str) -> None:
    if step.min_frequency is not None or step.max_categories is not None:
        raise CannotCompile("min_frequency or max_categories", where, "pinned categories when it is trained")


def _read(query: Query, where: str, one: Input, categories: Any) -> Column:
    present = [category for category in categories if category is not None and not _is_nan(category)]
    missing = [category for category in categories if category is None or _is_nan(category)]
    if len(missing) > 1:
        raise CannotCompile("None and NaN as two categories", where, "one of them when it is trained")
    if not all(isinstance(category, str) for category in present):
        if any(isinstance(category, str) for category in present):
            raise CannotCompile(
                "texts and numbers as categories of one column", where, "one of them when it is trained"
            )
        return query.read_number(one, where)
    column = query.read_text(one, where)
    if missing:
        query.note_missing(one, where, missing[0])
    return column


def _match(column: Name, category: Any) -> Sql:
    if category is None or _is_nan(category):
        return build(column, " IS NULL")
    return build(column, " = ", Text(category) if isinstance(category, str) else float(category))


def _write_unknown(matches: Sequence[Sql]) -> Sql:
    # A comparison with NULL is neither true nor false, so it is asked for the other way round.
    return build(build_case([(any_of(matches), 0.0)], 1.0), " = 1")


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and value != value


def _number(value: Any) -> float | None:
    return None if value is None or value != value else float(value)
