"""The SELECTs of a table: identifiers are quoted and values are literals made by psycopg."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa
from psycopg import sql

from resources.errors import SettingInvalid

if TYPE_CHECKING:
    from resources.servers.base import Part, TableName, TableQuery, Watermark
    from resources.servers.postgresql_catalog import PgColumn

_DATETIMES = {
    "date": ("date", "YYYY-MM-DD"),
    "timestamp": ("timestamp", 'YYYY-MM-DD"T"HH24:MI:SS.US'),
    "timestamptz": ("timestamptz", 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"'),
}
"""SQL type and uniform text of the datetime watermarks; the session's time zone is UTC."""


def quote_table(table: TableName) -> sql.Composed:
    """`"schema"."table"`."""
    return sql.SQL("{}.{}").format(sql.Identifier(table.schema), sql.Identifier(table.table))


def select_columns(table: TableName, columns: Sequence[PgColumn]) -> sql.Composed:
    """SELECT of columns, each as its form asks for it; none is allowed."""
    names = [sql.SQL("{}" + column.form.cast).format(sql.Identifier(column.name)) for column in columns]
    return sql.SQL("SELECT {} FROM {}").format(sql.SQL(", ").join(names), quote_table(table))


def build_conditions(query: TableQuery, watermark: PgColumn | None) -> sql.Composable:
    """WHERE of a query, or nothing."""
    conditions: list[sql.Composable] = []
    if query.where:
        conditions.append(build_where(query.where))
    if query.watermark is not None and watermark is not None:
        conditions.append(_build_interval(query, watermark))
    if query.part is not None:
        conditions.append(_build_range(query.part))
    return join_conditions(conditions)


def join_conditions(conditions: Sequence[sql.Composable]) -> sql.Composable:
    """WHERE of all conditions, or nothing."""
    return sql.SQL(" WHERE ") + sql.SQL(" AND ").join(conditions) if conditions else sql.SQL("")


def build_where(where: str) -> sql.Composable:
    """The declaration's own condition; it may end with a comment."""
    return sql.SQL("(" + where.replace("{", "{{").replace("}", "}}") + "\n)").format()


def _build_interval(query: TableQuery, column: PgColumn) -> sql.Composable:
    assert query.watermark is not None  # noqa: S101 - the caller looked
    if query.upper is None:
        return sql.SQL("false")
    cast = sql.SQL(find_watermark_type(query.table.name, query.watermark, column))
    name = sql.Identifier(column.name)
    upper = sql.SQL("{} <= {}::{}").format(name, sql.Literal(query.upper), cast)
    if query.lower is None:
        return upper
    return sql.SQL("{} > {}::{} AND ").format(name, sql.Literal(query.lower), cast) + upper


def _build_range(part: Part) -> sql.Composable:
    begin = sql.SQL("ctid >= {}::tid").format(sql.Literal(f"({int(part.lower)},0)"))
    if part.upper is None:
        return begin
    return begin + sql.SQL(" AND ctid < {}::tid").format(sql.Literal(f"({int(part.upper)},0)"))


def find_watermark_type(table: TableName, watermark: Watermark, column: PgColumn) -> str:
    """The SQL type of a watermark's values.

    Raises:
        SettingInvalid: the column's type cannot be followed in this way.
    """
    where = f"The watermark of {table} ({watermark.column}, kind {watermark.kind})"
    if watermark.kind == "rowversion":
        raise SettingInvalid(
            where,
            "kind datetime (with lag_seconds) or integer: row versions are SQL Server's, PostgreSQL has none",
        )
    form = column.form
    if watermark.kind == "integer":
        if pa.types.is_signed_integer(form.arrow_type):
            return "bigint"
        if form.wire == "numeric" and getattr(form.arrow_type, "scale", None) == 0:
            return "numeric"
        raise SettingInvalid(where, f"a column of an integer type or numeric(p,0); it is {column.source_type}")
    return _DATETIMES[_find_datetime(where, column)][0]


def _find_datetime(where: str, column: PgColumn) -> str:
    if column.form.wire == "date":
        return "date"
    if column.form.wire == "timestamp":
        return "timestamptz" if getattr(column.form.arrow_type, "tz", None) else "timestamp"
    raise SettingInvalid(where, f"a column of type date, timestamp or timestamptz; it is {column.source_type}")


def select_largest(
    table: TableName, watermark: Watermark, column: PgColumn, where: str | None, taken_at: str
) -> sql.Composed:
    """The largest watermark as uniform text, and whether it is of the years 1 to 9999.

    Infinite ones are left out. The lag is counted from when the snapshot was taken, not from now: rows that were
    committed in between are not in the snapshot, and are to be above what it ends with.
    """
    kind = find_watermark_type(table, watermark, column)
    name, conditions = sql.Identifier(column.name), [build_where(where)] if where else []
    if watermark.kind == "integer":
        query = sql.SQL("SELECT max({})::text, true FROM {}").format(name, quote_table(table))
        return sql.Composed([query, join_conditions(conditions)])
    conditions.append(sql.SQL("{} < 'infinity' AND {} > '-infinity'").format(name, name))
    if watermark.lag_seconds:
        limit = sql.SQL("{}::timestamptz - make_interval(secs => {})").format(
            sql.Literal(taken_at), sql.Literal(watermark.lag_seconds)
        )
        conditions.append(sql.SQL("{} <= ({})::{}").format(name, limit, sql.SQL(kind)))
    query = sql.SQL(
        "SELECT to_char(m, {form}), m >= '0001-01-01' AND m < '10000-01-01' FROM (SELECT max({name}) FROM {table}"
    ).format(form=sql.Literal(_DATETIMES[kind][1]), name=name, table=quote_table(table))
    return sql.Composed([query, join_conditions(conditions), sql.SQL(") s(m)")])
