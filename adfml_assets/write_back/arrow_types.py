"""Which SQL column can hold which Arrow values, how such a column is made, and how values get there unchanged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pyarrow as pa
    import sqlalchemy as sa

Family = Literal["boolean", "integer", "float", "decimal", "text", "binary", "date", "moment", "time"]

KEY_CHARACTERS = 200
"""Length of text columns in a key that is made: SQL Server's indexes take 900 bytes."""


def find_family(kind: pa.DataType) -> Family | None:
    """What an Arrow type holds; None: nothing that a column of a SQL table can hold, such as lists."""
    import pyarrow as pa

    types = pa.types
    if types.is_dictionary(kind):
        return find_family(kind.value_type)
    tests: dict[Family, Any] = {
        "boolean": types.is_boolean,
        "integer": types.is_integer,
        "float": lambda one: types.is_float32(one) or types.is_float64(one),
        "decimal": types.is_decimal128,
        "text": lambda one: types.is_string(one) or types.is_large_string(one),
        "binary": lambda one: types.is_binary(one) or types.is_large_binary(one),
        "date": types.is_date,
        "moment": types.is_timestamp,
        "time": types.is_time,
    }
    return next((family for family, test in tests.items() if test(kind)), None)


def build_type(kind: pa.DataType, *, is_key: bool) -> sa.types.TypeEngine[Any]:
    """The type of a column that is made for Arrow values; moments are stored in UTC without a zone."""
    import sqlalchemy as sa
    from sqlalchemy.dialects import mssql, mysql

    match find_family(kind):
        case "boolean":
            return sa.Boolean()
        case "integer":
            return sa.BigInteger() if kind.bit_width > 32 else sa.Integer()
        case "float":
            return sa.Float(53)
        case "decimal":
            return sa.Numeric(kind.precision, kind.scale)
        case "text":
            return sa.Unicode(KEY_CHARACTERS) if is_key else sa.UnicodeText()
        case "binary":
            return sa.LargeBinary()
        case "date":
            return sa.Date()
        case "time":
            return sa.Time()
        case "moment":
            # Without precision SQL Server rounds to 3 milliseconds and MySQL to seconds: two keys would become one.
            exact = sa.DateTime().with_variant(mssql.DATETIME2(6), "mssql")  # type: ignore[no-untyped-call]
            return exact.with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
        case None:
            raise ValueError(f"no SQL column holds {kind}")


def fits(kind: pa.DataType, column: sa.types.TypeEngine[Any], dialect: str) -> bool:
    """Whether a column of a table holds such values."""
    import pyarrow as pa
    import sqlalchemy as sa

    column = unwrap(column)
    if isinstance(column, sa.types.NullType):
        # SQLite: a column without a type. Elsewhere: a type that SQLAlchemy does not know.
        return dialect == "sqlite"
    number, text = (sa.Integer, sa.Numeric, sa.Float), (sa.String, sa.Uuid, sa.JSON)
    allowed: dict[Family, tuple[type, ...]] = {
        "boolean": (sa.Boolean, sa.Integer),
        "integer": number,
        "float": (sa.Numeric, sa.Float),
        "decimal": (sa.Numeric, sa.Float),
        "text": text,
        "binary": (sa.LargeBinary, sa.types._Binary),
        "date": (sa.Date, sa.DateTime),
        "moment": (sa.DateTime,),
        "time": (sa.Time,),
    }
    family = find_family(kind)
    if family is None:
        return bool(pa.types.is_null(kind))
    # SQLite has no type for them: they are text, whatever the column is called.
    as_text = dialect == "sqlite" and family in ("date", "moment", "time") and isinstance(column, sa.String)
    return as_text or isinstance(column, allowed[family])


def unwrap(column: sa.types.TypeEngine[Any]) -> sa.types.TypeEngine[Any]:
    """The type below a PostgreSQL domain."""
    from sqlalchemy.dialects.postgresql import DOMAIN

    return column.data_type if isinstance(column, DOMAIN) else column


def find_wire(kind: pa.DataType, column: sa.types.TypeEngine[Any], dialect: str) -> pa.DataType:
    """The Arrow type in which values of `kind` go to a column that they fit into."""
    import pyarrow as pa
    import sqlalchemy as sa
    from sqlalchemy.dialects.mssql import DATETIMEOFFSET

    column, family = unwrap(column), find_family(kind)
    if family is None and isinstance(column, (sa.LargeBinary, sa.types._Binary, sa.Uuid, sa.JSON)):
        # Nothing but NULLs.
        return pa.binary() if isinstance(column, sa.types._Binary) else pa.string()
    if family in ("text", "binary"):
        return pa.string() if family == "text" else pa.binary()
    if isinstance(column, sa.String):
        # Dates and moments in SQLite: text, as SQLAlchemy stores them.
        return pa.string()
    if isinstance(column, sa.Boolean):
        return pa.bool_()
    if isinstance(column, sa.Integer):
        return _find_integer(column, dialect)
    if isinstance(column, sa.Float):
        return pa.float32() if isinstance(column, sa.REAL) and dialect != "sqlite" else pa.float64()
    if isinstance(column, sa.Numeric):
        if dialect == "duckdb":
            return kind if family == "decimal" else _widen(kind, family)
        if dialect == "mssql":
            return pa.decimal128(column.precision or 18, column.scale or 0)
        # PostgreSQL reads text as exactly that number; SQLite and drivers take whole numbers and floats as they are.
        return pa.string() if dialect == "postgresql" or family == "decimal" else _widen(kind, family)
    if isinstance(column, sa.DateTime):
        return pa.timestamp("us", "UTC" if column.timezone or isinstance(column, DATETIMEOFFSET) else None)
    if isinstance(column, sa.Date):
        return pa.date32()
    if isinstance(column, sa.Time):
        return pa.time64("us")
    return _widen(kind, family)


def _find_integer(column: sa.Integer, dialect: str) -> pa.DataType:
    import pyarrow as pa
    import sqlalchemy as sa
    from sqlalchemy.dialects import mssql

    # DuckDB's own, by the names that its dialect gives them; larger ones take what 64 bits hold.
    own = {"TinyInteger": "int8", "UTinyInteger": "uint8", "USmallInteger": "uint16", "UInteger": "uint32"}
    own |= {"UBigInteger": "uint64", "HugeInteger": "int64", "UHugeInteger": "uint64", "VarInt": "int64"}
    if dialect == "duckdb" and type(column).__name__ in own:
        return pa.type_for_alias(own[type(column).__name__])
    if dialect == "sqlite" or isinstance(column, sa.BigInteger):
        return pa.int64()
    if isinstance(column, mssql.TINYINT) and dialect == "mssql":
        return pa.uint8()
    return pa.int16() if isinstance(column, sa.SmallInteger) else pa.int32()


def _widen(kind: pa.DataType, family: Family | None) -> pa.DataType:
    """For columns that say nothing of their own: SQLite's without a type."""
    import pyarrow as pa

    wide: dict[Family | None, pa.DataType] = {
        "boolean": pa.bool_(),
        "integer": pa.int64(),
        "float": pa.float64(),
        "decimal": pa.string(),
        "date": pa.date32(),
        "time": pa.time64("us"),
        "moment": pa.timestamp("us"),
    }
    return wide.get(family, kind)
