"""The SQL that DuckDB is asked: names quoted, values bound."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from resources.errors import NotFound, SettingInvalid
from resources.servers.base import TableName, TableQuery, TableSchema, Watermark
from resources.servers.duckdb_types import find_form

LIST_TABLES = """
SELECT schema_name, table_name FROM duckdb_tables()
WHERE database_name = current_database() AND NOT internal AND NOT temporary ORDER BY ALL
"""
LIST_VIEWS = """
SELECT schema_name, view_name FROM duckdb_views()
WHERE database_name = current_database() AND NOT internal AND NOT temporary ORDER BY ALL
"""
DESCRIBE = """
SELECT column_name, data_type, is_nullable FROM duckdb_columns()
WHERE database_name = current_database() AND schema_name = ? AND table_name = ? ORDER BY column_index
"""
FIND_KEY = """
SELECT constraint_column_names FROM duckdb_constraints()
WHERE database_name = current_database() AND schema_name = ? AND table_name = ? AND constraint_type = 'PRIMARY KEY'
"""

_FORMATS = {"date": ("DATE", "%Y-%m-%d"), "timestamp": ("TIMESTAMP", "%Y-%m-%dT%H:%M:%S.%f")}
_ZONED = ("TIMESTAMPTZ", "%Y-%m-%dT%H:%M:%S.%f+00:00")


def quote(name: str) -> str:
    """A name as SQL has it."""
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


def quote_table(name: TableName) -> str:
    """A table with its schema, as SQL has it."""
    return f"{quote(name.schema)}.{quote(name.table)}"


def select_rows(query: TableQuery) -> tuple[str, list[Any]]:
    """The statement of a query's rows, each column in its form, and its parameters."""
    columns = []
    for name in query.columns:
        column = query.table.column(name)
        assert column is not None  # noqa: S101 - `schema_of` looked
        columns.append(f"{find_form(column.source_type).cast.format(quote(name))} AS {quote(name)}")
    condition, parameters = _build_condition(query)
    return f"SELECT {', '.join(columns)} FROM {quote_table(query.table.name)}{condition}", parameters  # noqa: S608


def count_rows(query: TableQuery) -> tuple[str, list[Any]]:
    """The statement that counts a query's rows, and its parameters."""
    condition, parameters = _build_condition(query)
    return f"SELECT count(*) FROM {quote_table(query.table.name)}{condition}", parameters  # noqa: S608 - quoted


def filter_rows(where: str | None, *conditions: str) -> str:
    """A WHERE clause of the declared condition and others; '' where there is none."""
    # On lines of its own: a comment at the end of the condition ends with it.
    every = [*([f"(\n{where}\n)"] if where else []), *conditions]
    return f" WHERE {' AND '.join(every)}" if every else ""


def select_largest(table: TableSchema, watermark: Watermark, where: str | None, taken_at: str) -> tuple[str, list[Any]]:
    """The statement of the largest watermark as uniform text, and its parameters.

    Infinite ones are left out; the lag is counted from when the snapshot was taken.

    Raises:
        SettingInvalid: the column's type cannot be followed in this way.
    """
    kind, form = find_watermark_type(table, watermark)
    name = quote(watermark.column)
    if form is None:
        text = f"SELECT CAST(max({name}) AS VARCHAR) FROM {quote_table(table.name)}"  # noqa: S608 - quoted
        return text + filter_rows(where), []
    conditions, parameters = [f"isfinite({name})"], []
    if watermark.lag_seconds:
        conditions.append(f"{name} <= CAST(CAST(? AS TIMESTAMPTZ) - to_seconds(?) AS {kind})")
        parameters += [taken_at, watermark.lag_seconds]
    text = f"SELECT strftime(max({name}), '{form}') FROM {quote_table(table.name)}"  # noqa: S608 - quoted
    return text + filter_rows(where, *conditions), parameters


def find_watermark_type(table: TableSchema, watermark: Watermark) -> tuple[str, str | None]:
    """The SQL type of a watermark's values, and the form of their text; None: that of whole numbers.

    Raises:
        NotFound: there is no such column.
        SettingInvalid: the column's type cannot be followed in this way.
    """
    column = table.column(watermark.column)
    if column is None:
        raise NotFound("column", watermark.column, str(table.name), [one.name for one in table.columns])
    where = f"The watermark of {table.name} ({watermark.column}, kind {watermark.kind})"
    kind = column.arrow_type
    if watermark.kind == "rowversion":
        raise SettingInvalid(where, "kind datetime (with lag_seconds) or integer: row versions are SQL Server's")
    if watermark.kind == "integer":
        if not pa.types.is_integer(kind):
            raise SettingInvalid(where, f"a column of an integer type; it is {column.source_type}")
        return "HUGEINT", None
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return _ZONED
    for name, test in (("date", pa.types.is_date), ("timestamp", pa.types.is_timestamp)):
        if test(kind):
            return _FORMATS[name]
    raise SettingInvalid(where, f"a column of type DATE, TIMESTAMP or TIMESTAMPTZ; it is {column.source_type}")


def _build_condition(query: TableQuery) -> tuple[str, list[Any]]:
    conditions: list[str] = []
    parameters: list[Any] = []
    if query.watermark is not None:
        kind, _ = find_watermark_type(query.table, query.watermark)
        if query.upper is None:
            conditions.append("false")
        for operator, bound in ((">", query.lower), ("<=", query.upper)):
            if bound is not None and query.upper is not None:
                conditions.append(f"{quote(query.watermark.column)} {operator} CAST(? AS {kind})")
                parameters.append(bound)
    return filter_rows(query.where, *conditions), parameters
