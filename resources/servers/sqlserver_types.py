"""SQL Server's types in Arrow: what becomes of a column, by its declaration alone.

The values are exact. Where one Arrow type cannot hold what a SQL Server type holds, the rest is in a companion column
beside it: `datetime2(7)` is timestamp[us] and `<column>_100ns` (0-9), its seventh digit; `datetimeoffset` is
timestamp[us, UTC] and `<column>_offset`, the offset it was written with in minutes. Timestamps in nanoseconds would
hold the seventh digit, but not the years before 1677 and after 2262, 9999-12-31 among them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from resources.servers.base import Column

if TYPE_CHECKING:
    import pyarrow as pa

_MASKED = "masked by the server where the login lacks UNMASK"
_CIPHERTEXT = "Always Encrypted: the ciphertext"
_HIDDEN = "hidden at the source"
_STRINGS = ("char", "varchar", "nchar", "nvarchar", "sysname")
_WIDE = ("nchar", "nvarchar", "sysname")
_BINARIES = ("binary", "varbinary")
_FRACTIONS = ("time", "datetime2", "datetimeoffset")
_CLR_TYPE = "a CLR type"

_VARIANT_CASES = (
    ("float", "CONVERT(nvarchar(max), CONVERT(float, {0}), 3)"),
    ("real", "CONVERT(nvarchar(max), CONVERT(real, {0}), 3)"),
    ("money", "CONVERT(nvarchar(max), CONVERT(money, {0}), 2)"),
    ("smallmoney", "CONVERT(nvarchar(max), CONVERT(smallmoney, {0}), 2)"),
    ("date", "CONVERT(nvarchar(max), CONVERT(date, {0}), 23)"),
    ("time", "CONVERT(nvarchar(max), CONVERT(time(7), {0}), 121)"),
    ("smalldatetime", "CONVERT(nvarchar(max), CONVERT(smalldatetime, {0}), 121)"),
    ("datetime", "CONVERT(nvarchar(max), CONVERT(datetime, {0}), 121)"),
    ("datetime2", "CONVERT(nvarchar(max), CONVERT(datetime2(7), {0}), 121)"),
    ("datetimeoffset", "CONVERT(nvarchar(max), CONVERT(datetimeoffset(7), {0}), 121)"),
    ("char", "CONVERT(nvarchar(max), CONVERT(varchar(8000), {0}))"),
    ("varchar", "CONVERT(nvarchar(max), CONVERT(varchar(8000), {0}))"),
    ("binary", "CONVERT(nvarchar(max), CONVERT(varbinary(8000), {0}), 1)"),
    ("varbinary", "CONVERT(nvarchar(max), CONVERT(varbinary(8000), {0}), 1)"),
)
_VARIANT_TYPE = "CONVERT(nvarchar(128), SQL_VARIANT_PROPERTY({0}, 'BaseType'))"
# A plain CONVERT of a sql_variant cuts floats to 6 digits and datetimes to minutes: each kind has its exact style.
_VARIANT_TEXT = (
    f"CASE {_VARIANT_TYPE} "
    + " ".join(f"WHEN N'{name}' THEN {text}" for name, text in _VARIANT_CASES)
    + " ELSE CONVERT(nvarchar(4000), {0}) END"
)


@dataclass(frozen=True)
class SqlServerColumn(Column):
    """A column, and how it is read.

    Attributes:
        expression: its place in a select list, without its alias.
        companion_of: the source's column whose other half this one holds; None: it is a column of the source.
        width: about how many bytes its values take at most; values of unlimited length count a guess.
    """

    expression: str = ""
    companion_of: str | None = None
    width: int = 8


@dataclass(frozen=True)
class Declared:
    """A column as sys.columns has it.

    Attributes:
        name: of the column.
        type_name: of the base type, aliases resolved.
        max_length: in bytes; -1: unlimited.
        precision, scale: of numbers; the scale of times is their digits.
        clr: whether the type is a CLR type (hierarchyid, geography, geometry, or the database's own).
        encrypted, masked, hidden: Always Encrypted; dynamic data masking; not in `SELECT *`.
    """

    name: str
    type_name: str
    max_length: int = 0
    precision: int = 0
    scale: int = 0
    nullable: bool = True
    clr: bool = False
    encrypted: bool = False
    masked: bool = False
    hidden: bool = False


@dataclass(frozen=True)
class _Form:
    """What becomes of a type: its Arrow type, select expression over {0}, note, and companions."""

    arrow_type: Callable[[Declared], pa.DataType]
    expression: str = "{0}"
    note: str | None = None
    companions: Callable[[Declared], tuple[str, ...]] = lambda _: ()


def spell_type(declared: Declared) -> str:
    """A type as a declaration spells it, for example `nvarchar(50)` or `datetime2(7)`."""
    name = declared.type_name
    if name in ("decimal", "numeric"):
        return f"{name}({declared.precision},{declared.scale})"
    if name in _FRACTIONS:
        return f"{name}({declared.scale})"
    if name in (*_STRINGS, *_BINARIES) and name != "sysname":
        length = declared.max_length // 2 if name in _WIDE else declared.max_length
        return f"{name}({'max' if declared.max_length < 0 else length})"
    return name


def map_column(declared: Declared, quote: Callable[[str], str], taken: Collection[str]) -> list[SqlServerColumn] | None:
    """A column and its companions; None: the type has no counterpart.

    Args:
        declared: the column.
        quote: quotes an identifier.
        taken: names of the table's own columns: a companion gets another one.
    """
    source_type = spell_type(declared)
    form = _find_form(declared)
    if form is None:
        return None
    quoted = quote(declared.name)
    companions = () if declared.encrypted else form.companions(declared)
    names = {kind: _free_name(f"{declared.name}_{kind}", taken) for kind in companions}
    notes = [form.note, *(_COMPANIONS[kind][2].format(names[kind]) for kind in companions)]
    if declared.masked:
        notes.append(_MASKED)
    if declared.hidden:
        notes.append(_HIDDEN)
    note = "; ".join(note for note in notes if note) or None
    column = SqlServerColumn(
        declared.name,
        source_type,
        form.arrow_type(declared),
        declared.nullable,
        note,
        expression=form.expression.format(quoted),
        width=_estimate_width(declared),
    )
    return [column, *(_build_companion(column, kind, names[kind], quoted) for kind in companions)]


def list_types() -> list[tuple[str, str, str | None]]:
    """Every source type with its Arrow type and note, as the reader has it."""
    rows: list[tuple[str, str, str | None]] = []
    for declared in _EXAMPLES:
        columns = map_column(declared, lambda name: f"[{name}]", ())
        assert columns is not None  # noqa: S101 - the examples are of the types below
        source = _CLR_TYPE if declared.type_name == _CLR_TYPE else columns[0].source_type
        arrow = ", ".join(str(column.arrow_type) for column in columns)
        rows.append((re.sub(r"\(38,10\)$", "(p,s)", source), arrow.replace("(38, 10)", "(p, s)"), columns[0].note))
    columns = map_column(Declared("x", "int", encrypted=True), lambda name: f"[{name}]", ())
    assert columns is not None  # noqa: S101
    return [*rows, ("any, Always Encrypted", str(columns[0].arrow_type), columns[0].note)]


def _find_form(declared: Declared) -> _Form | None:
    forms = _forms()
    if declared.encrypted:
        return forms["encrypted"]
    if declared.type_name in forms:
        return forms[declared.type_name]
    return forms[_CLR_TYPE] if declared.clr else None


def _build_companion(column: SqlServerColumn, kind: str, name: str, quoted: str) -> SqlServerColumn:
    expression, arrow_type, _ = _COMPANIONS[kind]
    note = f"the {_COMPANION_WORDS[kind]} of {column.name}"
    return SqlServerColumn(
        name,
        column.source_type,
        _arrow(arrow_type),
        column.nullable,
        note,
        expression=expression.format(quoted),
        companion_of=column.name,
        width=128 if kind == "type" else 2,
    )


def _free_name(name: str, taken: Collection[str]) -> str:
    # Parquet readers often ignore case, and so do most databases' collations.
    folded = {other.casefold() for other in taken}
    while name.casefold() in folded:
        name += "_"
    return name


def _estimate_width(declared: Declared) -> int:
    length = declared.max_length
    if length < 0 or declared.clr or declared.type_name in ("text", "ntext", "image", "xml", "json", "sql_variant"):
        return 256 * 1024
    if declared.type_name in _STRINGS:
        return max(1, length) * 3 // (2 if declared.type_name in _WIDE else 1)
    return max(8, length)


_COMPANIONS = {
    # DATEPART gives the nanoseconds of the second; what is below a microsecond is one digit of 100 ns.
    "100ns": ("CONVERT(tinyint, DATEPART(NANOSECOND, {0}) % 1000 / 100)", "uint8", "its 100 ns digit is in {}"),
    "offset": ("CONVERT(smallint, DATEPART(TZOFFSET, {0}))", "int16", "in UTC, its offset in minutes is in {}"),
    "type": (_VARIANT_TYPE, "string", "as text, its type is in {}"),
}
_COMPANION_WORDS = {"100ns": "100 ns digit", "offset": "offset in minutes", "type": "type"}


def _arrow(name: str) -> pa.DataType:
    import pyarrow as pa

    return pa.type_for_alias(name)


def _of_length(short: str) -> Callable[[Declared], pa.DataType]:
    return lambda declared: _arrow(f"large_{short}" if declared.max_length < 0 else short)


def _fixed(name: str) -> Callable[[Declared], pa.DataType]:
    return lambda _: _arrow(name)


def _seventh(declared: Declared) -> tuple[str, ...]:
    return ("100ns",) if declared.scale == 7 else ()


@lru_cache(maxsize=1)
def _forms() -> dict[str, _Form]:
    import pyarrow as pa

    text_max = "CONVERT(nvarchar(max), {0})"
    decimal = _Form(lambda declared: pa.decimal128(declared.precision, declared.scale))
    return {
        **{name: _Form(_fixed(f"int{bits}")) for name, bits in (("bigint", 64), ("int", 32), ("smallint", 16))},
        "tinyint": _Form(_fixed("uint8")),
        "bit": _Form(_fixed("bool")),
        "decimal": decimal,
        "numeric": decimal,
        "money": _Form(lambda _: pa.decimal128(19, 4)),
        "smallmoney": _Form(lambda _: pa.decimal128(10, 4)),
        "float": _Form(_fixed("float64")),
        "real": _Form(_fixed("float32")),
        "date": _Form(_fixed("date32")),
        "time": _Form(lambda declared: pa.time64("ns" if declared.scale == 7 else "us")),
        "smalldatetime": _Form(lambda _: pa.timestamp("us")),
        "datetime": _Form(lambda _: pa.timestamp("us"), note="1/300 s, as the server's milliseconds"),
        "datetime2": _Form(lambda _: pa.timestamp("us"), companions=_seventh),
        "datetimeoffset": _Form(
            lambda _: pa.timestamp("us", "UTC"), companions=lambda declared: ("offset", *_seventh(declared))
        ),
        **{name: _Form(_of_length("string")) for name in _STRINGS},
        "text": _Form(lambda _: pa.large_string()),
        "ntext": _Form(lambda _: pa.large_string()),
        "xml": _Form(lambda _: pa.large_string(), text_max, "as text"),
        "json": _Form(lambda _: pa.large_string(), text_max, "as text"),
        "vector": _Form(lambda _: pa.large_string(), text_max, "as JSON text, in the digits the server gives"),
        "uniqueidentifier": _Form(_fixed("string"), note="as text, upper case"),
        **{name: _Form(_of_length("binary")) for name in _BINARIES},
        "image": _Form(lambda _: pa.large_binary()),
        "timestamp": _Form(lambda _: pa.binary(8)),
        "rowversion": _Form(lambda _: pa.binary(8)),
        "sql_variant": _Form(lambda _: pa.large_string(), _VARIANT_TEXT, companions=lambda _: ("type",)),
        "hierarchyid": _Form(_fixed("binary"), "CONVERT(varbinary(892), {0})", "in the server's binary form"),
        _CLR_TYPE: _Form(
            lambda _: pa.large_binary(),
            "CONVERT(varbinary(max), {0})",
            "in the server's binary form, of geography and geometry with SRID",
        ),
        "encrypted": _Form(lambda _: pa.large_binary(), note=_CIPHERTEXT),
    }


_EXAMPLES = (
    *(Declared("x", name) for name in ("bigint", "int", "smallint", "tinyint", "bit")),
    *(Declared("x", name, precision=38, scale=10) for name in ("decimal", "numeric")),
    *(Declared("x", name) for name in ("money", "smallmoney", "float", "real", "date")),
    *(Declared("x", "time", scale=scale) for scale in (6, 7)),
    *(Declared("x", name) for name in ("smalldatetime", "datetime")),
    *(Declared("x", name, scale=scale) for name in ("datetime2", "datetimeoffset") for scale in (6, 7)),
    *(Declared("x", name, max_length=length) for name in _STRINGS[:4] for length in (20,)),
    *(Declared("x", name, max_length=-1) for name in ("varchar", "nvarchar")),
    *(Declared("x", name) for name in ("sysname", "text", "ntext", "xml", "json", "vector", "uniqueidentifier")),
    *(Declared("x", name, max_length=16) for name in _BINARIES),
    Declared("x", "varbinary", max_length=-1),
    *(Declared("x", name) for name in ("image", "timestamp", "sql_variant")),
    *(Declared("x", name, clr=True) for name in ("hierarchyid", _CLR_TYPE)),
)
