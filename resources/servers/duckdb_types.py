"""DuckDB's types and what they are in Arrow: one table, which the reader uses and documentation is made from."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pyarrow as pa

AS_TEXT = "as text"


@dataclass(frozen=True)
class Form:
    """How values of a type are asked for and kept.

    Attributes:
        arrow_type: what they are in Arrow.
        cast: the expression that is selected, `{}` standing for the column.
        note: see `Column.note`.
        refused: values without counterpart; a table that has one is not read. None: there are none.
    """

    arrow_type: pa.DataType
    cast: str = "{}"
    note: str | None = None
    refused: str | None = None


_TEXT = Form(pa.string(), "CAST({} AS VARCHAR)", AS_TEXT)
_JSON = Form(pa.string(), "CAST(to_json({}) AS VARCHAR)", "as JSON text")
_MOMENT = Form(pa.timestamp("us"), "CAST({} AS TIMESTAMP)", refused="infinity and -infinity")

_FORMS: dict[str, Form] = {
    "BOOLEAN": Form(pa.bool_()),
    "TINYINT": Form(pa.int8()),
    "SMALLINT": Form(pa.int16()),
    "INTEGER": Form(pa.int32()),
    "BIGINT": Form(pa.int64()),
    "UTINYINT": Form(pa.uint8()),
    "USMALLINT": Form(pa.uint16()),
    "UINTEGER": Form(pa.uint32()),
    "UBIGINT": Form(pa.uint64()),
    "FLOAT": Form(pa.float32()),
    "DOUBLE": Form(pa.float64()),
    "VARCHAR": Form(pa.string()),
    "JSON": Form(pa.string(), "CAST({} AS VARCHAR)"),
    "BLOB": Form(pa.binary()),
    "DATE": Form(pa.date32(), refused="infinity and -infinity"),
    "TIME": Form(pa.time64("us"), refused="24:00:00"),
    "TIMESTAMP": _MOMENT,
    "TIMESTAMP_S": _MOMENT,
    "TIMESTAMP_MS": _MOMENT,
    "TIMESTAMP WITH TIME ZONE": Form(pa.timestamp("us", "UTC"), refused="infinity and -infinity"),
}
"""Types by the names that `duckdb_columns()` has for them; enumerations, lists and the like are found by their form."""

_DECIMAL = re.compile(r"DECIMAL\((\d+),(\d+)\)")
_NESTED = re.compile(r".*\[\d*\]|(STRUCT|MAP|UNION)\(.*", re.DOTALL)


def find_form(declared: str) -> Form:
    """The form of a column by its declared type."""
    decimal = _DECIMAL.fullmatch(declared)
    if decimal is not None:
        return Form(pa.decimal128(int(decimal[1]), int(decimal[2])))
    if _NESTED.fullmatch(declared):
        return _JSON
    if declared.startswith("ENUM("):
        return Form(pa.string(), "CAST({} AS VARCHAR)")
    return _FORMS.get(declared, _TEXT)


def list_types() -> list[tuple[str, str, str | None]]:
    """Each source type with its Arrow type and what to know of it: the form it takes, values that are refused."""
    forms = list(_FORMS.items())
    forms.append(("DECIMAL(p,s)", Form(pa.decimal128(12, 2))))
    forms.append(("ENUM", Form(pa.string())))
    forms.append(("T[], T[n], STRUCT, MAP, UNION", _JSON))
    forms.append(("HUGEINT, UHUGEINT, UUID, INTERVAL, TIMESTAMP_NS, and any other", _TEXT))
    arrow = {"DECIMAL(p,s)": "decimal128(p, s)"}
    return [(name, arrow.get(name, str(form.arrow_type)), _join_notes(form)) for name, form in forms]


def _join_notes(form: Form) -> str | None:
    notes = [form.note, f"refused: {form.refused}" if form.refused else None]
    return "; ".join(note for note in notes if note) or None
