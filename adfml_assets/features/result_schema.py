"""The columns of a result and their types: found by DuckDB over empty tables, so that every engine gives the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from adfml_assets.duckdb_sql import quote, quote_text
from adfml_assets.features.definition import FEATURE_DATE, FeatureSetSpec
from adfml_assets.features.errors import ExpressionFailed, WrongType
from adfml_assets.features.sql_text import split_message

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection

_CUT = {("TIMESTAMP", "DATE"), ("TIMESTAMP_NS", "TIMESTAMP")}

_KINDS = "a number, true or false, a text, a date, a timestamp, or counts by category"


def build_category_type() -> pa.DataType:
    """Counts by category, sorted by name: `list<struct<name: string, count: int64>>`."""
    import pyarrow as pa

    # Named as Parquet names a list's values, so that a file that is read back says the same.
    return pa.list_(pa.field("element", pa.struct([("name", pa.string()), ("count", pa.int64())])))


def list_category_columns(schema: pa.Schema) -> list[str]:
    """The columns of a schema that hold counts by category."""
    return [column.name for column in schema if column.type == build_category_type()]


def build_typed_query(connection: DuckDBPyConnection, sql: str, schema: pa.Schema) -> str:
    """A query whose result has the schema's columns, in its order and of its types; a value that does not fit stops it.

    Args:
        sql: over tables that the connection has.
        schema: as `describe_result` found it.
    """
    connection.register("adfml_schema", schema.empty_table())
    given, wanted = (
        {name: kind for name, kind, *_ in connection.execute(f"DESCRIBE {one}").fetchall()}
        for one in (sql, "FROM adfml_schema")
    )
    connection.unregister("adfml_schema")
    columns = ", ".join(_cast(name, given[name], wanted[name]) for name in schema.names)
    return f"SELECT {columns} FROM ({sql}\n)"  # noqa: S608


def _cast(name: str, given: str, wanted: str) -> str:
    column = quote(name)
    if given == wanted:
        return column
    cast = f"CAST({column} AS {wanted})"
    if (given, wanted) in _CUT:
        # DuckDB would cut off what the type has not; decimals are rounded by the definition's own SQL already.
        said = f"error({quote_text(name)} || ' is ' || {column} || ', which is no ' || {quote_text(wanted)})"
        cast = f"CASE WHEN CAST({cast} AS {given}) IS NOT DISTINCT FROM {column} THEN {cast} ELSE {said} END"
    return f"{cast} AS {column}"


def describe_result(
    spec: FeatureSetSpec, sql: str, tables: Mapping[str, pa.Table], shown: Mapping[str, Sequence[str]]
) -> dict[str, pa.DataType]:
    """The result's columns, in its own order, with the types they are stored by.

    Args:
        sql: DuckDB's text.
        tables: empty ones of the right schemas.
        shown: their columns, for messages.

    Raises:
        ExpressionFailed: DuckDB cannot bind the text.
        WrongType: a column is of a type that features cannot have.
    """
    import duckdb

    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for name, table in tables.items():
            connection.register(name, table)
        try:
            described = connection.execute(f"DESCRIBE {sql}").fetchall()
            bound = connection.execute(f"SELECT * FROM ({sql}\n) LIMIT 0").to_arrow_reader(1).schema  # noqa: S608
        except duckdb.Error as error:
            raise _explain(spec, str(error), shown) from error
    found = {}
    for (name, kind, *_), column in zip(described, bound, strict=True):
        found[name] = _to_stored(spec, name, kind, column.type)
    return found


def _to_stored(spec: FeatureSetSpec, name: str, kind: str, found: pa.DataType) -> pa.DataType:
    """The type a column is stored by."""
    import pyarrow as pa

    is_date, is_time = pa.types.is_date(found), pa.types.is_timestamp(found)
    if name == FEATURE_DATE and spec.rows == "feature_date":
        # A date plus days is a timestamp to DuckDB, and a date to ibis: midnights are taken, other times are refused.
        if not is_date and kind != "TIMESTAMP":
            raise WrongType(spec.name, f"the result's {name}", "the feature date", kind, "a date")
        return pa.date32()
    if name == spec.event_time and not (is_date or is_time):
        raise WrongType(spec.name, f"the result's {name}", "the event's time", kind, "a date or a timestamp")
    if is_time:
        return pa.timestamp("us", tz="UTC" if found.tz else None)
    if kind == "HUGEINT":
        return pa.int64()  # what DuckDB sums 64-bit integers to
    simple = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean, pa.types.is_string)
    if is_date or any(test(found) for test in simple):
        return found
    if name not in spec.identity and _is_category(found):
        return build_category_type()
    raise WrongType(spec.name, f"the result's {name}", "a feature", kind, _KINDS)


def _is_category(found: pa.DataType) -> bool:
    import pyarrow as pa

    if not pa.types.is_list(found) or not pa.types.is_struct(found.value_type):
        return False
    inner: Any = found.value_type
    fields = [(inner.field(index).name, inner.field(index).type) for index in range(inner.num_fields)]
    return (
        [name for name, _ in fields] == ["name", "count"]
        and pa.types.is_string(fields[0][1])
        and (pa.types.is_integer(fields[1][1]) or pa.types.is_decimal(fields[1][1]))
    )


def _explain(spec: FeatureSetSpec, message: str, shown: Mapping[str, Sequence[str]]) -> ExpressionFailed:
    """DuckDB's message as one sentence, with its line where the text is the author's."""
    line, reason = split_message(message)
    where = f" (line {line})" if spec.sql and line else ""
    return ExpressionFailed(spec.name, spec.definition, f"{reason}{where}", shown)
