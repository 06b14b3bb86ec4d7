"""The statements that read a table of SQL Server: built here, run elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from resources.errors import NotFound
from resources.servers.base import Column, TableName, TableQuery, TableSchema, Watermark
from resources.servers.sqlserver_types import SqlServerColumn
from resources.servers.sqlserver_watermarks import (
    UnfitWatermark,
    bind_watermark,
    express_bound,
    express_largest,
    express_settled,
    require_fit,
    unify_moment,
    unify_watermark,
)


@dataclass(frozen=True)
class Statement:
    """A statement and its parameters, all of them text."""

    text: str
    parameters: tuple[str, ...] = ()


@dataclass(frozen=True)
class SqlServerTable(TableSchema):
    """A table, and what its reading depends on.

    Attributes:
        is_temporal: whether it is system-versioned: past states can be read.
        is_memory_optimized: whether it has to be read outside of SNAPSHOT sessions.
    """

    is_temporal: bool = False
    is_memory_optimized: bool = False


class NotTemporal(UnfitWatermark):
    """A past state was asked for that the table does not keep, or of a moment that is none."""

    def __init__(self, table: str, found: str, expected: str) -> None:
        super().__init__(table, "FOR SYSTEM_TIME", "AS OF", found, expected)


def quote(name: str) -> str:
    """An identifier in brackets, whatever is in it."""
    return str(_preparer().quote_identifier(name))


def quote_table(table: TableName) -> str:
    """`[schema].[table]`."""
    return f"{quote(table.schema)}.{quote(table.table)}"


def select_rows(query: TableQuery, as_of: str | None = None) -> Statement:
    """The rows of a query, columns in its order.

    Args:
        query: with a table as `SqlServerSnapshot.describe` gave it.
        as_of: the state of a past moment of a system-versioned table, as UTC text; None: the state of now.

    Raises:
        NotFound: a column is not of the table.
        NotTemporal: the table keeps no past states, or `as_of` is no moment.
        UnfitWatermark: the watermark's column is of another kind, or an end of the interval is none of its kind.
    """
    selected = [select_column(query.table, name) for name in query.columns]
    expressions = ",\n    ".join(f"{column.expression} AS {quote(column.name)}" for column in selected)
    source = _name_source(query.table, as_of)
    conditions, parameters = _list_conditions(query)
    return Statement(f"SELECT\n    {expressions}\nFROM {source}{_join(conditions)}", parameters)


def count_rows(query: TableQuery, as_of: str | None = None) -> Statement:
    """The number of rows of a query; see `select_rows`."""
    conditions, parameters = _list_conditions(query)
    source = _name_source(query.table, as_of)
    return Statement(f"SELECT COUNT_BIG(*)\nFROM {source}{_join(conditions)}", parameters)


def count_nulls(table: TableSchema, column: str, where: str | None) -> Statement:
    """The number of rows whose column is NULL.

    Raises:
        NotFound: the column is not of the table.
    """
    found = select_column(table, column)
    conditions = [f"{quote(found.companion_of or found.name)} IS NULL"]
    if where is not None:
        conditions.insert(0, _enclose(where))
    return Statement(f"SELECT COUNT_BIG(*)\nFROM {_name_source(table, None)}{_join(conditions)}")


def select_largest(table: TableSchema, watermark: Watermark, where: str | None, clock: str) -> Statement:
    """The largest value of a datetime or integer watermark, as text.

    Args:
        table: see `select_rows`.
        watermark: its lag is counted from `clock`.
        where: a condition of the declaration.
        clock: the server's time before the snapshot began, as text: rows younger than the lag may belong to
            transactions that the snapshot does not see.

    Raises:
        NotFound, UnfitWatermark: see `select_rows`.
    """
    column = _find_followed(table, watermark)
    quoted = quote(column.name)
    conditions: list[str] = []
    parameters: tuple[str, ...] = ()
    if where is not None:
        conditions.append(_enclose(where))
    if watermark.kind == "datetime" and watermark.lag_seconds:
        conditions.append(express_settled(column, quoted))
        parameters = (str(watermark.lag_seconds), clock)
    source = _name_source(table, None)
    return Statement(f"SELECT {express_largest(column, quoted)}\nFROM {source}{_join(conditions)}", parameters)


def touch_table(table: TableName) -> Statement:
    """The cheapest access to a table's data."""
    return Statement(f"SELECT TOP (1) 1 FROM {quote_table(table)}")  # noqa: S608 - quoted


def select_column(table: TableSchema, name: str) -> SqlServerColumn:
    """A column of a table.

    Raises:
        NotFound: there is none of that name.
        TypeError: the table was not described by this server.
    """
    column = table.column(name)
    if column is None:
        raise NotFound("column", name, str(table.name), [column.name for column in table.columns])
    if not isinstance(column, SqlServerColumn):
        raise TypeError(f"{table.name} was not described by a SQL Server snapshot.")
    return column


def _list_conditions(query: TableQuery) -> tuple[list[str], tuple[str, ...]]:
    conditions: list[str] = []
    parameters: list[str] = []
    if query.where is not None:
        conditions.append(_enclose(query.where))
    if query.watermark is not None:
        column = _find_followed(query.table, query.watermark)
        for operator, end in ((">", query.lower), ("<=", query.upper)):
            if end is not None:
                conditions.append(f"{quote(column.name)} {operator} {express_bound(column)}")
                parameters.append(bind_watermark(column, unify_watermark(query.table.name, query.watermark, end)))
    return conditions, tuple(parameters)


def _find_followed(table: TableSchema, watermark: Watermark) -> Column:
    column = select_column(table, watermark.column)
    if column.companion_of is not None:
        found = f"a part of {column.companion_of}"
        raise UnfitWatermark(str(table.name), column.name, watermark.kind, found, "a column of the source")
    require_fit(table.name, watermark, column)
    return column


def _name_source(table: TableSchema, as_of: str | None) -> str:
    source = quote_table(table.name)
    facts = table if isinstance(table, SqlServerTable) else SqlServerTable(table.name, table.columns)
    if as_of is not None:
        if not facts.is_temporal:
            raise NotTemporal(str(table.name), "a table without system versioning", "a system-versioned table")
        moment = unify_moment(as_of)
        if moment is None:
            raise NotTemporal(str(table.name), repr(as_of[:40]), "UTC text such as 2026-03-10 09:30:00")
        # The clause takes no expression; the text is digits and separators only, unify_moment has seen to it.
        source += f" FOR SYSTEM_TIME AS OF '{moment.replace(' ', 'T')}'"
    # In a transaction such a table is read at a level of its own, which has to be named.
    return f"{source} WITH (SNAPSHOT)" if facts.is_memory_optimized else source


def _enclose(where: str) -> str:
    # On lines of its own, so that a comment at its end does not swallow the parenthesis.
    return f"(\n{where}\n)"


def _join(conditions: list[str]) -> str:
    return f"\nWHERE {' AND '.join(conditions)}" if conditions else ""


@lru_cache(maxsize=1)
def _preparer() -> Any:
    from sqlalchemy.dialects import mssql

    dialect: Any = mssql.dialect
    return dialect().identifier_preparer
