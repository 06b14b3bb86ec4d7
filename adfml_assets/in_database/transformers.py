"""Scalers, imputers and functions of scikit-learn: number in, number out, missing values left missing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from adfml_assets.in_database.arithmetic import (
    apply_abs,
    apply_exp,
    apply_expm1,
    apply_log,
    apply_log1p,
    apply_sqrt,
    apply_square,
    multiply,
    scale,
)
from adfml_assets.in_database.columns import Column, Input, Query
from adfml_assets.in_database.errors import CannotCompile
from adfml_assets.in_database.sql import Piece, Text, build, build_case

_FUNCTIONS: dict[str, Callable[[Query, Column], Column]] = {
    "absolute": apply_abs,
    "exp": apply_exp,
    "expm1": apply_expm1,
    "log": apply_log,
    "log1p": apply_log1p,
    "sqrt": apply_sqrt,
    "square": apply_square,
}


def transform_standard(query: Query, where: str, step: Any, inputs: Sequence[Input]) -> list[Input]:
    """StandardScaler: less the mean, by the standard deviation."""
    return _shift_and_divide(query, where, inputs, step.mean_ if step.with_mean else None, step.scale_)


def transform_robust(query: Query, where: str, step: Any, inputs: Sequence[Input]) -> list[Input]:
    """RobustScaler: less the median, by the range between quantiles."""
    return _shift_and_divide(query, where, inputs, step.center_, step.scale_)


def transform_max_abs(query: Query, where: str, step: Any, inputs: Sequence[Input]) -> list[Input]:
    """MaxAbsScaler: by the largest absolute value."""
    scaled = _shift_and_divide(query, where, inputs, None, step.scale_)
    return [_clip(query, where, one, -1.0, 1.0) for one in scaled] if step.clip else scaled


def transform_min_max(query: Query, where: str, step: Any, inputs: Sequence[Input]) -> list[Input]:
    """MinMaxScaler: from the smallest and largest value to a given range."""
    scaled: list[Input] = []
    for one, factor, least in zip(inputs, step.scale_, step.min_, strict=True):
        column = query.read_number(one, where)
        product, infinite = scale(column.name, "*", float(factor), query.bound(column))
        most = multiply(query.bound(column), "*", float(factor)) + abs(float(least))
        scaled.append(Column(query.define(product, " + ", float(least)), infinite=infinite, most=most))
    low, high = map(float, step.feature_range)
    return [_clip(query, where, one, low, high) for one in scaled] if step.clip else scaled


def transform_imputer(query: Query, where: str, step: Any, inputs: Sequence[Input]) -> list[Input]:
    """SimpleImputer: one value for what is missing. Columns without any value in training are left out, as it does."""
    if step.add_indicator:
        raise CannotCompile("add_indicator=True", where, "add_indicator=False when it is trained")
    is_nan = isinstance(step.missing_values, float) and step.missing_values != step.missing_values
    if not is_nan and step.missing_values is not None:
        raise CannotCompile(f"missing_values={step.missing_values!r}", where, "NULL for what is missing")
    filled: list[Input] = []
    for one, value in zip(inputs, step.statistics_, strict=True):
        if value is None or value != value:
            if step.keep_empty_features:
                raise CannotCompile("keep_empty_features=True without a value to fill in", where, "a constant")
            continue
        if isinstance(value, str):
            column = query.read_text(one, where)
            query.note_missing(one, where, None if step.missing_values is None else float("nan"))
            filled.append(Column(query.define("COALESCE(", column.name, ", ", Text(value), ")"), "text"))
        else:
            column = query.read_number(one, where)
            if column.tame:  # it is there
                filled.append(column)
                continue
            filled.append(Column(query.define("COALESCE(", column.name, ", ", float(value), ")")))
    return filled


def transform_function(query: Query, where: str, step: Any, inputs: Sequence[Input]) -> list[Input]:
    """FunctionTransformer with a NumPy function, or with none."""
    if step.kw_args:
        raise CannotCompile(f"kw_args={step.kw_args!r}", where, f"one of {', '.join(_FUNCTIONS)} without arguments")
    if step.func is None:
        return list(inputs)
    return [apply_function(query, where, step.func, query.read_number(one, where)) for one in inputs]


def apply_function(query: Query, where: str, function: Any, column: Column) -> Column:
    """Apply one of NumPy's functions.

    Raises:
        CannotCompile: it is another one.
    """
    import numpy as np

    name = getattr(function, "__name__", "")
    if name not in _FUNCTIONS or getattr(np, name) is not function:
        shown = getattr(function, "__qualname__", repr(function))
        raise CannotCompile(
            f"the function {shown}", where, f"one of NumPy's {', '.join(_FUNCTIONS)} when it is trained"
        )
    return _FUNCTIONS[name](query, column)


def _shift_and_divide(
    query: Query, where: str, inputs: Sequence[Input], offsets: Any | None, divisors: Any | None
) -> list[Input]:
    result: list[Input] = []
    for position, one in enumerate(inputs):
        column = query.read_number(one, where)
        value: Piece = column.name
        most = query.bound(column)
        if offsets is not None:
            value = build("(", value, " - ", float(offsets[position]), ")")
            most += abs(float(offsets[position]))
        infinite = None
        if divisors is not None and divisors[position] != 1:
            value, infinite = scale(value, "/", float(divisors[position]), most)
            most = multiply(most, "/", float(divisors[position]))
        result.append(Column(query.define(value), infinite=infinite, most=most))
    return result


def _clip(query: Query, where: str, one: Input, low: float, high: float) -> Column:
    column = query.read_number(one, where, finite=False)
    whens: list[tuple[Piece, Piece]] = [
        (build(column.name, " < ", low), low),
        (build(column.name, " > ", high), high),
    ]
    most = max(abs(low), abs(high)) if query.bound(column) < math.inf else math.inf
    return Column(query.define(build_case(whens, column.name)), most=most)
