"""The Arrow type of a SQL column: from its declared type alone, never from the rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adfml_assets.errors import UnsupportedColumn

if TYPE_CHECKING:
    import pyarrow as pa
    import sqlalchemy as sa

_WIDEST_DECIMAL = 38
_DEFAULT_SCALE = 10


def build_schema(table: sa.Table, dialect: sa.Dialect) -> pa.Schema:
    """The Arrow schema of a reflected table; each field keeps the column's declared type as `source_type`.

    Raises:
        UnsupportedColumn: a type without an exact counterpart.
    """
    import pyarrow as pa

    fields = []
    for column in table.columns:
        declared = _describe(column.type, dialect)
        arrow = find_arrow_type(column.type, dialect)
        if arrow is None:
            raise UnsupportedColumn(table.fullname, column.name, declared)
        nullable = column.nullable is not False
        fields.append(pa.field(column.name, arrow, nullable=nullable, metadata={"source_type": declared}))
    return pa.schema(fields)


def find_arrow_type(declared: sa.types.TypeEngine[Any], dialect: sa.Dialect) -> pa.DataType | None:
    """The Arrow type for a SQL type, or None where there is no exact one."""
    import pyarrow as pa
    import sqlalchemy as sa

    # SQLite keeps every integer in 64 bits, whatever was declared.
    wide = dialect.name == "sqlite"
    match declared:
        case sa.Boolean():
            return pa.bool_()
        case sa.BigInteger():
            return pa.int64()
        case sa.SmallInteger():
            return pa.int64() if wide else pa.int16()
        case sa.Integer():
            return pa.int64() if wide else pa.int32()
        case sa.Float():
            return pa.float64()
        case sa.Numeric():
            precision = min(declared.precision or _WIDEST_DECIMAL, _WIDEST_DECIMAL)
            scale = declared.scale if declared.scale is not None else (0 if declared.precision else _DEFAULT_SCALE)
            return pa.decimal128(precision, scale)
        case sa.DateTime():
            return pa.timestamp("us", tz="UTC" if declared.timezone else None)
        case sa.Date():
            return pa.date32()
        case sa.Time():
            return pa.time64("us")
        case sa.LargeBinary():
            return pa.binary()
        case sa.String():
            return pa.string()
    return None


def _describe(declared: sa.types.TypeEngine[Any], dialect: sa.Dialect) -> str:
    import sqlalchemy as sa

    if isinstance(declared, sa.types.NullType):
        return "(none declared)"
    try:
        return declared.compile(dialect)
    except sa.exc.CompileError:
        return type(declared).__name__
