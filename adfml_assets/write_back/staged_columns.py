"""The columns that rows are staged in: of the types of the columns they go to, so that the database changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adfml_assets.write_back.arrow_types import build_type, find_family, find_wire, unwrap
from adfml_assets.write_back.errors import ValueInvalid

if TYPE_CHECKING:
    import pyarrow as pa
    import sqlalchemy as sa


@dataclass(frozen=True)
class StagedColumn:
    """One column of a staging table.

    Attributes:
        name: in the staging table.
        source: the column of the rows.
        type: in the staging table.
        wire: the Arrow type in which values are handed over.
        cast: what it is cast to when it is taken from the staging table; None: it is of the target's type.
        length: the most characters of a text; None: any.
        required: whether NULL is refused.
        without_zero: whether texts with the character U+0000 are refused.
    """

    name: str
    source: str
    type: sa.types.TypeEngine[Any]
    wire: pa.DataType
    cast: sa.types.TypeEngine[Any] | None = None
    length: int | None = None
    required: bool = False
    without_zero: bool = False


def plan_column(name: str, field: pa.Field, column: sa.Column[Any], dialect: str) -> StagedColumn:
    """How a column of the rows is staged for a column of a table that it fits into."""
    import sqlalchemy as sa

    kind = unwrap(column.type)
    wire = find_wire(field.type, kind, dialect)
    staged, cast = kind, None
    if isinstance(kind, sa.types.NullType):
        staged = build_type(field.type, is_key=False)
    elif dialect == "duckdb" and isinstance(kind, sa.Enum):
        # It has no name of its own; DuckDB takes a text for it.
        staged = sa.UnicodeText()
    elif _goes_as_text(kind, dialect):
        staged, cast = sa.UnicodeText(), column.type
    is_text = find_family(field.type) == "text"
    length = kind.length if isinstance(kind, sa.String) and is_text else None
    # SQL Server says -1 where it means max.
    most = length if length is not None and length > 0 else None
    without_zero = is_text and dialect == "postgresql"
    return StagedColumn(name, field.name, staged, wire, cast, most, not column.nullable, without_zero)


def _goes_as_text(kind: sa.types.TypeEngine[Any], dialect: str) -> bool:
    import sqlalchemy as sa

    if isinstance(kind, (sa.Uuid, sa.JSON)):
        return True
    if dialect != "postgresql":
        return False
    is_number = isinstance(kind, sa.Numeric)
    # Others that count as text there, such as enumerations and citext, are not what a text is sent as.
    return is_number or (isinstance(kind, sa.String) and type(kind).__name__ not in ("VARCHAR", "TEXT", "String"))


def conform(
    batches: Iterator[pa.RecordBatch], columns: Sequence[StagedColumn], table: str, keys: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """Batches with exactly the staged columns, in order and in their wire types.

    Args:
        table: for messages.
        keys: the rows' columns that name a row in messages.

    Raises:
        ValueInvalid: a value does not fit into its column, with its row's key.
    """
    import pyarrow as pa

    schema = pa.schema([(column.name, column.wire) for column in columns])
    for batch in batches:
        arrays = [_convert(batch, column, table, keys) for column in columns]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _convert(batch: pa.RecordBatch, column: StagedColumn, table: str, keys: Sequence[str]) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    values = batch.column(column.source)

    def refuse(row: int, expected: str) -> ValueInvalid:
        found = values[row].as_py()
        shown = "NULL" if found is None else repr(found) if len(repr(found)) <= 80 else f"{found!r:.77}..."
        return ValueInvalid(table, column.name, expected, shown, {key: batch.column(key)[row].as_py() for key in keys})

    if column.required and values.null_count:
        raise refuse(pc.index(pc.is_null(values), True).as_py(), "a value (the column is NOT NULL)")
    if column.length is not None and len(values):
        too_long = pc.greater(pc.utf8_length(values), column.length)
        if pc.any(too_long).as_py():
            raise refuse(pc.index(too_long, True).as_py(), f"{column.length} characters at most")
    if column.without_zero and pc.any(zero := pc.match_substring(values, "\0")).as_py():
        raise refuse(pc.index(zero, True).as_py(), "a text without U+0000, which PostgreSQL does not store")
    try:
        return cast_values(values, column.wire)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        row = next(row for row in range(len(values)) if not _can_cast(values.slice(row, 1), column.wire))
        raise refuse(row, f"a value of {column.type!r} (as {column.wire})") from None


def cast_values(values: pa.Array, wire: pa.DataType) -> pa.Array:
    """Values in another type: exactly, but moments to the microsecond, and to the day where a date is wanted (UTC)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if values.type == wire:
        return values
    if pa.types.is_timestamp(values.type):
        if pa.types.is_string(wire):
            return values.cast(pa.timestamp("us"), safe=values.type.unit != "ns").cast(wire)
        if pa.types.is_date(wire):
            # First into UTC: a zone's day is another one.
            utc = values.cast(pa.timestamp(values.type.unit))
            return pc.floor_temporal(utc, unit="day").cast(wire)
        return values.cast(wire, safe=values.type.unit != "ns")
    if pa.types.is_floating(values.type) and pa.types.is_integer(wire):
        raise pa.ArrowInvalid("a float is no whole number")
    return values.cast(wire)


def _can_cast(value: pa.Array, wire: pa.DataType) -> bool:
    import pyarrow as pa

    try:
        cast_values(value, wire)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return False
    return True


def build_constant(name: str, value: Any, column: sa.Column[Any], table: str, dialect: str) -> sa.ColumnElement[Any]:
    """A value that all rows have, as an expression of the column's type.

    Raises:
        ValueInvalid: it does not fit.
    """
    import pyarrow as pa
    import sqlalchemy as sa

    batch = pa.RecordBatch.from_arrays([pa.array([value])], names=[name])
    if value is None:
        if not column.nullable:
            raise ValueInvalid(table, name, "a value (the column is NOT NULL)", "NULL", {})
        return sa.null()
    staged = plan_column(name, batch.schema.field(0), column, dialect)
    literal = sa.literal(_convert(batch, staged, table, ())[0].as_py(), staged.type)
    return sa.cast(literal, staged.cast) if staged.cast is not None else literal
