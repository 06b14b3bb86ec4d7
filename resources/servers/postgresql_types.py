"""PostgreSQL's types and what they are in Arrow: one table, which the reader uses and documentation is made from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import pyarrow as pa

Wire = Literal["bool", "int16", "int32", "int64", "date", "timestamp", "time", "numeric", "uuid", "bytes"]

LARGEST_PRECISION = 38
AS_TEXT = "as text"


@dataclass(frozen=True)
class Form:
    """How values of a type are asked for, arrive and are kept.

    Attributes:
        arrow_type: what they are in Arrow.
        wire: what the server's binary format has, and so the loop that decodes it.
        cast: what follows the column in SELECT, for example `::text`.
        note: see `Column.note`.
        refused: values without counterpart; a table that has one is not read. None: there are none.
        element: of an array, the form of its elements.
    """

    arrow_type: pa.DataType
    wire: Wire
    cast: str = ""
    note: str | None = None
    refused: str | None = None
    element: Form | None = None


_TEXT = Form(pa.string(), "bytes")
_CAST = Form(pa.string(), "bytes", "::text", AS_TEXT)
_INFINITE = "infinity and -infinity"

_FORMS: dict[str, Form] = {
    "bool": Form(pa.bool_(), "bool"),
    "int2": Form(pa.int16(), "int16"),
    "int4": Form(pa.int32(), "int32"),
    "int8": Form(pa.int64(), "int64"),
    "oid": Form(pa.uint32(), "int32"),
    "float4": Form(pa.float32(), "int32"),
    "float8": Form(pa.float64(), "int64"),
    "date": Form(pa.date32(), "date", refused=_INFINITE),
    "timestamp": Form(pa.timestamp("us"), "timestamp", refused=f"{_INFINITE}, from 294247 AD on"),
    "timestamptz": Form(pa.timestamp("us", "UTC"), "timestamp", refused=f"{_INFINITE}, from 294247 AD on"),
    "time": Form(pa.time64("us"), "time", refused="24:00:00"),
    "text": _TEXT,
    "varchar": _TEXT,
    "bpchar": _TEXT,
    "name": _TEXT,
    "json": _TEXT,
    "bytea": Form(pa.binary(), "bytes"),
    "uuid": Form(pa.string(), "uuid", note=AS_TEXT),
    "xml": replace(_CAST, note=None),
    "char": replace(_CAST, note=None),
    "money": Form(pa.string(), "bytes", "::numeric::text", "as text, without currency"),
    "interval": replace(_CAST, note="as text, ISO 8601"),
    "bit": replace(_CAST, note="as text of 0 and 1"),
    "varbit": replace(_CAST, note="as text of 0 and 1"),
}
"""Types of `pg_catalog` by the names they have there; all others are asked for as text."""

_DECLARED = {
    "bool": "boolean",
    "int2": "smallint",
    "int4": "integer",
    "int8": "bigint",
    "float4": "real",
    "float8": "double precision",
    "timestamp": "timestamp without time zone",
    "timestamptz": "timestamp with time zone",
    "time": "time without time zone",
    "varchar": "character varying",
    "bpchar": "character",
    "char": '"char"',
    "varbit": "bit varying",
}


def find_form(name: str, *, catalog: bool, enum: bool, modifier: int, array: bool) -> Form:
    """The form of a column.

    Args:
        name: of its type in `pg_type`, domains resolved; of an array the type of its elements.
        catalog: whether that is one of `pg_catalog`.
        enum: whether it is an enumeration.
        modifier: its `atttypmod`; -1: none was declared.
        array: whether the column is an array of it.
    """
    if enum:
        form = _TEXT
    elif not catalog:
        form = _CAST
    elif name == "numeric":
        form = _find_numeric(modifier)
    else:
        form = _FORMS.get(name, _CAST)
    return _build_list(form) if array else form


def _find_numeric(modifier: int) -> Form:
    if modifier < 0:
        return _CAST
    declared, scale = split_numeric(modifier)
    # A negative scale rounds before the point; one above the precision only leaves zeros behind it.
    precision, scale = (declared - scale, 0) if scale < 0 else (max(declared, scale), scale)
    if precision > LARGEST_PRECISION:
        return _CAST
    return Form(pa.decimal128(precision, scale), "numeric", refused="NaN, Infinity and -Infinity")


def split_numeric(modifier: int) -> tuple[int, int]:
    """Precision and scale of numeric's type modifier."""
    packed = modifier - 4
    return packed >> 16 & 0xFFFF, ((packed & 0x7FF) ^ 1024) - 1024


def _build_list(element: Form) -> Form:
    # `::numeric::text` of an element is `::numeric[]::text[]` of the array.
    cast = "".join(f"::{step}[]" for step in element.cast.split("::")[1:])
    refused = "more than one dimension, a first index that is not 1"
    return Form(
        pa.list_(element.arrow_type),
        "bytes",
        cast,
        f"elements {element.note}" if element.note else None,
        f"{refused}; of the elements: {element.refused}" if element.refused else refused,
        element,
    )


def list_types() -> list[tuple[str, str, str | None]]:
    """Each source type with its Arrow type and what to know of it: the form it takes, values that are refused."""
    sample = _find_numeric(4 + (12 << 16 | 2))
    forms = [(_DECLARED.get(name, name), str(form.arrow_type), form) for name, form in _FORMS.items()]
    forms.append(("numeric(p,s), p up to 38", "decimal128(p, s)", sample))
    forms.append(("numeric, and numeric(p,s) with p above 38", str(_CAST.arrow_type), _CAST))
    forms.append(("an enumeration", str(_TEXT.arrow_type), _TEXT))
    forms.append(("a domain", "that of its base type", Form(pa.null(), "bytes")))
    forms.append(("T[]", "list of the type of T", _build_list(_TEXT)))
    forms.append(("any other", str(_CAST.arrow_type), _CAST))
    return [(source, arrow, _join_notes(form)) for source, arrow, form in forms]


def _join_notes(form: Form) -> str | None:
    notes = [form.note, f"refused: {form.refused}" if form.refused else None]
    return "; ".join(note for note in notes if note) or None
