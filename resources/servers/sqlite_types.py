"""What a column declared in SQLite becomes in Arrow: from its declared type alone, by name and then by affinity."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

UNDECLARED = "(none declared)"
"""The source type of a column that was declared without one, as every expression of a view is."""

_WIDEST_DECIMAL = 38
_AS_TEXT = "as text: integers in digits, reals in their shortest exact form"
_UTC_ASSUMED = "in UTC; without a zone: taken as UTC, as SQLite's own functions do"


class Kind(IntEnum):
    """How a value is converted; the compiled reader has these numbers built in (see `sqlite_kernels.py`)."""

    INTEGER = 0
    BOOLEAN = 1
    REAL = 2
    DECIMAL = 3
    TIMESTAMP = 4
    TIMESTAMP_UTC = 5
    DATE = 6
    TIME = 7
    TEXT = 8
    BINARY = 9


@dataclass(frozen=True)
class Conversion:
    """How the values of a column become Arrow values.

    Attributes:
        kind: of the values.
        precision: of a DECIMAL, in digits.
        scale: of a DECIMAL, digits behind the point.
        note: how the archived value differs in form from the source's; None: it is the same value.
    """

    kind: Kind
    precision: int = 0
    scale: int = 0
    note: str | None = None


@dataclass(frozen=True)
class _Rule:
    names: tuple[str, ...]
    conversion: Conversion


_NAMES = (
    _Rule(("BOOLEAN", "BOOL", "BIT"), Conversion(Kind.BOOLEAN)),
    _Rule(
        ("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ", "DATETIMEOFFSET", "DATETIME WITH TIME ZONE"),
        Conversion(Kind.TIMESTAMP_UTC, note=_UTC_ASSUMED),
    ),
    _Rule(
        ("DATETIME", "TIMESTAMP", "DATETIME2", "SMALLDATETIME", "TIMESTAMP WITHOUT TIME ZONE"),
        Conversion(Kind.TIMESTAMP),
    ),
    _Rule(("DATE",), Conversion(Kind.DATE)),
    _Rule(("TIME", "TIME WITHOUT TIME ZONE"), Conversion(Kind.TIME)),
    _Rule(("UUID", "GUID", "UNIQUEIDENTIFIER", "JSON", "XML", "STRING"), Conversion(Kind.TEXT)),
    _Rule(("BINARY", "VARBINARY", "LONGVARBINARY", "BYTEA", "IMAGE"), Conversion(Kind.BINARY)),
)
_DECIMALS = ("DECIMAL", "NUMERIC", "DEC", "NUMBER")
# In SQLite's own order: the first part of a name that fits decides the affinity.
_AFFINITIES = (
    _Rule(("INT",), Conversion(Kind.INTEGER)),
    _Rule(("CHAR", "CLOB", "TEXT"), Conversion(Kind.TEXT)),
    _Rule(("BLOB",), Conversion(Kind.BINARY)),
    _Rule(("REAL", "FLOA", "DOUB"), Conversion(Kind.REAL)),
)
_ANYTHING = Conversion(Kind.TEXT, note=_AS_TEXT)
_BY_NAME = {name: rule.conversion for rule in _NAMES for name in rule.names}
_DECLARED = re.compile(r"([^()]*)(?:\(([^)]*)\)(.*))?", re.DOTALL)


def find_conversion(declared: str) -> Conversion:
    """How the values of a column are converted, by its declared type ('' where there is none).

    Every declared type has a conversion: one that names no other is text, which keeps every number exactly.
    """
    match = _DECLARED.match(declared)
    before, arguments, behind = match.groups() if match else (declared, None, None)
    name = " ".join(f"{before} {behind or ''}".upper().split())
    if name in _BY_NAME:
        return _BY_NAME[name]
    if name in _DECIMALS:
        return _find_decimal(arguments)
    for rule in _AFFINITIES:
        if any(part in name for part in rule.names):
            return rule.conversion
    return _ANYTHING


def find_arrow_type(conversion: Conversion) -> pa.DataType:
    """The Arrow type of what a conversion gives."""
    import pyarrow as pa

    match conversion.kind:
        case Kind.INTEGER:
            return pa.int64()
        case Kind.BOOLEAN:
            return pa.bool_()
        case Kind.REAL:
            return pa.float64()
        case Kind.DECIMAL:
            return pa.decimal128(conversion.precision, conversion.scale)
        case Kind.TIMESTAMP:
            return pa.timestamp("us")
        case Kind.TIMESTAMP_UTC:
            return pa.timestamp("us", tz="UTC")
        case Kind.DATE:
            return pa.date32()
        case Kind.TIME:
            return pa.time64("us")
        case Kind.TEXT:
            return pa.string()
        case Kind.BINARY:
            return pa.binary()


def list_types() -> list[tuple[str, str, str | None]]:
    """Every declared type and what it becomes: source type, Arrow type, and how the value differs in form, if it does.

    In the order in which they are looked for; `... X ...` is any name with X in it.
    """
    listed = [(name, rule.conversion) for rule in _NAMES for name in rule.names]
    rows = [(name, str(find_arrow_type(conversion)), conversion.note) for name, conversion in listed]
    for name in _DECIMALS:
        rows.append((f"{name}(p,s) up to {_WIDEST_DECIMAL} digits", "decimal128(p, s)", None))
        rows.append((name, str(find_arrow_type(_ANYTHING)), _ANYTHING.note))
    parts = [(f"... {name} ...", rule.conversion) for rule in _AFFINITIES for name in rule.names]
    rows += [(name, str(find_arrow_type(conversion)), conversion.note) for name, conversion in parts]
    rows.append(("any other, or none", str(find_arrow_type(_ANYTHING)), _ANYTHING.note))
    return rows


def _find_decimal(arguments: str | None) -> Conversion:
    parts = [part.strip() for part in (arguments or "").split(",")]
    if not 1 <= len(parts) <= 2 or not all(re.fullmatch(r"\d{1,4}", part, re.ASCII) for part in parts):
        return _ANYTHING
    precision, scale = int(parts[0]), int(parts[1]) if len(parts) == 2 else 0
    if not 1 <= precision <= _WIDEST_DECIMAL or scale > precision:
        return _ANYTHING
    return Conversion(Kind.DECIMAL, precision, scale)
