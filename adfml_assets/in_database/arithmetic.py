"""Arithmetic as NumPy does it, in databases that raise where NumPy goes on.

PostgreSQL refuses a product that is too large for a float64 or so small that it becomes 0, and so it does EXP; SQL
Server refuses the former; DuckDB refuses the logarithm of 0. NumPy goes on with infinity, 0 and NaN. So every operation
here asks first where that would happen, and those places are computed beforehand, to the last bit.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from typing import Literal

from adfml_assets.in_database.columns import TAME, Column, Query
from adfml_assets.in_database.sql import LARGEST, LN, Name, Piece, Sql, add_up, any_of, build, build_case, join

_ONE_FOR_SIGMOID = 40.0  # 1 + exp(-x) is 1 from 37 on
_LARGE_POWER = 700.0


def find_largest(holds: Callable[[float], bool]) -> float:
    """The largest positive float64 for which something holds that holds for all smaller ones; 0 if it does for none."""
    low, high = 0, _to_bits(LARGEST)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if holds(_from_bits(middle)) else (low, middle - 1)
    return _from_bits(low)


def find_bounds(factor: float, divides: bool = False) -> tuple[float, float]:
    """The largest number whose product with a factor (or quotient by it) is finite, and the largest where it is 0."""
    size = abs(factor)

    def compute(positive: float) -> float:
        return positive / size if divides else positive * size

    return find_largest(lambda one: compute(one) <= LARGEST), find_largest(lambda one: compute(one) == 0)


def scale(value: Piece, operator: Literal["*", "/"], constant: float, most: float = math.inf) -> tuple[Sql, Sql | None]:
    """A product or quotient of an expression and a number that is not 0.

    Args:
        value: the expression; it may be repeated.
        most: see `Column.most`, of the expression.

    Returns:
        The expression, and where it is infinite: there it is the largest number of its sign. None: nowhere.
    """
    plain = build(value, f" {operator} ", constant)
    if multiply(most, operator, constant) <= TAME:
        return plain, None
    last_finite, last_zero = find_bounds(constant, operator == "/")
    if last_finite < LARGEST:
        edge = math.copysign(LARGEST, constant)
        whens: list[tuple[Piece, Piece]] = [
            (build("ABS(", value, ") <= ", last_finite), plain),
            (build(value, " > 0"), edge),
            (build(value, " < 0"), -edge),
        ]
        return build_case(whens), build("ABS(", value, ") > ", last_finite)
    if last_zero > 0:
        return build_case([(build("ABS(", value, ") > ", last_zero), plain)], build(value, " * ", 0.0)), None
    return plain, None


def multiply(most: float, operator: Literal["*", "/"], constant: float) -> float:
    """How large a product or quotient can be; infinity where it may be infinite, or nothing is known."""
    size = abs(constant)
    return most * size if operator == "*" else most / size


def add_products(query: Query, columns: Sequence[Column], factors: Sequence[float], offset: float) -> Column:
    """The sum of columns times factors, and an offset; NULL where a column is.

    It is computed smaller by a power of two, which changes no digit, so that no sum on the way is too large.
    """
    largest = abs(offset) + sum(column.most * abs(factor) for column, factor in zip(columns, factors, strict=True))
    if query.most < math.inf and largest <= TAME:
        plain = [build(column.name, " * ", factor) for column, factor in zip(columns, factors, strict=True)]
        return Column(query.define(add_up([*plain, offset])), most=largest)
    smaller = 2.0 ** -math.ceil(math.log2(len(columns) + 1))
    terms: list[Piece] = []
    above: list[Piece] = []
    below: list[Piece] = []
    for column, factor in zip(columns, factors, strict=True):
        name, product = column.name, build(column.name, " * ", factor * smaller)
        last_finite, last_zero = find_bounds(factor)[0], find_bounds(factor * smaller)[1]
        if column.tame or factor == 0:
            terms.append(product)
            continue
        within: list[Piece] = []
        if last_finite < LARGEST:
            within.append(build("ABS(", name, ") <= ", last_finite))
            above.append(build(name, " > ", last_finite) if factor > 0 else build(name, " < ", -last_finite))
            below.append(build(name, " < ", -last_finite) if factor > 0 else build(name, " > ", last_finite))
        if last_zero > 0:
            within.append(build("ABS(", name, ") > ", last_zero))
        terms.append(build_case([(join(within, " AND "), product)], build(name, " * ", 0.0)) if within else product)
    total = query.define(add_up([*terms, offset * smaller]))
    whens: list[tuple[Piece, Piece]] = []
    bound = LARGEST * smaller
    infinite: list[Piece] = [build("ABS(", total, ") > ", bound)]
    if above:
        # A product that is infinite alone makes the sum infinite. What two of opposite signs make depends on how the
        # processor adds up: such a row is refused.
        up = query.define(build_case([(any_of(above), 1.0)], 0.0))
        down = query.define(build_case([(any_of(below), 1.0)], 0.0))
        query.refuse([build(up, " + ", down, " = 2")])
        whens = [(build(up, " = 1"), LARGEST), (build(down, " = 1"), -LARGEST)]
        infinite += [build(up, " = 1"), build(down, " = 1")]
    whens += [(build(total, " > ", bound), LARGEST), (build(total, " < ", -bound), -LARGEST)]
    return Column(query.define(build_case(whens, build(total, " * ", 1 / smaller))), infinite=any_of(infinite))


def apply_exp(query: Query, column: Column) -> Column:
    """e to the power of a column."""
    name = column.name
    last = find_largest(lambda positive: positive < 710 and _exp(positive) <= LARGEST)
    whens: list[tuple[Piece, Piece]] = [
        (build(name, " > ", last), LARGEST),
        (build(name, " < ", -_find_last_exp()), 0.0),
    ]
    return Column(query.define(build_case(whens, build("EXP(", name, ")"))), infinite=build(name, " > ", last))


def apply_expm1(query: Query, column: Column) -> Column:
    """e to the power of a column, less 1, without losing the digits of small ones."""
    power = apply_exp(query, column)
    name, less = power.name, build("(", power.name, " - 1)")
    # The error of EXP cancels in the quotient.
    whens: list[tuple[Piece, Piece]] = [
        (build(name, " = 1"), column.name),
        (build(name, " < ", 1e-20), -1.0),
        (build("ABS(", column.name, ") > 1"), less),
    ]
    exact = build(less, " * (", column.name, " / ", LN, "(", name, "))")
    return Column(query.define(build_case(whens, exact)), infinite=power.infinite)


def apply_log(query: Query, column: Column) -> Column:
    """The natural logarithm; NULL for negative numbers."""
    name = column.name
    whens: list[tuple[Piece, Piece]] = [
        (build(name, " > 0"), build(LN, "(", name, ")")),
        (build(name, " = 0"), -LARGEST),
    ]
    return Column(query.define(build_case(whens)), infinite=build(name, " = 0"))


def apply_log1p(query: Query, column: Column) -> Column:
    """The natural logarithm of a column and 1, without losing the digits of small ones; NULL below -1."""
    name, more = column.name, query.define(column.name, " + 1")
    whens: list[tuple[Piece, Piece]] = [
        (build(name, " = -1"), -LARGEST),
        (build(more, " = 1 AND ", name, " > -1"), name),
        (build("ABS(", name, ") <= 1 AND ", more, " > 0"), build(LN, "(", more, ") * (", name, " / (", more, " - 1))")),
        (build(more, " > 0"), build(LN, "(", more, ")")),
    ]
    return Column(query.define(build_case(whens)), infinite=build(name, " = -1"))


def apply_sqrt(query: Query, column: Column) -> Column:
    """The square root; NULL for negative numbers."""
    return Column(query.define(build_case([(build(column.name, " >= 0"), build("SQRT(", column.name, ")"))])))


def apply_square(query: Query, column: Column) -> Column:
    """The square."""
    name = column.name
    last_finite = find_largest(lambda positive: positive * positive <= LARGEST)
    last_zero = find_largest(lambda positive: positive * positive == 0)
    whens: list[tuple[Piece, Piece]] = [
        (build("ABS(", name, ") > ", last_finite), LARGEST),
        (build("ABS(", name, ") > ", last_zero), build(name, " * ", name)),
    ]
    square = build_case(whens, build(name, " * ", 0.0))
    return Column(query.define(square), infinite=build("ABS(", name, ") > ", last_finite))


def apply_abs(query: Query, column: Column) -> Column:
    """The absolute value."""
    return Column(query.define("ABS(", column.name, ")"))


def apply_sigmoid(query: Query, value: Name) -> Column:
    """1 / (1 + exp(-x)), in the form in which nothing overflows."""
    whens: list[tuple[Piece, Piece]] = [
        (build(value, " > ", _ONE_FOR_SIGMOID), 1.0),
        (build(value, " >= 0"), build(1.0, " / (1 + EXP(-", value, "))")),
        (build(value, " < ", -_find_last_exp()), 0.0),
    ]
    return Column(query.define(build_case(whens, build("EXP(", value, ") / (1 + EXP(", value, "))"))))


def apply_softmax(query: Query, values: Sequence[Name], chosen: int) -> Column:
    """The share of one of several exponentials: 1 / (1 + the sum of exp(other - this)); the values are finite."""
    powers: list[Piece] = [1.0]
    for position, value in enumerate(values):
        if position == chosen:
            continue
        # Beyond these the share, or what the other one adds, is less than 1e-300. A NULL stays one.
        whens: list[tuple[Piece, Piece]] = [
            (build(value, " > ", values[chosen], " + ", _LARGE_POWER), math.exp(_LARGE_POWER)),
            (build(value, " < ", values[chosen], " - ", _LARGE_POWER), 0.0),
        ]
        powers.append(build_case(whens, build("EXP(", value, " - ", values[chosen], ")")))
    return Column(query.define(1.0, " / (", add_up(powers), ")"))


def _find_last_exp() -> float:
    """The largest x for which exp(-x) is not 0 yet."""
    return find_largest(lambda positive: _exp(-positive) > 0)


def _exp(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf


def _to_bits(value: float) -> int:
    return int(struct.unpack("<q", struct.pack("<d", value))[0])


def _from_bits(bits: int) -> float:
    return float(struct.unpack("<d", struct.pack("<q", bits))[0])
